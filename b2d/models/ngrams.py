"""The student's features: hashed n-grams of each text, and which query tokens the title lacks or has.

Everything is a handful of core ops on flat vectors, with no n-gram string ever built:

1. All texts of a batch, titles first and queries behind them, are cut by one split, each with marks before
   it. A token's hash is its unigram.
2. An n-gram's hash combines the hashes of n neighbours: hash(i, n) = hash(i, n - 1) · odd + token(i + n - 1).
   A window that runs past the end of its text sees the marks of the next one, which are the same before every
   text (the last one wraps round to the first): a row's features do not depend on its neighbours.
3. Keys of tokens (their hash, or their first bytes) tagged with their row are numbered by `Unique`, titles first,
   one hash-map pass over the batch: a query token whose number no title token bears is one that the title lacks.

A *bag* is a set of n-grams of one row that is pooled on its own; bags are numbered `kind * N + row`, so the
segment ids ascend as `SparseSegmentSqrtN` wants them, and the pooled [kinds * N, dim] splits by kind for free.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from b2d import config
from b2d.models import text
from b2d.models import wordpiece

_ODD = -7046029254386353131  # 2^64 / golden ratio: multiplying by it spreads neighbouring hashes.
_ROW_TAG = 5871781006564002453
_HASH_RANGE = 1 << 62
MAX_COMPARISONS = 1 << 22  # Of a query's tokens with its titles', which take up to 60 bytes each.
_MATCH_SHARE = 8  # Single words are far fewer than n-grams: a region of matches is so much smaller.


class Bags(NamedTuple):
  """What a batch of N rows becomes; see the module's docstring.

  Attributes:
    ids: int64 [nnz], table rows in [0, table_rows); of texts token by token, one for each of --ngram_orders.
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
  return fields[::-1] + (('matches',) if settings.match else ())


def match_regions(settings: config.Student, fields: tuple[str, ...]) -> list[range]:
  """Table rows of the bag of matches, behind those of the n-grams.

  Query tokens that the title lacks, and such that it has; of each the last token of the query apart, as it tends to
  name the thing: (lacked, lacked and last, had, had and last).
  """
  if 'matches' not in kinds(settings, fields):
    return []
  size = max(1, settings.num_buckets // _MATCH_SHARE)
  return [range(start, start + size) for start in range(settings.num_buckets, settings.num_buckets + 4 * size, size)]


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
  unigrams = _hash(tokens)
  ids, segment_ids = _ngrams(unigrams, row_ids, settings)
  bag_kinds = kinds(settings, ('text',) if len(texts) == 1 else ('query', 'title'))
  if 'matches' in bag_kinds:
    keys = _beginnings(tokens, settings.match_prefix) if settings.match_prefix else unigrams
    match_ids, match_segments = _matches(unigrams, keys, row_ids, num_rows, settings)
    ids = tf.concat([ids, match_ids], axis=0)
    segment_ids = tf.concat([segment_ids, match_segments], axis=0)
  return Bags(ids, segment_ids, num_rows * len(bag_kinds))


def ranking_bags(query: tf.Tensor, titles: tf.Tensor, settings: config.Student) -> Bags:
  """The bags of one query with many titles, equal to those of `bags` for the query repeated.

  Args:
    query: string [1].
    titles: string [N].
    settings: the student's configuration.

  Returns:
    Bags, numbered otherwise: 0 is the query, then come N of titles, then N of matches if there are any.

  Raises:
    tf.errors.InvalidArgumentError: at run time, texts of another rank, several queries, or more than
      `MAX_COMPARISONS` pairs of a query's and a title's token.
  """
  # Both ensured: a server checks no shapes, and TF Text's kernels end the process on a scalar.
  strings = tf.ensure_shape(tf.concat([tf.ensure_shape(query, [1]), titles], axis=0), [None])
  num_titles = tf.size(titles, out_type=tf.int64)
  tokens, row_ids = _tokens(strings, settings)
  unigrams = _hash(tokens)
  ids, segment_ids = _ngrams(unigrams, row_ids, settings)
  if not settings.match:
    return Bags(ids, segment_ids, 1 + num_titles)
  keys = _beginnings(tokens, settings.match_prefix) if settings.match_prefix else unigrams
  rows, shift = _match_rows(unigrams, row_ids, settings)
  num_query = num_below(row_ids, tf.constant(1, tf.int64))
  rows = tf.slice(rows, tf.constant([0], tf.int64), num_query)
  had = _had(keys, row_ids, num_query)
  match_ids = tf.reshape(rows + had * shift, [-1])
  match_segments = tf.reshape(tf.range(1 + num_titles, 1 + 2 * num_titles)[:, tf.newaxis] + tf.zeros_like(rows), [-1])
  ids = tf.concat([ids, match_ids], axis=0)
  segment_ids = tf.concat([segment_ids, match_segments], axis=0)
  return Bags(ids, segment_ids, 1 + 2 * num_titles)


def _had(keys: tf.Tensor, row_ids: tf.Tensor, num_query: tf.Tensor) -> tf.Tensor:
  """int64 [N, query tokens]: 1 where the title has the query's token, else 0.

  Args:
    keys: int64 [T], equal for tokens that match.
    row_ids: int64 [T], the text of each token: the query's 0, then the titles' 1 to N.
    num_query: int64 [1], how many tokens are the query's.
  """
  # The op itself: tf.debugging.Assert makes a branch, which the single-threaded executor does not run.
  few = tf.raw_ops.Assert(
    condition=tf.reduce_all(num_query * tf.size(keys, out_type=tf.int64) <= MAX_COMPARISONS),
    data=[f'rank: query and titles have too many tokens: expected at most {MAX_COMPARISONS} pairs; send fewer titles'],
  )
  with tf.control_dependencies([few]):
    query_keys = tf.slice(keys, tf.constant([0], tf.int64), num_query)
  to_end = tf.constant([-1], tf.int64)
  equal = tf.equal(tf.expand_dims(tf.slice(keys, num_query, to_end), 1), query_keys)
  # As bytes, since there may be many.
  return tf.cast(tf.math.segment_max(tf.cast(equal, tf.uint8), tf.slice(row_ids, num_query, to_end) - 1), tf.int64)


def _one_behind_the_other(texts: list[tf.Tensor]) -> tf.Tensor:
  """String [fields * N], titles first. The shape is ensured, as TF Text's kernels end the process on a scalar."""
  if len(texts) == 1:
    return tf.ensure_shape(texts[0], [None])
  # Stacking refuses unequal lengths without a node of its own, which a concatenation would not.
  return tf.reshape(tf.ensure_shape(tf.stack(texts[::-1]), [len(texts), None]), [-1])


def unigram_ids(words: tf.Tensor, settings: config.Student) -> tf.Tensor:
  """Table rows int64 [W] of single words, string [W], as they are looked up inside a text.

  A word of which the tokenizer makes several tokens, or none, gets the row of its last one or of a mark.
  """
  tokens, row_ids = _tokens(words, settings)
  last = tf.searchsorted(row_ids, tf.range(tf.size(words, out_type=tf.int64)), side='right') - 1
  return _bucket(_hash(tf.gather(tokens, last)), settings.num_buckets)


def names(texts: list[tf.Tensor], made: Bags, settings: config.Student) -> list[str]:
  """What each id of `bags` stands for, to be read: an n-gram, or a match and whether the title has it.

  Args:
    texts: string [1] a field: one row.
    made: `bags(texts, settings)`.
    settings: the student's configuration.
  """
  found = ngram_names(texts, settings)
  shown, row_ids = _shown_tokens(texts, settings)
  regions = match_regions(settings, ('text',) if len(texts) == 1 else ('query', 'title'))
  if regions:
    query = [token for token, row in zip(shown, row_ids) if row == 1]
    kinds_of_match = ('lacks', 'lacks, and it is last', 'has', 'has, and it is last')
    for token, row in zip(query, made.ids.numpy()[len(found) :]):
      region = next(index for index, rows in enumerate(regions) if row in rows)
      found.append(f'{token} (the title {kinds_of_match[region]})')
  return found


def ngram_names(texts: list[tf.Tensor], settings: config.Student) -> list[str]:
  """The n-grams, '^' where a text begins or ends: those that the first ids of `bags` stand for, matches apart.

  Args:
    texts: string [N] a field.
    settings: the student's configuration.
  """
  shown, _ = _shown_tokens(texts, settings)
  return [
    ' '.join(shown[(start + offset) % len(shown)] for offset in range(order))
    for start in range(len(shown))
    for order in settings.ngram_orders
  ]


def _shown_tokens(texts: list[tf.Tensor], settings: config.Student) -> tuple[list[str], np.ndarray]:
  """The tokens to be read, and the text each belongs to, int64 [T], the titles' first."""
  tokens, row_ids = _tokens(_one_behind_the_other(texts), settings)
  if settings.tokenizer == 'wordpiece':
    pieces = wordpiece.read_vocab(settings.tokenizer_vocab)
    shown = [pieces[token].replace('[UNK]', '^') for token in tokens.numpy()]
  else:
    shown = ['^' if token == text.MARK.encode() else token.decode('utf-8', 'replace') for token in tokens.numpy()]
  return shown, row_ids.numpy()


def _hash(tokens: tf.Tensor) -> tf.Tensor:
  """int64 [T] of tokens, strings or ids of word pieces."""
  if tokens.dtype == tf.int64:
    return (tokens + 1) * _ODD
  # Not the keyed hash, with which a pair takes a twentieth longer.
  return tf.strings.to_hash_bucket_fast(tokens, _HASH_RANGE)


def _beginnings(tokens: tf.Tensor, num_bytes: int) -> tf.Tensor:
  """int64 [T], equal for tokens that agree in their first `num_bytes` bytes (at most 8)."""
  first = tf.reshape(tf.io.decode_raw(tokens, tf.int64, fixed_length=8), [-1])
  return tf.bitwise.bitwise_and(first, tf.constant(-1 if num_bytes == 8 else (1 << 8 * num_bytes) - 1, tf.int64))


def _bucket(hashes: tf.Tensor, num_buckets: int) -> tf.Tensor:
  """hash modulo num_buckets; for powers of two by a mask, which spares a division for every n-gram."""
  if num_buckets & (num_buckets - 1) == 0:
    return tf.bitwise.bitwise_and(hashes, tf.constant(num_buckets - 1, tf.int64))
  return tf.math.floormod(hashes, tf.constant(num_buckets, tf.int64))


def _tokens(strings: tf.Tensor, settings: config.Student) -> tuple[tf.Tensor, tf.Tensor]:
  """Tokens string [T], text by text, and the text each belongs to, int64 [T]."""
  return text.split(
    text.normalize(strings, settings.normalization),
    settings.tokenizer,
    marks=_marks(settings),
    delimiters=settings.delimiters,
    part_numbers=settings.part_numbers,
    strip_suffix=settings.strip_suffix,
    vocab_file=settings.tokenizer_vocab,
  )


def _marks(settings: config.Student) -> int:
  """Marks before each text: as many tokens as an n-gram, or a window of the convolution, may run past its end."""
  window_tokens = settings.ngram_orders[0] + settings.convolution_width - 1 if settings.convolution_filters else 0
  return max(1, max(*settings.ngram_orders, window_tokens) - 1)


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


def _matches(
  unigrams: tf.Tensor, keys: tf.Tensor, row_ids: tf.Tensor, num_rows: tf.Tensor, settings: config.Student
) -> tuple[tf.Tensor, tf.Tensor]:
  """Table rows and segments of the query's tokens, in the regions that tell whether the row's title has them.

  Args:
    unigrams: int64 [T], hashes of the tokens.
    keys: int64 [T], equal for tokens that match.
    row_ids: int64 [T], the text of each token: titles, then queries.
    num_rows: int64 scalar.
    settings: the student's configuration.

  Returns:
    Both int64 [query tokens].
  """
  num_title = num_below(row_ids, num_rows)
  numbers = tf.unique(keys + tf.math.floormod(row_ids, num_rows) * _ROW_TAG).idx
  had = numbers <= tf.reduce_max(tf.slice(numbers, tf.constant([0], tf.int64), num_title))
  rows, had_shift = _match_rows(unigrams, row_ids, settings)
  rows += tf.cast(had, tf.int64) * had_shift
  to_end = tf.constant([-1], tf.int64)
  return tf.slice(rows, num_title, to_end), tf.slice(row_ids, num_title, to_end) + num_rows


def _match_rows(unigrams: tf.Tensor, row_ids: tf.Tensor, settings: config.Student) -> tuple[tf.Tensor, int]:
  """Table rows int64 [T] of tokens as such that the title lacks, and how much further those that it has are."""
  is_last = tf.not_equal(row_ids, tf.roll(row_ids, -1, axis=0))
  lacked, _, has, _ = match_regions(settings, ('query', 'title'))
  # Multiplied, not chosen by tf.where, which takes ten times as long at one row.
  rows = _bucket(unigrams, len(lacked)) + lacked.start + tf.cast(is_last, tf.int64) * len(lacked)
  return rows, has.start - lacked.start


def num_below(row_ids: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
  """int64 [1]: how many tokens are of texts before `row`."""
  # The op itself: tf.searchsorted spends three more nodes on shapes.
  return tf.reshape(
    tf.raw_ops.LowerBound(
      sorted_inputs=tf.reshape(row_ids, [1, -1]), values=tf.reshape(row, [1, 1]), out_type=tf.int64
    ),
    [1],
  )
