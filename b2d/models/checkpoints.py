"""The weights of a pretrained BERT or MPNet → the variables of its encoder.

Of a Hugging Face folder, a TF1 or a TF2 checkpoint (`pretrained`). One name table says which of their tensors is which
variable; every shape is checked.
"""

from absl import logging
import numpy as np
from official.nlp.modeling import networks
import safetensors
from safetensors import numpy as safetensors_numpy
import tensorflow as tf
import tf_keras

from b2d import runs
from b2d.models import mpnet
from b2d.models import pretrained

_POOLER = 'pooler_transform'
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
  _POOLER: 'pooler/dense',
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


def load_weights(encoder: tf_keras.layers.Layer, path: str, architecture: pretrained.Architecture) -> None:
  """Sets every variable of `encoder` from the checkpoint at `path`.

  Args:
    encoder: built, of the checkpoint's sizes; may have fewer layers.
    path: from `resolve`.
    architecture: the checkpoint's.

  A pooler that the checkpoint lacks, as after training on masked words alone, stays as it was made.

  Raises:
    ValueError: a tensor is missing or of another shape than the configuration says.
  """
  if tf.io.gfile.isdir(path):
    source, read = path, _hugging_face(path, architecture.model_type)
  elif any('.ATTRIBUTES/' in name for name, _ in tf.train.list_variables(path)):
    source, read = path, _tf2(path, architecture)
  else:
    source, read = path, _tf1(path)
  fresh = []
  for variable in encoder.variables:
    layer, leaf = variable.name.split('/', 1)[1].removesuffix(':0').rsplit('/', 1)
    name, value = read(layer, leaf)
    if value is None and layer == _POOLER:
      fresh.append(name)
      continue
    if value is None:
      raise ValueError(f'{source}: expected the tensor {name}, found none; is it a BERT encoder?')
    shapes = _shapes(layer, leaf, variable.shape.as_list())
    if list(value.shape) not in shapes:
      raise ValueError(
        f'{source}: {name}: expected {shapes[0]} by the configuration beside it, found '
        f'{list(value.shape)}; the checkpoint is of another shape'
      )
    variable.assign(value.reshape(variable.shape))
  if len(fresh) == 1:
    raise ValueError(f'{source}: expected a pooler of two tensors, found one without {fresh[0]}')
  if fresh and encoder.pooler_layer.trainable:
    logging.warning('%s: has no pooler; a fresh one is trained (--pooling=mean needs none)', source)


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


def _hugging_face(folder: str, model_type: str):
  """Reader of a folder's safetensors: (layer, leaf) → (tensor's name, array or None)."""
  tensors = {}
  for file in _safetensors_files(folder):
    tensors.update(_read_safetensors(file))

  def read(layer, leaf):
    module = _module(layer, model_type).replace('layer_', 'layer.').replace('/', '.')
    # Old folders have LayerNorm.gamma.
    for name in (f'{module}.{_HUGGING_FACE_LEAVES[leaf]}', f'{module}.{leaf}'):
      for prefix in ('', f'{model_type}.'):
        if prefix + name in tensors:
          value = tensors[prefix + name]
          if value.dtype.kind != 'f':
            raise ValueError(f'{folder}: {prefix + name}: expected floating-point numbers, found {value.dtype}')
          value = value.astype(np.float32)
          if layer == 'position_embedding' and model_type == 'mpnet':
            value = value[mpnet.FIRST_POSITION :]
          return prefix + name, value.T if leaf == 'kernel' else value
    return f'{module}.{_HUGGING_FACE_LEAVES[leaf]}', None

  return read


def _safetensors_files(folder: str) -> list[str]:
  """model.safetensors, or the shards that its index names."""
  whole = pretrained.beside(folder, 'model.safetensors')
  index = f'{whole}.index.json'
  if tf.io.gfile.exists(whole) or not tf.io.gfile.exists(index):
    return [whole]
  shards = runs.read_json(index).get('weight_map')
  if not isinstance(shards, dict) or not shards:
    raise ValueError(f'{index}: expected the file of each tensor under weight_map, found none')
  return [pretrained.beside(folder, name) for name in sorted(set(shards.values()))]


def _read_safetensors(file: str) -> dict[str, np.ndarray]:
  if not tf.io.gfile.exists(file):
    raise ValueError(f'{file}: no such file; save the model with save_pretrained(..., safe_serialization=True)')
  with tf.io.gfile.GFile(file, 'rb') as stream:
    try:
      return safetensors_numpy.load(stream.read())
    except safetensors.SafetensorError as error:
      raise ValueError(f'{file}: not a whole safetensors file ({error})') from error
    except KeyError as error:  # numpy has no such type.
      raise ValueError(
        f'{file}: expected float32 or float16, found tensors of type {error}; save it in float32'
      ) from error


def _tf1(path: str):
  """Reader of a checkpoint of google-research/bert."""
  reader = tf.train.load_checkpoint(path)

  def read(layer, leaf):
    name = f'bert/{_module(layer)}' + ('' if leaf == 'embeddings' else f'/{leaf}')
    return name, reader.get_tensor(name) if reader.has_tensor(name) else None

  return read


def _tf2(path: str, architecture: pretrained.Architecture):
  """Reader of an object-based checkpoint of `networks.BertEncoder` or `BertEncoderV2`."""
  keys = [name for name, _ in tf.train.list_variables(path)]
  functional = any('layer_with_weights-' in key for key in keys)
  encoder = pretrained.make_encoder(
    architecture, encoder_class=networks.BertEncoder if functional else networks.BertEncoderV2
  )
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
