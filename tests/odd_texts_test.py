"""What a trained student says of texts that no training had, as docs/reading-the-report.md tells it."""

import collections
import itertools
import os
import tempfile

from absl.testing import absltest
import numpy as np
import tensorflow as tf

import b2d
from b2d import config
from b2d.models import ngrams

_COLOURS, _THINGS = ('red', 'blue', 'green', 'white'), ('drill', 'saw', 'lamp', 'rug', 'mower', 'bucket')
_PHRASES = [f'{colour} {thing}' for colour, thing in itertools.product(_COLOURS, _THINGS)]
# Query and title by name.
_ODD = {
  'empty': ('', ''),
  'blank': (' \t', '\u3000 '),
  'no title': ('red drill', ''),
  'no query': ('', 'red drill'),
  'signs': ('?!', '\U0001f642 \ufffd'),
  'one long word': ('x' * 5000, 'x' * 5000),
  'many words': ('red drill', 'blue saw ' * 5000),
  'other, twice': ('red drill', 'blue saw blue saw'),
  'other, fifty times': ('red drill', 'blue saw ' * 50),
  'same': ('red drill', 'red drill'),
  'other': ('red drill', 'blue saw'),
  'same, unknown': ('asdf qwer', 'asdf qwer'),
  'other, unknown': ('asdf qwer', 'zxcv uiop'),
}


class OddTextsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value)
    cls.addClassCleanup(tf.io.gfile.rmtree, cls.folder)
    rows, student, export = (os.path.join(cls.folder, name) for name in ('rows.tsv', 'student', 'export'))
    with open(rows, 'w', encoding='utf-8') as file:
      file.write('query\ttitle\tlabel\n')
      file.writelines(f'{a}\t{b}\t{int(a == b)}\n' for a, b in itertools.product(_PHRASES, _PHRASES))
      file.writelines(f'{a}\t{a} {b}\t1\n' for a, b in itertools.product(_PHRASES, _PHRASES))
    b2d.run(
      config.Distill(
        train_files=(rows,),
        valid_files=(rows,),
        schema=config.Schema(text_columns=('query', 'title'), label_column='label'),
        student=config.Student(num_buckets=4096, embedding_dim=8, hidden_layers=(16,)),
        training=config.Training(train_batch_size=64, num_train_epochs=6, learning_rate=5e-3, eval_every=1000),
        output_dir=student,
      )
    )
    b2d.run(config.Export(model=student, output_dir=export, table_dtype='float32'))
    cls.student, cls.served = b2d.load(student), b2d.load(export)
    cls.queries, cls.titles = zip(*_ODD.values())
    cls.scores = dict(zip(_ODD, cls.student.probability(query=cls.queries, title=cls.titles)))

  def _bags(self, query, title) -> dict[str, np.ndarray]:
    """The ids of each bag of one row, sorted, by its kind."""
    model = self.student.keras
    bags = model.featurize({'query': tf.constant([query]), 'title': tf.constant([title])})
    return {kind: np.sort(bags.ids[bags.segment_ids == i]) for i, kind in enumerate(model.kinds)}

  def test_each_has_a_probability_and_the_served_one_is_the_same(self):
    for name, score in self.scores.items():
      self.assertBetween(score, 0, 1, name)  # NaN is not.
    served = self.served.probability(query=self.queries, title=self.titles)
    np.testing.assert_allclose(served, list(self.scores.values()), atol=1e-5)

  def _words_lacked(self, query, title) -> int:
    first, last, *_ = ngrams.match_regions(self.student.keras.settings, ('query', 'title'))
    return sum(row in first or row in last for row in self._bags(query, title)['matches'])

  def test_without_words_texts_are_alike_and_lack_nothing(self):
    self.assertEqual(self.scores['blank'], self.scores['empty'])
    for title in ('', 'red drill'):
      self.assertEqual(self._words_lacked('', title), 0)
    self.assertEqual(self._words_lacked('red drill', ''), 2)
    self.assertLess(self.scores['no title'], 0.1)

  def test_a_title_repeated_matches_no_more_but_counts_as_often_as_it_stands_there(self):
    once, often = (self._bags('red drill', 'blue saw ' * times) for times in (1, 50))
    np.testing.assert_array_equal(often['matches'], once['matches'])
    found = collections.Counter(collections.Counter(often['title'].tolist()).values())
    self.assertEqual(found, {50: 3, 49: 1, 1: 3})  # Two words and their pair; what joins two pairs; the ends.
    self.assertLess(self.scores['other, twice'], 0.1)
    self.assertGreater(
      self.scores['other, fifty times'], self.scores['other, twice']
    )  # Nothing says where to: titles are to be cut.

  def test_unknown_words_score_low_unless_they_match(self):
    self.assertLess(self.scores['other'], 0.3)
    self.assertGreater(self.scores['same'], 0.7)
    self.assertLess(self.scores['other, unknown'], 0.5)
    self.assertGreater(self.scores['same, unknown'], self.scores['other, unknown'] + 0.2)


if __name__ == '__main__':
  absltest.main()
