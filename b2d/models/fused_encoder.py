"""An encoder's vectors in half the time: the weights of `pretrained.make_encoder`, in forms that TensorFlow fuses.

tf-models-official's encoder is made for training: its products are einsums, which nothing is fused with, and its layer
norms a dozen float32 ops between two casts. As written below, TensorFlow's graph rewriter (the remapper, with oneDNN)
makes one op of a product with its bias and activation, and one of a layer norm; without it the ops run as they stand.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
import tf_keras

from b2d.models import mpnet
from b2d.models import pretrained

# Name below the encoder's own → variable, or array in the dtype in which it computes.
Weights = Mapping[str, tf.Variable | np.ndarray]


def variables(encoder: tf_keras.layers.Layer) -> Weights:
  """The encoder's weights, read whenever the graph runs: for one that is being trained."""
  return {weight.name.split('/', 1)[1].removesuffix(':0'): weight for weight in encoder.weights}


def constants(encoder: tf_keras.layers.Layer) -> Weights:
  """The encoder's weights as they are now: oneDNN lays constants out for its products once, not at every call."""
  return {name: tf.cast(weight, _dtype(encoder)).numpy() for name, weight in variables(encoder).items()}


def encode(
  encoder: tf_keras.layers.Layer,
  architecture: pretrained.Architecture,
  weights: Weights,
  inputs: Mapping[str, tf.Tensor],
  first_position_only: bool = False,
) -> tf.Tensor:
  """What `encoder(inputs)['sequence_output']` is, without dropout.

  Args:
    encoder: of `pretrained.make_encoder`.
    architecture: of which it was made.
    weights: its `variables`, or the `constants` of them, which take a third less time.
    inputs: 'input_word_ids', 'input_mask' and 'input_type_ids', int32 [n, length].
    first_position_only: the last layer computes the first position alone.

  Returns:
    [n, length or 1, hidden_size], in the dtype in which the encoder computes.
  """
  ids = inputs['input_word_ids']
  dtype = _dtype(encoder)
  states = tf.gather(weights['word_embeddings/embeddings'], ids)
  states += tf.gather(weights['position_embedding/embeddings'], tf.range(tf.shape(ids)[1]))
  biases = mpnet.MASKED * (1 - tf.cast(inputs['input_mask'], tf.float32))[:, tf.newaxis, tf.newaxis, :]
  if architecture.model_type == 'mpnet':
    biases += tf.cast(encoder.relative_biases(states), tf.float32)
  else:
    states += tf.gather(weights['type_embeddings/embeddings'], inputs['input_type_ids'])
  biases = tf.cast(biases, dtype)
  block = _Block(weights, architecture, dtype, num_rows=tf.shape(ids)[0])
  states = tf.reshape(tf.cast(states, dtype), [-1, architecture.hidden_size])
  states = block.norm('embeddings/layer_norm', states)
  for index in range(architecture.num_layers):
    first = first_position_only and index == architecture.num_layers - 1
    states = block(f'transformer/layer_{index}', states, biases, first)
  return block.by_row(states)


def _dtype(encoder: tf_keras.layers.Layer) -> tf.DType:
  """In which the encoder computes."""
  return tf.as_dtype(encoder.transformer_layers[0].compute_dtype)


class _Block:
  """Layers that differ in their weights alone, which are found by their names.

  Between them states lie flat, [n · length, width]: a reshape between two ops is enough that they are not fused.
  """

  def __init__(self, weights: Weights, architecture: pretrained.Architecture, dtype: tf.DType, num_rows: tf.Tensor):
    self._weights, self._dtype, self._num_rows = weights, dtype, num_rows
    self._width, self._heads = architecture.hidden_size, architecture.num_attention_heads
    self._exact_gelu = architecture.activation == pretrained.EXACT_GELU
    self._epsilon = architecture.norm_epsilon

  def __call__(self, name: str, states: tf.Tensor, biases: tf.Tensor, first: bool) -> tf.Tensor:
    """The next states, or those of each row's first position alone."""
    targets = states
    if first:
      targets, biases = self.by_row(states)[:, 0], biases[:, :, :1]
    attention = f'{name}/self_attention'
    queries, keys, values = (
      self._by_head(self._dense(f'{attention}/{part}', inputs))
      for part, inputs in (('query', targets), ('key', states), ('value', states))
    )
    queries *= (self._width // self._heads) ** -0.5
    shares = tf.nn.softmax(tf.matmul(queries, keys, transpose_b=True) + biases)
    heard = tf.reshape(tf.transpose(tf.matmul(shares, values), [0, 2, 1, 3]), [-1, self._width])
    states = self.norm(f'{attention}_layer_norm', targets + self._dense(f'{attention}/attention_output', heard))
    inner = self._gelu(self._dense(f'{name}/intermediate', states))
    return self.norm(f'{name}/output_layer_norm', states + self._dense(f'{name}/output', inner))

  def by_row(self, states: tf.Tensor) -> tf.Tensor:
    """[n · length, width] → [n, length, width]."""
    return tf.reshape(states, [self._num_rows, -1, self._width])

  def norm(self, name: str, states: tf.Tensor) -> tf.Tensor:
    """Layer norm, written as a batch norm in which each position is a channel, as Keras does it."""
    num_positions = tf.shape(states)[0]
    normed, *_ = tf.raw_ops.FusedBatchNormV3(
      x=tf.reshape(states, [1, num_positions, self._width, 1]),
      scale=tf.ones([num_positions]),
      offset=tf.zeros([num_positions]),
      mean=[],
      variance=[],
      epsilon=self._epsilon,
      data_format='NCHW',
    )
    gamma, beta = (self._weight(f'{name}/{part}', [self._width]) for part in ('gamma', 'beta'))
    return tf.reshape(normed, tf.shape(states)) * gamma + beta

  def _by_head(self, states: tf.Tensor) -> tf.Tensor:
    """[n · length, width] → [n, heads, length, width / heads]."""
    shape = [self._num_rows, -1, self._heads, self._width // self._heads]
    return tf.transpose(tf.reshape(states, shape), [0, 2, 1, 3])

  def _dense(self, name: str, inputs: tf.Tensor) -> tf.Tensor:
    product = tf.matmul(inputs, self._weight(f'{name}/kernel', [inputs.shape[1], -1]))
    return tf.nn.bias_add(product, self._weight(f'{name}/bias', [-1]))

  def _weight(self, name: str, shape: list[int]) -> tf.Tensor:
    weight = self._weights[name]
    if isinstance(weight, np.ndarray):  # A reshape in the graph would make it a constant no more.
      return tf.constant(weight.reshape(shape))
    return tf.reshape(tf.cast(weight, self._dtype), shape)

  def _gelu(self, inputs: tf.Tensor) -> tf.Tensor:
    if not self._exact_gelu:
      return tf.nn.gelu(inputs, approximate=True)
    return 0.5 * inputs * (1 + tf.math.erf(inputs * 0.5**0.5))
