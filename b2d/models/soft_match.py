"""How near a title comes to each token of the query: where `ngrams` asks whether it has the token, or has it not.

A token's vector is its table row times a learnt matrix; the nearest of the title's tokens is the one of the highest
cosine, which is 1 for the token itself. With this weight the query's matches are pooled once more: the student learns
what a match of that token is worth, and how much of it a word nearby is.

Texts are padded to a fixed number of tokens, as more of them tell nothing and a long one would take the memory of all.
"""

import tensorflow as tf

from b2d import config
from b2d.models import ngrams

# The first ones of a query and of a title, marks included.
_QUERY_TOKENS, _TITLE_TOKENS = 16, 32
_LEAST_SQUARE = 1e-4  # Of a vector's length, which may be 0.


def turned(vectors: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
  """Vectors times the matrix, made as long as 1: [n, vector_dim]. Once a table row, not once a token."""
  return tf.math.l2_normalize(tf.matmul(vectors, kernel), axis=1, epsilon=_LEAST_SQUARE)


def padded(
  rows: tf.Tensor, units: tf.Tensor, bags: ngrams.Bags, num_texts: tf.Tensor, settings: config.Student
) -> tuple[tf.Tensor, tf.Tensor]:
  """The vectors that `pooled` compares and pools.

  Args:
    rows: table rows that the bags' ids index, [num_rows, embedding_dim].
    units: their `turned` vectors, [num_rows, vector_dim]; only those of tokens are looked at.
    bags: first `num_texts` of n-grams, then N of matches.
    num_texts: int64 scalar.
    settings: the student's configuration.

  Returns:
    Unit vectors of the tokens, float32 [num_texts, 32, vector_dim], and the matches' [N, 16, vector_dim].
  """
  num_ids = ngrams.num_below(bags.segment_ids, num_texts)
  # An id of each order stands for a token; the first is the token's own.
  start, step = tf.constant([0], tf.int64), tf.constant([len(settings.ngram_orders)], tf.int64)
  of_tokens, text_ids = (tf.strided_slice(values, start, num_ids, step) for values in (bags.ids, bags.segment_ids))
  to_end = tf.constant([-1], tf.int64)
  of_matches, match_rows = (tf.slice(values, num_ids, to_end) for values in (bags.ids, bags.segment_ids))
  matches = _gathered(rows, of_matches)
  if settings.weighted_pooling:  # Slicing nothing off would be an op of each call, too.
    matches = matches[:, 1:]
  return (
    _pad(_gathered(units, of_tokens), text_ids, num_texts, _TITLE_TOKENS),
    _pad(matches, match_rows - num_texts, bags.num_segments - num_texts, _QUERY_TOKENS),
  )


def pooled(queries: tf.Tensor, titles: tf.Tensor, matches: tf.Tensor) -> tf.Tensor:
  """The matches, each with its token's highest cosine, summed.

  Args:
    queries: of `padded`, [N, 32, vector_dim], or [1, 32, vector_dim] for the same query everywhere.
    titles: of `padded`, [N, 32, vector_dim].
    matches: of `padded`.

  Returns:
    float32 [N, vector_dim].
  """
  cosines = tf.matmul(titles, queries[:, :_QUERY_TOKENS], transpose_b=True)
  nearest = tf.reduce_max(cosines, axis=1, keepdims=True)
  return tf.reshape(tf.matmul(nearest, matches), [-1, matches.shape[2]])


def _gathered(rows: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
  """float32 [n, width]."""
  return tf.cast(tf.gather(rows, ids), tf.float32)


def _pad(vectors: tf.Tensor, row_ids: tf.Tensor, num_rows: tf.Tensor, length: int) -> tf.Tensor:
  """[n, width] of ascending rows → [num_rows, length, width]: zeros behind the short ones, the long ones cut."""
  # The op itself: RaggedTensor.to_tensor computes row splits first, in a dozen nodes.
  return tf.raw_ops.RaggedTensorToTensor(
    shape=tf.constant([-1, length, vectors.shape[1]], tf.int64),
    values=vectors,
    default_value=tf.constant(0.0),
    row_partition_tensors=[num_rows, row_ids],
    row_partition_types=['FIRST_DIM_SIZE', 'VALUE_ROWIDS'],
  )
