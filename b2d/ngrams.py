"""The student's features: hashed n-grams of each text, and the query tokens that the title lacks or has.

Everything is a handful of core ops on flat vectors, with no n-gram string ever built:

1. All texts of a batch, queries first and titles behind them, are cut by one split, each with a mark before
   it. A token's hash is its unigram.
2. An n-gram's hash combines the hashes of n neighbours: hash(i, n) = hash(i, n - 1) · odd + token(i + n - 1).
   A window that runs past the end of its text sees the marks of the next one, which are the same before every
   text (the last one wraps round to the first): a row's features do not depend on its neighbours.
3. Token hashes (of whole tokens, or of their beginnings) tagged with their row are compared by `ListDiff`, one
   hash-set pass over the batch.

A *bag* is a set of n-grams of one row that is pooled on its own; bags are numbered `kind * N + row`, so the
segment ids ascend as `SparseSegmentSqrtN` wants them, and the pooled [kinds * N, dim] splits by kind for free.
"""

from typing import NamedTuple

import tensorflow as tf

from b2d import config
from b2d import text

_ODD = -7046029254386353131  # 2^64 / golden ratio: multiplying by it spreads neighbouring hashes.
_ROW_TAG = 5871781006564002453
_HASH_RANGE = 1 << 62


_MATCH_SHARE = 8  # Single words are far fewer than n-grams: a region of matches is so much smaller.


class Bags(NamedTuple):
  """What a batch of N rows becomes; see the module's docstring.

  Attributes:
    ids: int64 [nnz], table rows in [0, table_rows).
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


def match_regions(settings: config.Student, fields: tuple[str, ...]) -> list[range]:
  """Table rows of the query tokens that match alike, behind those of the n-grams.

  Each bag of matches has two: one for the last token of the query, which tends to name the thing, one for the others.
  """
  size = max(1, settings.num_buckets // _MATCH_SHARE)
  starts = [settings.num_buckets + i * size for i in range(2 * (len(kinds(settings, fields)) - len(fields)))]
  return [range(start, start + size) for start in starts]


def table_rows(settings: config.Student, fields: tuple[str, ...]) -> int:
  """Rows of the embedding table."""
  return settings.num_buckets + sum(map(len, match_regions(settings, fields)))


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
  tokens, row_ids = _tokens(strings, settings)
  unigrams = _hash(tokens, settings)
  ids, segment_ids = _ngrams(unigrams, row_ids, settings)
  num_kinds = len(kinds(settings, ('text',) if len(texts) == 1 else ('query', 'title')))
  if num_kinds > 2:
    keys = unigrams
    if settings.match_prefix:
      keys = _hash(tf.strings.substr(tokens, 0, settings.match_prefix), settings)
    matches = _matches(unigrams, keys, row_ids, num_rows, settings)
    ids = tf.concat([ids, *matches[0]], axis=0)
    segment_ids = tf.concat([segment_ids, *matches[1]], axis=0)
  return Bags(ids, segment_ids, num_rows * num_kinds)


def _one_behind_the_other(texts: list[tf.Tensor]) -> tf.Tensor:
  """String [fields * N]. The shape is ensured, as TF Text's kernels end the process on a scalar."""
  if len(texts) == 1:
    return tf.ensure_shape(texts[0], [None])
  # Stacking refuses unequal lengths without a node of its own, which a concatenation would not.
  return tf.reshape(tf.ensure_shape(tf.stack(texts), [len(texts), None]), [-1])


def unigram_ids(words: tf.Tensor, settings: config.Student) -> tf.Tensor:
  """Table rows int64 [W] of single words, string [W], as they are looked up inside a text.

  A word of which the tokenizer makes several tokens, or none, gets the row of its last one or of a mark.
  """
  tokens, row_ids = _tokens(words, settings)
  last = tf.searchsorted(row_ids, tf.range(tf.size(words, out_type=tf.int64)), side='right') - 1
  return _bucket(_hash(tf.gather(tokens, last), settings), settings.num_buckets)


def _hash(tokens: tf.Tensor, settings: config.Student) -> tf.Tensor:
  return tf.strings.to_hash_bucket_strong(tokens, _HASH_RANGE, key=[settings.hash_seed, 0x62326462])


def _bucket(hashes: tf.Tensor, num_buckets: int) -> tf.Tensor:
  """hash modulo num_buckets; for powers of two by a mask, which spares a division for every n-gram."""
  if num_buckets & (num_buckets - 1) == 0:
    return tf.bitwise.bitwise_and(hashes, tf.constant(num_buckets - 1, tf.int64))
  return tf.math.floormod(hashes, tf.constant(num_buckets, tf.int64))


def _tokens(strings: tf.Tensor, settings: config.Student) -> tuple[tf.Tensor, tf.Tensor]:
  """Tokens string [T], text by text, and the text each belongs to, int64 [T]."""
  return text.split(
      text.normalize(strings, settings.normalization), settings.tokenizer,
      marks=max(1, max(settings.ngram_orders) - 1), delimiters=settings.delimiters,
      strip_suffix=settings.strip_suffix, vocab_file=settings.tokenizer_vocab)


def _ngrams(unigrams: tf.Tensor, row_ids: tf.Tensor, settings: config.Student) -> tuple[tf.Tensor, tf.Tensor]:
  """Table rows int64 [nnz] of all n-grams, text by text, and the text each belongs to, int64 [nnz]."""
  by_order = {1: unigrams}
  for order in range(2, max(settings.ngram_orders) + 1):
    by_order[order] = by_order[order - 1] * _ODD + tf.roll(unigrams, 1 - order, axis=0)
  chosen = [by_order[order] for order in settings.ngram_orders]
  if len(chosen) == 1:
    return _bucket(chosen[0], settings.num_buckets), row_ids
  hashes = tf.reshape(tf.stack(chosen, axis=1), [-1])
  return _bucket(hashes, settings.num_buckets), tf.reshape(tf.stack([row_ids] * len(chosen), axis=1), [-1])


def _matches(unigrams: tf.Tensor, keys: tf.Tensor, row_ids: tf.Tensor, num_rows: tf.Tensor,
             settings: config.Student) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
  """Table rows and segments of the query's tokens that the row's title lacks and, for 'both', has.

  Args:
    unigrams: int64 [T], hashes of the tokens.
    keys: int64 [T], equal for tokens that match.
    row_ids: int64 [T], the text of each token: queries, then titles.
    num_rows: int64 scalar.
    settings: the student's configuration.
  """
  # The op itself: tf.searchsorted spends three more nodes on shapes.
  num_query = tf.reshape(tf.raw_ops.LowerBound(
      sorted_inputs=tf.reshape(row_ids, [1, -1]), values=tf.reshape(num_rows, [1, 1]), out_type=tf.int64), [1])
  tagged = keys + tf.math.floormod(row_ids, num_rows) * _ROW_TAG
  in_query = tf.slice(tagged, tf.constant([0], tf.int64), num_query)
  in_title = tf.slice(tagged, num_query, tf.constant([-1], tf.int64))
  lacked, lacked_at = tf.raw_ops.ListDiff(x=in_query, y=in_title, out_idx=tf.int64)
  positions = [lacked_at]
  if settings.match == 'both':
    positions.append(tf.raw_ops.ListDiff(x=in_query, y=lacked, out_idx=tf.int64).idx)
  regions = match_regions(settings, ('query', 'title'))
  is_last = tf.cast(tf.not_equal(row_ids, tf.roll(row_ids, -1, axis=0)), tf.int64)
  rows = _bucket(unigrams, len(regions[0])) + is_last * len(regions[0])
  ids = [tf.gather(rows, at) + regions[2 * i].start for i, at in enumerate(positions)]
  segments = [tf.gather(row_ids, at) + kind * num_rows for kind, at in enumerate(positions, start=2)]
  return ids, segments
