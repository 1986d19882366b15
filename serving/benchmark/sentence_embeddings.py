"""Sentence embeddings of all-MiniLM-L6-v2 (or another BERT folder of Hugging Face), without its own library."""

from collections.abc import Sequence
import json
import os

import numpy as np
import safetensors.numpy
import tensorflow as tf

from serving.benchmark import encoders

_BATCH_SIZE = 64
_MAX_TOKENS = 128
_LAYER = (
  'attention.self.query',
  'attention.self.key',
  'attention.self.value',
  'attention.output.dense',
  'attention.output.LayerNorm',
  'intermediate.dense',
  'output.dense',
  'output.LayerNorm',
)


def load(folder: str) -> encoders.Encoder:
  """Returns the encoder with the weights of `folder`: config.json, vocab.txt and model.safetensors."""
  with open(os.path.join(folder, 'config.json'), encoding='utf-8') as file:
    config = json.load(file)
  with open(os.path.join(folder, 'vocab.txt'), encoding='utf-8') as file:
    vocab = file.read().splitlines()
  encoder = encoders.Encoder(
    encoders.Size(
      config['num_hidden_layers'], config['hidden_size'], config['num_attention_heads'], config['intermediate_size']
    ),
    vocab,
  )
  stored = safetensors.numpy.load_file(os.path.join(folder, 'model.safetensors'))
  names = [f'embeddings.{name}_embeddings.weight' for name in ('word', 'position', 'token_type')]
  layers = [f'encoder.layer.{number}.{part}' for number in range(config['num_hidden_layers']) for part in _LAYER]
  names += [
    f'{part}.{kind}' for part in ['embeddings.LayerNorm', *layers, 'pooler.dense'] for kind in ('weight', 'bias')
  ]
  # Hugging Face's dense kernels are [out, in], Keras' [in, out] or [in, heads, width of a head].
  arrays = [stored[name] if '_embeddings' in name else stored[name].T for name in names]
  encoder.encoder.set_weights(
    [array.reshape(weight.shape) for array, weight in zip(arrays, encoder.encoder.get_weights(), strict=True)]
  )
  return encoder


def encode(texts: Sequence[str], folder: str) -> np.ndarray:
  """Returns float32 [n, width]: the mean of each text's last hidden states, of length 1."""
  encoder = load(folder)
  order = np.argsort([len(text) for text in texts])  # Neighbours in length need little padding.
  vectors = np.empty([len(texts), encoder.encoder.get_config()['hidden_size']], np.float32)
  for start in range(0, len(texts), _BATCH_SIZE):
    at = order[start : start + _BATCH_SIZE]
    ids, types, mask = encoder.pack([tf.constant([texts[i] for i in at])], _MAX_TOKENS)
    width = int(tf.reduce_max(tf.reduce_sum(mask, axis=1)))
    inputs = {'input_word_ids': ids, 'input_type_ids': types, 'input_mask': mask}
    hidden = encoder.encoder({name: value[:, :width] for name, value in inputs.items()})['sequence_output']
    pooled = tf.einsum('btw,bt->bw', hidden, tf.cast(mask[:, :width], tf.float32))
    vectors[at] = tf.math.l2_normalize(pooled, axis=-1)
  return vectors
