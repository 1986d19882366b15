"""A BERT and an MPNet of two layers, width 16 and 40 word pieces, written as Hugging Face folders."""

import json
import os

import numpy as np
from safetensors import numpy as safetensors_numpy

VOCAB = (
  '[PAD]',
  '[UNK]',
  '[CLS]',
  '[SEP]',
  '[MASK]',
  'good',
  'bad',
  'film',
  'very',
  'a',
  'the',
  'not',
  'dull',
  'funny',
  'it',
  'is',
  'was',
  '##ly',
  '##s',
  'drill',
  'cordless',
  'red',
  'blue',
  'shoe',
  'saw',
  'for',
  'men',
  'women',
  'large',
  'small',
  'new',
  'old',
  'wood',
  'metal',
  'box',
  'set',
  '.',
  ',',
  '!',
  '18',
)
MPNET_VOCAB = ('<s>', '<pad>', '</s>', '[UNK]', '[MASK]', *VOCAB[5:])
HIDDEN, HEADS, LAYERS, INNER, POSITIONS = 16, 2, 2, 32, 32


def bert_config(**changes) -> dict:
  """The content of config.json (Hugging Face) or bert_config.json."""
  return {
    'vocab_size': len(VOCAB),
    'hidden_size': HIDDEN,
    'num_hidden_layers': LAYERS,
    'num_attention_heads': HEADS,
    'intermediate_size': INNER,
    'max_position_embeddings': POSITIONS,
    'type_vocab_size': 2,
    'hidden_act': 'gelu',
    **changes,
  }


def mpnet_config(**changes) -> dict:
  """The content of an MPNet's config.json: two positions more, which are never used."""
  values = bert_config(model_type='mpnet', max_position_embeddings=POSITIONS + 2, layer_norm_eps=1e-5)
  del values['type_vocab_size']
  return {**values, 'relative_attention_num_buckets': 32, **changes}


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
  """Random weights under Hugging Face's names."""
  rng = np.random.default_rng(seed)
  made = {}

  def dense(name, inputs, outputs):
    made[f'{name}.weight'] = rng.normal(0, 0.3, [outputs, inputs]).astype(np.float32)
    made[f'{name}.bias'] = rng.normal(0, 0.1, [outputs]).astype(np.float32)

  def norm(name):
    made[f'{name}.weight'] = rng.normal(1, 0.1, [HIDDEN]).astype(np.float32)
    made[f'{name}.bias'] = rng.normal(0, 0.1, [HIDDEN]).astype(np.float32)

  for name, rows in (('word', len(VOCAB)), ('position', POSITIONS), ('token_type', 2)):
    table = rng.normal(0, 0.5, [rows, HIDDEN]).astype(np.float32)
    made[f'embeddings.{name}_embeddings.weight'] = table
  norm('embeddings.LayerNorm')
  for layer in range(LAYERS):
    prefix = f'encoder.layer.{layer}'
    for name in ('self.query', 'self.key', 'self.value', 'output.dense'):
      dense(f'{prefix}.attention.{name}', HIDDEN, HIDDEN)
    norm(f'{prefix}.attention.output.LayerNorm')
    dense(f'{prefix}.intermediate.dense', HIDDEN, INNER)
    dense(f'{prefix}.output.dense', INNER, HIDDEN)
    norm(f'{prefix}.output.LayerNorm')
  dense('pooler.dense', HIDDEN, HIDDEN)
  return made


def mpnet_tensors(seed: int = 0) -> dict[str, np.ndarray]:
  """Random weights under the names of Hugging Face's MPNet."""
  rng = np.random.default_rng(seed)
  made = {}
  for name, value in tensors(seed).items():
    for of_bert, of_mpnet in (('self.query', 'attn.q'), ('self.key', 'attn.k'), ('self.value', 'attn.v')):
      name = name.replace(of_bert, of_mpnet)
    name = name.replace('attention.output.dense', 'attention.attn.o').replace('attention.output.L', 'attention.L')
    made[name] = value
  del made['embeddings.token_type_embeddings.weight']
  made['embeddings.position_embeddings.weight'] = rng.normal(0, 0.5, [POSITIONS + 2, HIDDEN]).astype(np.float32)
  made['encoder.relative_attention_bias.weight'] = rng.normal(0, 2, [32, HEADS]).astype(np.float32)
  return made


def write_vocab(folder: str, vocab: tuple[str, ...] = VOCAB) -> str:
  """Writes vocab.txt; returns its path."""
  os.makedirs(folder, exist_ok=True)
  path = os.path.join(folder, 'vocab.txt')
  with open(path, 'w', encoding='utf-8') as file:
    file.write(''.join(f'{piece}\n' for piece in vocab))
  return path


def write_hugging_face(folder: str, weights: dict[str, np.ndarray] | None = None, **changes) -> str:
  """Writes config.json, model.safetensors and vocab.txt; returns the folder."""
  write_vocab(folder)
  return _write(folder, bert_config(model_type='bert', **changes), weights or tensors())


def write_mpnet(folder: str, weights: dict[str, np.ndarray] | None = None, **changes) -> str:
  """Writes an MPNet's config.json, model.safetensors and vocab.txt; returns the folder."""
  write_vocab(folder, MPNET_VOCAB)
  return _write(folder, mpnet_config(**changes), weights or mpnet_tensors())


def _write(folder, config, weights):
  with open(os.path.join(folder, 'config.json'), 'w', encoding='utf-8') as file:
    json.dump(config, file)
  safetensors_numpy.save_file(weights, os.path.join(folder, 'model.safetensors'))
  return folder
