"""Phrases and frequent n-grams of single texts."""

from absl.testing import absltest
import numpy as np

from b2d.data import phrases
from b2d.data import rows


class CutTest(absltest.TestCase):
  def test_phrases_are_spans_and_depend_on_the_row_alone(self):
    texts = [b' '.join(b'%d' % n for n in range(length)) for length in (0, 1, 2, 3, 30)]
    batch = {'id': np.array([b'r%d' % n for n in range(5)], dtype=object), 'text': np.array(texts, dtype=object)}
    found = phrases.cut(batch, 4)
    self.assertLen(set(found['id']), len(found['id']))
    self.assertEqual({row_id.split(b'#')[0] for row_id in found['id']}, {b'r3', b'r4'})
    for row_id, phrase in zip(found['id'], found['text']):
      source = texts[int(row_id[1:2])]
      self.assertIn(b' ' + phrase + b' ', b' ' + source + b' ')
      self.assertBetween(len(phrase.split()), 2, min(12, len(source.split()) - 1))
    alone = phrases.cut(rows.take(batch, slice(4, 5)), 4)
    self.assertEqual(alone['text'].tolist(), found['text'][-len(alone['text']) :].tolist())

  def test_scripts_without_spaces(self):
    batch = {'id': np.array([b'r'], dtype=object), 'text': np.array(['我的iPhone\u3000很好'.encode()], dtype=object)}
    phrases_of = {text.decode() for text in phrases.cut(batch, 100)['text']}
    self.assertEqual(
      phrases_of,
      {
        '我的',
        '的iPhone',
        'iPhone 很',
        '很好',
        '我的iPhone',
        '的iPhone 很',
        'iPhone 很好',
        '我的iPhone 很',
        '的iPhone 很好',
      },
    )


class NgramsTest(absltest.TestCase):
  def _frequent(self, counted, min_count):
    return [text for batch in counted.frequent(min_count) for text in batch['text']]

  def test_words_and_pairs_of_words(self):
    counted = phrases.Ngrams()
    counted.add([b'a  b a b', b'', b'b'])
    counted.add([b'a b'])
    self.assertCountEqual(self._frequent(counted, 1), [b'a', b'b', b'a b', b'b a'])
    self.assertCountEqual(self._frequent(counted, 3), [b'a', b'b', b'a b'])
    self.assertEqual([batch['id'].tolist() for batch in counted.frequent(3)], [[b'ngram:a', b'ngram:b', b'ngram:a b']])
    self.assertEmpty(self._frequent(counted, 5))

  def test_scripts_without_spaces_and_other_bytes(self):
    counted = phrases.Ngrams()
    counted.add(['很好 TV'.encode(), 'TV 很  好'.encode(), b'\xff TV'])
    self.assertCountEqual(
      self._frequent(counted, 1),
      [text.encode() for text in ('很', '好', 'TV', '很好', '好 TV', 'TV 很', '很 好')] + [b'\xff', b'\xff TV'],
    )

  def test_memory_is_bounded_and_the_frequent_stay(self):
    counted = phrases.Ngrams(max_counted=50)
    for number in range(1000):
      counted.add([b'good film', b'once%d' % number])
    found = self._frequent(counted, 1)
    self.assertLess(len(found), 51)
    self.assertCountEqual(self._frequent(counted, 1000), [b'good', b'film', b'good film'])


if __name__ == '__main__':
  absltest.main()
