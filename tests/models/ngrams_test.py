"""The student's features against a plain Python reference; a row's do not depend on its batch."""

import itertools

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from b2d import config
from b2d.models import ngrams
from b2d.models import text
from tests import tiny_bert

_PAIR = ('query', 'title')
_QUERIES = ('red red shoe', 'saw', '', 'blue drill 18 v', '  ', 'drill', 'drills', 'abcdefgh1')
_TITLES = ('a shoe for men', 'red shoe', 'metal box', 'drill v blue', '', 'saw drill saw', 'drilling', 'abcdefgh2')
_HOSTILE = (
  b'',
  b'\xff\xfe red',
  b'\xc3',
  b'a\x00b',
  b'\x02 \x02',
  '\u202e ＴＶ É 日本'.encode(),
  b'saw ' * 300,
  b'red shoe',
  b'x' * 2_000,
)
_BUCKETS = 1 << 40  # No two n-grams of a test share a table row.


def _settings(**changes) -> config.Student:
  return config.Student(**{'num_buckets': _BUCKETS, **changes})


def _bags(texts, settings) -> list[list[int]]:
  """The ids of every bag, `kind * N + row` as in the module."""
  found = ngrams.bags([tf.constant(field, tf.string) for field in texts], settings)
  segments = found.segment_ids.numpy()
  np.testing.assert_array_equal(segments, np.sort(segments))
  by_bag = [[] for _ in range(int(found.num_segments))]
  for row_id, segment in zip(found.ids.numpy(), segments):
    by_bag[segment].append(int(row_id))
  return by_bag


def _reference(words, orders) -> list[tuple[str, ...]]:
  """n-grams that start at each token, the marks included; past the end come marks."""
  marks = [text.MARK] * max(1, max(orders) - 1)
  tokens, padded = marks + words, marks + words + marks
  return [tuple(padded[i : i + order]) for i in range(len(tokens)) for order in orders]


def _has(query, title, prefix) -> list[tuple[str, bool]]:
  """Tokens of the query, and whether the title has them; a mark stands before both."""
  beginnings = {word[:prefix] for word in (text.MARK, *title.split())}
  return [(word, word[:prefix] in beginnings) for word in (text.MARK, *query.split())]


class NgramsTest(parameterized.TestCase):
  def _unigrams(self, words, settings):
    return ngrams.unigram_ids(tf.constant(words), settings).numpy().tolist() if words else []

  def _match_rows(self, query, title, prefix, settings):
    """Table rows of the query's tokens: in the regions of lacked ones, then of had ones, the last token apart."""
    regions, tokens = ngrams.match_regions(settings, _PAIR), _has(query, title, prefix)
    chosen = [regions[2 * had + (i == len(tokens))] for i, (_, had) in enumerate(tokens, 1)]
    return [region[self._unigrams([word], settings)[0] % len(region)] for region, (word, _) in zip(chosen, tokens)]

  @parameterized.parameters(((1,),), ((2,),), ((1, 3),), ((2, 4),), ((1, 2, 3, 4),))
  def test_ngrams_as_the_reference(self, orders):
    texts = _QUERIES + _TITLES
    found = _bags([texts], _settings(ngram_orders=orders))
    name_of, id_of = {}, {}
    for words, ids in zip(texts, found):
      expected = _reference(words.split(), orders)
      self.assertLen(ids, len(expected), words)
      for ngram, row_id in zip(expected, ids):
        self.assertEqual(id_of.setdefault(ngram, row_id), row_id)
        self.assertEqual(name_of.setdefault(row_id, ngram), ngram)  # No two share a row.

  @parameterized.parameters((False, 0), (True, 0), (True, 1), (True, 4), (True, 8))
  def test_matches_as_the_reference(self, match, prefix):
    settings = _settings(match=match, match_prefix=prefix, ngram_orders=(1,))
    found, num_rows = _bags([_QUERIES, _TITLES], settings), len(_QUERIES)
    self.assertLen(found, num_rows * len(ngrams.kinds(settings, _PAIR)))
    for row, (query, title) in enumerate(zip(_QUERIES, _TITLES)):
      expected = [
        self._unigrams([text.MARK] + title.split(), settings),
        self._unigrams([text.MARK] + query.split(), settings),
      ]
      expected += [self._match_rows(query, title, prefix or None, settings)] if match else []
      self.assertEqual(found[row::num_rows], expected)

  def test_order_counts(self):
    settings = _settings()
    lacked, _, had, had_last = ngrams.match_regions(settings, _PAIR)
    one = _bags([['red shoe'], ['shoe']], settings)
    other = _bags([['shoe'], ['red shoe']], settings)
    for found, regions in ((one[2], (had, lacked, had_last)), (other[2], (had, had_last))):
      self.assertTrue(all(row_id in region for row_id, region in zip(found, regions, strict=True)))
    self.assertEqual(one[0], other[1])
    self.assertNotEqual(one[1], _bags([['shoe red'], ['']], settings)[1])
    unordered = _settings(ngram_orders=(1,))
    self.assertCountEqual(_bags([['red shoe']], unordered)[0], _bags([['shoe red']], unordered)[0])

  @parameterized.parameters(
    *itertools.product(config.groups.TOKENIZERS, config.groups.NORMALIZATIONS, ((1, 2, 3, 4),)),
    ('whitespace', 'lower', (1,)),
  )
  def test_a_row_alone_has_the_same_bags(self, tokenizer, normalization, orders):
    settings = _settings(
      tokenizer=tokenizer,
      normalization=normalization,
      ngram_orders=orders,
      tokenizer_vocab=tiny_bert.write_vocab(self.create_tempdir().full_path),
    )
    titles = _HOSTILE[3:] + _HOSTILE[:3]
    together = _bags([_HOSTILE, titles], settings)
    for row, texts in enumerate(zip(_HOSTILE, titles)):
      alone = _bags([[text] for text in texts], settings)
      self.assertEqual(alone, together[row :: len(_HOSTILE)])

  def test_no_rows(self):
    for texts in ([[]], [[], []]):
      for orders, prefix in (((1,), 0), ((2, 3), 3)):
        found = ngrams.bags(
          [tf.constant(field, tf.string) for field in texts], _settings(ngram_orders=orders, match_prefix=prefix)
        )
        self.assertEqual((found.ids.shape, found.segment_ids.shape, int(found.num_segments)), ((0,), (0,), 0))

  @parameterized.parameters(2, 7, 64, 1000)
  def test_ids_are_rows_of_the_table(self, num_buckets):
    settings = _settings(num_buckets=num_buckets, ngram_orders=(1, 2, 3))
    found = _bags([_QUERIES, _TITLES], settings)
    num_rows = len(_QUERIES)
    size = max(1, num_buckets // 8)
    self.assertEqual(
      [(region.start, len(region)) for region in ngrams.match_regions(settings, _PAIR)],
      [(num_buckets + i * size, size) for i in range(4)],
    )
    for row, (query, title) in enumerate(zip(_QUERIES, _TITLES)):
      self.assertEqual(found[2 * num_rows + row][1:], self._match_rows(query, title, None, settings))  # Two marks.
    for kind, (start, end) in enumerate(((0, num_buckets), (0, num_buckets), (num_buckets, num_buckets + 4 * size))):
      ids = np.concatenate(found[kind * num_rows : (kind + 1) * num_rows])
      self.assertBetween(ids.min(), start, end - 1)
      self.assertBetween(ids.max(), start, end - 1)
    self.assertEqual(ngrams.table_rows(settings, _PAIR), num_buckets + 4 * size)
    self.assertEqual(ngrams.table_rows(settings, ('text',)), num_buckets)

  @parameterized.parameters(([['a', 'b'], ['c']],), (['a'],), (['a', 'b'],))
  def test_wrong_shapes_are_errors(self, texts):
    with self.assertRaises((tf.errors.InvalidArgumentError, ValueError)):
      ngrams.bags([tf.constant(field) for field in texts], _settings())


if __name__ == '__main__':
  absltest.main()
