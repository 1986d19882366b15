"""The student's features: hashed n-grams of each text, and the query n-grams that the title lacks or has.

Everything is a handful of core ops on flat vectors, with no n-gram string ever built:

1. All texts of a batch, queries first and titles behind them, are cut by one split, each with a mark before
   it. A token's hash is its unigram.
2. An n-gram's hash combines the hashes of n neighbours: hash(i, n) = hash(i, n - 1) · odd + token(i + n - 1).
   A window that runs past the end of its text sees the marks of the next one, which are the same before every
   text (the last one wraps round to the first): a row's features do not depend on its neighbours.
3. Hashes tagged with their row are compared by `ListDiff`, one hash-set pass over the batch.

A *bag* is a set of n-grams of one row that is pooled on its own; bags are numbered `kind * N + row`, so the
segment ids ascend as `SparseSegmentSqrtN` wants them, and the pooled [kinds * N, dim] splits by kind for free.
"""

from typing import NamedTuple

import tensorflow as tf

from b2d import config
from b2d import text

_ODD = -7046029254386353131  # 2^64 / golden ratio: multiplying by it spreads neighbouring hashes.
_ROW_TAG = 5871781006564002453
_LACKED, _HAD = 6364136223846793005, -4417276706812531889  # Keep one token's rows for each bag apart.
_HASH_RANGE = 1 << 62


class Bags(NamedTuple):
  """What a batch of N rows becomes; see the module's docstring.

  Attributes:
    ids: int64 [nnz], table rows in [0, num_buckets).
    segment_ids: int64 [nnz], ascending, in [0, kinds * N).
    num_segments: int64 scalar, kinds * N.
  """
  ids: tf.Tensor
  segment_ids: tf.Tensor
  num_segments: tf.Tensor


def kinds(settings: config.Student, fields: tuple[str, ...]) -> tuple[str, ...]:
  """The bags of a row, in the order in which they are numbered."""
  if len(fields) == 1:
    return fields
  return fields + {'none': (), 'unmatched': ('lacked',), 'both': ('lacked', 'had')}[settings.match]


def bags(texts: list[tf.Tensor], settings: config.Student) -> Bags:
  """Turns texts into bags of table rows.

  Args:
    texts: one string tensor [N] a field: [text], or [query, title].
    settings: the student's configuration.

  Returns:
    Bags.

  Raises:
    tf.errors.InvalidArgumentError: at run time, texts of another rank or of unequal lengths.
  """
  num_rows = tf.size(texts[0], out_type=tf.int64)
  strings = _one_behind_the_other(texts)
  hashes, segment_ids = _hashed_ngrams(strings, settings)
  if len(texts) == 2 and settings.match != 'none':
    hashes, segment_ids = _add_matches(hashes, segment_ids, num_rows, settings.match)
    num_kinds = 3 if settings.match == 'unmatched' else 4
  else:
    num_kinds = len(texts)
  ids = tf.math.floormod(hashes, tf.constant(settings.num_buckets, tf.int64))
  return Bags(ids, segment_ids, num_rows * num_kinds)


def _one_behind_the_other(texts: list[tf.Tensor]) -> tf.Tensor:
  """String [fields * N]. The shape is ensured, as TF Text's kernels end the process on a scalar."""
  if len(texts) == 1:
    return tf.ensure_shape(texts[0], [None])
  # Stacking refuses unequal lengths without a node of its own, which a concatenation would not.
  return tf.reshape(tf.ensure_shape(tf.stack(texts), [len(texts), None]), [-1])


def unigram_ids(words: tf.Tensor, settings: config.Student) -> tf.Tensor:
  """Table rows int64 [W] of single tokens, string [W]."""
  return tf.math.floormod(_hash(words, settings), tf.constant(settings.num_buckets, tf.int64))


def _hash(tokens: tf.Tensor, settings: config.Student) -> tf.Tensor:
  return tf.strings.to_hash_bucket_strong(tokens, _HASH_RANGE, key=[settings.hash_seed, 0x62326462])


def _hashed_ngrams(strings: tf.Tensor, settings: config.Student) -> tuple[tf.Tensor, tf.Tensor]:
  """Hashes int64 [nnz] of all n-grams, text by text, and the text each belongs to, int64 [nnz]."""
  longest = max(settings.ngram_orders)
  tokens, row_ids = text.split(
      text.normalize(strings, settings.normalization), settings.tokenizer, marks=max(1, longest - 1),
      delimiters=settings.delimiters, strip_suffix=settings.strip_suffix,
      vocab_file=settings.tokenizer_vocab)
  unigrams = _hash(tokens, settings)
  by_order = {1: unigrams}
  for order in range(2, longest + 1):
    by_order[order] = by_order[order - 1] * _ODD + tf.roll(unigrams, 1 - order, axis=0)
  if settings.ngram_orders == (1,):
    return unigrams, row_ids
  chosen = [by_order[order] for order in settings.ngram_orders]
  hashes = tf.reshape(tf.stack(chosen, axis=1), [-1])
  return hashes, tf.reshape(tf.stack([row_ids] * len(chosen), axis=1), [-1])


def _add_matches(hashes: tf.Tensor, segment_ids: tf.Tensor, num_rows: tf.Tensor,
                 match: str) -> tuple[tf.Tensor, tf.Tensor]:
  """Appends the bags of query n-grams that the row's title lacks and, for 'both', has."""
  tagged = hashes + tf.math.floormod(segment_ids, num_rows) * _ROW_TAG
  num_query = tf.searchsorted(segment_ids, tf.reshape(num_rows, [1]), out_type=tf.int64)
  in_query = tf.slice(tagged, tf.constant([0], tf.int64), num_query)
  in_title = tf.slice(tagged, num_query, tf.constant([-1], tf.int64))
  lacked, lacked_at = tf.raw_ops.ListDiff(x=in_query, y=in_title, out_idx=tf.int64)
  all_hashes = [hashes, tf.gather(hashes, lacked_at) * _LACKED]
  all_segments = [segment_ids, tf.gather(segment_ids, lacked_at) + 2 * num_rows]
  if match == 'both':
    _, had_at = tf.raw_ops.ListDiff(x=in_query, y=lacked, out_idx=tf.int64)
    all_hashes.append(tf.gather(hashes, had_at) * _HAD)
    all_segments.append(tf.gather(segment_ids, had_at) + 3 * num_rows)
  return tf.concat(all_hashes, axis=0), tf.concat(all_segments, axis=0)
