"""The student: pooled embeddings of hashed n-grams and a feed-forward network (BERT2DNN, section 3).

    texts ──ngrams.bags──▶ table rows ──pooling──▶ [N, kinds · dim] (+ query · title) ──dense──▶ logits

With --weighted_pooling a table row is a weight and a vector, and a bag pools to Σ weight · vector / √Σ weight²: with
equal weights the sqrtn of the default. With --convolution_filters a convolution over the rows of neighbouring tokens
sees their order, and its maximum over the text stands beside the bag (Kim 2014, arXiv 1408.5882). With --soft_match
a pair's matches are pooled once more, each with how near the title comes to that query token (`soft_match`).

`featurize` holds everything up to the row ids, so that training computes it on the input thread; `logits_of_poolable`
is the rest. Both together are the model that is exported (`export/`), which only swaps in the table in --table_dtype.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from b2d import config
from b2d import runs
from b2d.learning import run_state
from b2d.models import ngrams
from b2d.models import soft_match
from b2d.models import text

_PREDICT_ROWS = 1024
_INITIAL_STDDEV = 0.01
# A row's weight is exp(4 · its first column), so that training moves it four times as fast, from e⁻⁴ to e⁴.
_WEIGHT_SCALE, _WEIGHT_LIMIT = 4.0, 4.0
_LEAST_SQUARES = 1e-6  # A bag may be empty.


class Poolable(NamedTuple):
  """Table rows as `StudentModel.logits_of_poolable` takes them; an export holds the whole table ready made.

  Attributes:
    rows: [num_rows, embedding_dim].
    units: their `soft_match.turned` vectors, [num_rows, vector_dim]; None where nothing compares them.
  """

  rows: tf.Tensor
  units: tf.Tensor | None


class StudentModel(tf_keras.Model):
  """Texts → logits.

  Args of the constructor:
    settings: the student's configuration.
    fields: ('text',) or ('query', 'title').
    num_classes: 2 gives one logit a row, more give one a class.
    seed: of the initial weights.
    blank: leaves the table at zero, for weights that are restored next: drawing it takes ten times as long as that.

  Attributes:
    table: float32 variable [ngrams.table_rows, embedding_dim].
    turn: the matrix of the soft match, if there is one.
    dense: the layer of the convolution, if there is one, then the feed-forward layers, of which the last one is linear.
  """

  def __init__(
    self, settings: config.Student, fields: tuple[str, ...], num_classes: int, seed: int = 1, *, blank: bool = False
  ):
    super().__init__(name='student')
    text.check_marks(settings.strip_suffix, settings.delimiters)
    self.settings, self.fields, self.num_classes, self._seed = settings, fields, num_classes, seed
    self.kinds = ngrams.kinds(settings, fields)
    shape = [ngrams.table_rows(settings, fields), settings.embedding_dim]
    self.table = tf.Variable(tf.zeros(shape) if blank else _initial_table(settings, fields, seed), name='table')
    self._has_product = len(fields) == 2 and settings.product
    units = (*settings.hidden_layers, 1 if num_classes == 2 else num_classes)
    has_soft_match = len(fields) == 2 and settings.soft_match
    num_vectors = len(self.kinds) + has_soft_match + self._has_product
    width = num_vectors * settings.vector_dim + settings.convolution_filters
    self.turn = tf.Variable(tf.eye(settings.vector_dim), name='turn') if has_soft_match else None
    self.dense = []
    if settings.convolution_filters:
      self.dense.append(
        _dense(
          settings.convolution_width * settings.vector_dim,
          settings.convolution_filters,
          None,
          'convolution',
          seed + len(units),
        )
      )
    for i, (inputs, outputs) in enumerate(zip((width, *units), units)):
      self.dense.append(_dense(inputs, outputs, 'relu' if i < len(units) - 1 else None, f'dense_{i}', seed + i))
    self.built = True
    # Nothing branches on tensors: without AutoGraph, whose rewriting takes longer than the tracing.
    self._predict = tf.function(
      lambda *texts: self(dict(zip(self.fields, texts))),
      input_signature=[tf.TensorSpec([None], tf.string)] * len(self.fields),
      autograph=False,
    )

  @property
  def sees_places(self) -> bool:
    """Whether it looks at single tokens, so that `ngrams.Bags` must hold those of whole texts, in their order."""
    return bool(self.settings.convolution_filters) or self.turn is not None

  def moved_rows(self) -> np.ndarray:
    """Which rows of the table training has moved from where they began, bool [ngrams.table_rows]."""
    return np.any(self.table.numpy() != _initial_table(self.settings, self.fields, self._seed).numpy(), axis=1)

  def featurize(self, texts: Mapping[str, tf.Tensor]) -> ngrams.Bags:
    """Row ids of every bag; see `ngrams.Bags`.

    Args:
      texts: string [N] by field.
    """
    return ngrams.bags([texts[field] for field in self.fields], self.settings)

  def logits_of(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Scores what `featurize_unique` made.

    Returns:
      float [N] for two classes, else [N, num_classes].
    """
    ready = self.poolable(tf.gather(self.table, batch['rows']))
    bags = ngrams.Bags(batch['ids'], batch['segment_ids'], batch['num_segments'])
    return self.logits_of_poolable(ready, bags, self.dense)

  def poolable(self, rows: tf.Tensor) -> Poolable:
    """Of table rows, [num_rows, embedding_dim]."""
    vectors = rows
    if self.settings.weighted_pooling:
      weight = tf.exp(tf.clip_by_value(_WEIGHT_SCALE * rows[:, :1], -_WEIGHT_LIMIT, _WEIGHT_LIMIT))
      vectors = weight * rows[:, 1:]
      rows = tf.concat([weight * weight, vectors], axis=1)
    return Poolable(rows, None if self.turn is None else soft_match.turned(vectors, self.turn))

  def logits_of_poolable(self, ready: Poolable, bags: ngrams.Bags, dense: Sequence[Any]) -> tf.Tensor:
    """Pools and scores rows that `poolable` has made.

    Args:
      ready: of `poolable`; of a table its first rows, those of n-grams, are enough for `units`.
      bags: whose `ids` index `ready`.
      dense: `self.dense`, or the same layers with frozen weights; of the first one `kernel` and `bias` may be read.

    Returns:
      As `logits_of`.
    """
    soft = []
    if ready.units is not None:
      num_texts = 2 * (bags.num_segments // len(self.kinds))
      texts, matches = soft_match.padded(ready.rows, ready.units, bags, num_texts, self.settings)
      titles, queries = tf.split(texts, 2)
      soft = [soft_match.pooled(queries, titles, matches)]
    hidden = self._combine(self._pool(ready.rows, bags), soft)
    if self.settings.convolution_filters:
      convolution, *dense = dense
      hidden = tf.concat([hidden, self._convolve(ready.rows, bags, convolution)], axis=1)
    for layer in dense:
      hidden = layer(hidden)
    return tf.reshape(hidden, [-1]) if self.num_classes == 2 else hidden

  def ranking_logits(self, ready: Poolable, bags: ngrams.Bags, dense: Sequence[Any]) -> tf.Tensor:
    """As `logits_of_poolable`, of one query with N titles: the first layer sees the query once.

        W_t·t + W_q·q + W_m·m + W_p·(t∘q) + b = [W_t + W_p·diag(q), W_m]·[t, m] + (W_q·q + b)

    Args:
      ready: as of `logits_of_poolable`.
      bags: of `ngrams.ranking_bags`, whose `ids` index `ready`.
      dense: as of `logits_of_poolable`, the first one with `kernel`, `bias` and `activation`.

    Returns:
      As `logits_of`.
    """
    soft = []
    if ready.units is not None:
      num_texts = 1 + bags.num_segments // (len(self.kinds) - 1)
      texts, matches = soft_match.padded(ready.rows, ready.units, bags, num_texts, self.settings)
      query, titles = tf.split(texts, [1, -1])
      soft = [soft_match.pooled(query, titles, matches)]
    first, *others = dense
    width = self.settings.vector_dim
    query, of_titles = tf.split(self._pool(ready.rows, bags), [1, -1])
    of_titles = tf.concat([*tf.unstack(tf.reshape(of_titles, [len(self.kinds) - 1, -1, width])), *soft], axis=1)
    # Blocks of the kernel as `_combine` lays the features: title, query, matches, soft matches and product, as far as
    # they are.
    title, of_query, *kernels = (
      first.kernel[start : start + width] for start in range(0, first.kernel.shape[0], width)
    )
    if self._has_product:
      title += tf.reshape(query, [-1, 1]) * kernels.pop()
    bias = tf.reshape(tf.matmul(query, of_query), [-1]) + first.bias
    kernel = tf.concat([title, *kernels], axis=0)
    hidden = first.activation(tf.nn.bias_add(tf.matmul(of_titles, kernel), bias))
    for layer in others:
      hidden = layer(hidden)
    return tf.reshape(hidden, [-1]) if self.num_classes == 2 else hidden

  @tf.function(reduce_retracing=True, autograph=False)
  def featurize_unique(self, *texts) -> dict[str, tf.Tensor]:
    """Bags over the unique table rows, so that a gradient names each row once.

    Args:
      *texts: string [N], one a field.

    Returns:
      'rows' int64 [U], ascending in first use; 'ids' int32 [nnz] into them; 'segment_ids', 'num_segments'.
    """
    bags = self.featurize(dict(zip(self.fields, texts)))
    rows, ids = tf.unique(bags.ids)
    return {'rows': rows, 'ids': ids, 'segment_ids': bags.segment_ids, 'num_segments': bags.num_segments}

  def _pool(self, rows: tf.Tensor, bags: ngrams.Bags) -> tf.Tensor:
    """float32 [kinds · N, vector_dim]."""
    if not self.settings.weighted_pooling:
      pooled = tf.sparse.segment_sqrt_n(rows, bags.ids, bags.segment_ids, num_segments=bags.num_segments)
      return tf.cast(pooled, tf.float32)
    # Not tf.sparse.segment_sum, which waits for each row of a large table.
    sums = tf.math.unsorted_segment_sum(self._vectors(rows, bags), bags.segment_ids, bags.num_segments)
    squares, sums = tf.split(sums, [1, self.settings.vector_dim], axis=1)
    return sums * tf.math.rsqrt(tf.maximum(squares, _LEAST_SQUARES))

  def _vectors(self, rows: tf.Tensor, bags: ngrams.Bags) -> tf.Tensor:
    """The row of each id, float32 [nnz, embedding_dim]. Of two calls for the same bags the graph computes one."""
    return tf.cast(tf.gather(rows, bags.ids), tf.float32)

  def _convolve(self, rows: tf.Tensor, bags: ngrams.Bags, layer: Any) -> tf.Tensor:
    """float32 [N, filters]: the maximum over a text of what the filters give at its tokens, if positive.

    A window that runs past the end of its text sees the marks of the next one, as n-grams do.
    """
    orders, width = len(self.settings.ngram_orders), self.settings.convolution_width
    row_ids = tf.unstack(tf.reshape(bags.segment_ids, [-1, orders]), num=orders, axis=1)[0]
    # An id of each order stands for a token; the first is the token's own.
    of_tokens = tf.reshape(self._vectors(rows, bags), [-1, orders * self.settings.embedding_dim])
    vectors = tf.split(of_tokens, orders, axis=1)[0]
    windows = tf.concat([vectors, *(tf.roll(vectors, -i, axis=0) for i in range(1, width))], axis=1)
    # Zeros for the squared weights, with which it learns worse: dropping a column would copy all others.
    kernel = tf.reshape(layer.kernel, [width, self.settings.vector_dim, -1])
    kernel = tf.pad(kernel, [[0, 0], [self.settings.embedding_dim - self.settings.vector_dim, 0], [0, 0]])
    found = tf.nn.bias_add(tf.matmul(windows, tf.reshape(kernel, [windows.shape[1], -1])), layer.bias)
    # Every text has a token, since marks stand before it.
    return tf.nn.relu(tf.math.segment_max(found, row_ids))

  def _combine(self, pooled: tf.Tensor, soft: list[tf.Tensor]) -> tf.Tensor:
    """[kinds · N, dim] → [N, features]: the kinds side by side, `soft`, and the product of query and title."""
    if len(self.kinds) == 1:
      return pooled
    by_kind = [*tf.unstack(tf.reshape(pooled, [len(self.kinds), -1, self.settings.vector_dim])), *soft]
    if self._has_product:
      by_kind.append(by_kind[0] * by_kind[1])
    return tf.concat(by_kind, axis=1)

  def call(self, inputs):
    return self.logits_of(self.featurize_unique(*(inputs[field] for field in self.fields)))

  def predict_logits(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
    """Logits of numpy batches.

    Args:
      batch: object arrays [n] of bytes by field.

    Returns:
      float32 [n, num_classes]; two classes as [0, logit].
    """
    texts = [batch[field] for field in self.fields]
    parts = [
      self._predict(*(tf.constant(text[start : start + _PREDICT_ROWS], tf.string) for text in texts)).numpy()
      for start in range(0, len(texts[0]), _PREDICT_ROWS)
    ]
    logits = np.concatenate(parts) if parts else np.zeros([0] if self.num_classes == 2 else [0, self.num_classes])
    if self.num_classes == 2:
      logits = np.stack([np.zeros_like(logits), logits], axis=1)
    return logits.astype(np.float32)


def _dense(inputs: int, outputs: int, activation: str | None, name: str, seed: int) -> tf_keras.layers.Dense:
  """A built layer [n, inputs] → [n, outputs]."""
  layer = tf_keras.layers.Dense(
    outputs, activation=activation, name=name, kernel_initializer=tf_keras.initializers.HeNormal(seed=seed)
  )
  layer.build([None, inputs])
  return layer


def _initial_table(settings: config.Student, fields: tuple[str, ...], seed: int) -> tf.Tensor:
  """Near zero, so that n-grams never seen in training add no noise; but all rows of a region of matches start from
  one vector, so that their *count* is visible from the first step and for words never seen."""
  regions = ngrams.match_regions(settings, fields)
  rows = tf.random.stateless_normal(
    [ngrams.table_rows(settings, fields), settings.embedding_dim], seed=[seed, 0], stddev=_INITIAL_STDDEV
  )
  common = tf.random.stateless_normal(
    [len(regions), settings.embedding_dim], seed=[seed, 1], stddev=settings.embedding_dim**-0.5
  )
  common *= tf.sequence_mask(settings.vector_dim, settings.embedding_dim, tf.float32)[::-1]  # The weights start alike.
  zeros = tf.zeros([settings.num_buckets, settings.embedding_dim])
  return rows + tf.concat([zeros, tf.repeat(common, [len(region) for region in regions], axis=0)], axis=0)


def load(folder: str) -> StudentModel:
  """The trained student of a run folder of `b2d.distill`.

  Raises:
    ValueError: the folder holds no finished run of it.
  """
  run = runs.load_config(folder, config.Distill)
  settings = run.student
  if settings.tokenizer == 'wordpiece':
    settings = dataclasses.replace(settings, tokenizer_vocab=vocab_path(folder))
  model = StudentModel(settings, run.schema.fields, run.schema.num_classes, run.training.seed, blank=True)
  run_state.restore_best(model, folder)
  return model


def vocab_path(folder: str) -> str:
  """Where a run keeps its copy of the vocabulary of --tokenizer=wordpiece."""
  return os.path.join(folder, 'vocab.txt')
