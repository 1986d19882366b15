"""MPNet's encoder, of the parts that tf-models-official has for BERT's.

It differs from BERT's in few things: one table of bucketed relative positions (T5's), added to the scaled scores of
every layer; no segment embeddings; positions counted from 2 (`checkpoints` drops the two rows before); an epsilon of
1e-5 in the layer norms. The names of layers and variables are those of `networks.BertEncoderV2`.
"""

from collections.abc import Callable
from collections.abc import Mapping

from official.nlp.modeling import layers
import tensorflow as tf
import tf_keras

NUM_BUCKETS = 32
NORM_EPSILON = 1e-5
FIRST_POSITION = 2  # The rows before are never looked up.
_INITIAL_STDDEV = 0.02
MASKED = -1e9  # Is added to the scores of padding.


class Encoder(tf_keras.layers.Layer):
  """Ids → vectors; called as `networks.BertEncoderV2` is, but for the segments.

  Args of the constructor: sizes as in `pretrained.Architecture`.
    inner_activation: of the feed-forward parts.
    dropout: dropout rate everywhere.
    first_position_only: the last layer computes the first position alone.
  """

  def __init__(
    self,
    *,
    vocab_size: int,
    hidden_size: int,
    num_layers: int,
    num_attention_heads: int,
    intermediate_size: int,
    max_length: int,
    inner_activation: Callable[[tf.Tensor], tf.Tensor],
    dropout: float,
    first_position_only: bool,
  ):
    super().__init__(name='mpnet_encoder')
    self._num_heads = num_attention_heads
    self._first_position_only = first_position_only
    self._word_embeddings = layers.OnDeviceEmbedding(
      vocab_size=vocab_size, embedding_width=hidden_size, initializer=_initializer(), name='word_embeddings'
    )
    self._position_embedding = layers.PositionEmbedding(
      max_length=max_length, initializer=_initializer(), name='position_embedding'
    )
    self._embedding_norm = tf_keras.layers.LayerNormalization(
      name='embeddings/layer_norm', epsilon=NORM_EPSILON, dtype=tf.float32
    )
    self._embedding_dropout = tf_keras.layers.Dropout(dropout, name='embedding_dropout')
    self.transformer_layers = [
      _Block(
        num_attention_heads=num_attention_heads,
        inner_dim=intermediate_size,
        inner_activation=inner_activation,
        output_dropout=dropout,
        attention_dropout=dropout,
        norm_epsilon=NORM_EPSILON,
        kernel_initializer=_initializer(),
        name=f'transformer/layer_{i}',
      )
      for i in range(num_layers)
    ]
    self.pooler_layer = tf_keras.layers.Dense(
      hidden_size, activation='tanh', kernel_initializer=_initializer(), name='pooler_transform'
    )

  def build(self, input_shape):
    # Made here and not before, so that the name of its variable begins with the encoder's as all others do.
    self._relative_positions = layers.RelativePositionBias(
      self._num_heads, NUM_BUCKETS, embeddings_initializer=_initializer(), name='relative_positions'
    )
    super().build(input_shape)

  def call(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Encodes packed rows.

    Args:
      inputs: 'input_word_ids' and 'input_mask', int32 [n, length].

    Returns:
      'sequence_output' [n, length, hidden_size] (length 1 with `first_position_only`) and 'pooled_output'
      [n, hidden_size].
    """
    words = self._word_embeddings(inputs['input_word_ids'])
    states = self._embedding_dropout(self._embedding_norm(words + self._position_embedding(words)))
    biases = self.relative_biases(states)
    hidden = MASKED * (1 - tf.cast(inputs['input_mask'], biases.dtype))
    biases += hidden[:, tf.newaxis, tf.newaxis, :]
    *layers_before, last = self.transformer_layers
    for layer in layers_before:
      states = layer([states, biases])
    if self._first_position_only:
      states = last([states[:, :1], states, biases[:, :, :1]])
    else:
      states = last([states, biases])
    return {'sequence_output': states, 'pooled_output': self.pooler_layer(states[:, 0])}

  def relative_biases(self, states: tf.Tensor) -> tf.Tensor:
    """[1, heads, length, length] for states [n, length, hidden_size]: the same ones for every row and layer."""
    return self._relative_positions(states[:1], states[:1])


class _Block(layers.TransformerEncoderBlock):
  """BERT's block with `_BiasedAttention`."""

  def build(self, input_shape):
    super().build(input_shape)
    self._attention_layer = _BiasedAttention(
      num_heads=self._num_heads,
      key_dim=self._key_dim,
      dropout=self._attention_dropout_rate,
      kernel_initializer=_initializer(),
      name='self_attention',
    )


class _BiasedAttention(tf_keras.layers.MultiHeadAttention):
  """Attention whose mask, [n, heads, queries, keys], is added to the scaled scores."""

  def _masked_softmax(self, attention_scores, attention_mask=None):
    return self._softmax(attention_scores + tf.cast(attention_mask, attention_scores.dtype))


def _initializer():
  return tf_keras.initializers.TruncatedNormal(stddev=_INITIAL_STDDEV)
