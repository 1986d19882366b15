"""Several models on the same rows: ratios, differences, intervals, table."""

from absl.testing import absltest
import numpy as np
from scipy import stats

from b2d import config
from b2d.measures import comparison
from b2d.measures import metrics
from b2d.models import calibration

_SCHEMA = config.Schema(
  text_columns=('query', 'title'), label_column='grade', label_range=(1.0, 3.0), relevant_from=2.5
)


def _logits(margins):
  return np.stack([np.zeros_like(margins), margins], axis=1)


class CompareTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.queries = np.arange(400) % 50
    self.targets = rng.integers(0, 5, 400) / 4
    teacher = 4 * self.targets - 2 + rng.normal(size=400)
    self.logits = {'teacher': _logits(teacher), 'student': _logits(teacher + rng.normal(size=400))}

  def test_pairs_have_every_measure(self):
    found = comparison.compare(self.targets, self.queries, self.logits, _SCHEMA, reference='teacher')
    teacher, student = found['teacher'], found['student']
    self.assertEqual(teacher['agreement'], 1)
    self.assertEqual(teacher['recovered_auc'], 1)
    self.assertAlmostEqual(student['recovered_auc'], student['auc'] / teacher['auc'])
    self.assertAlmostEqual(student['recovered_accuracy'], student['accuracy'] / teacher['accuracy'])
    margins = [metrics.margin(logits) for logits in self.logits.values()]
    self.assertAlmostEqual(student['agreement_spearman'], stats.spearmanr(*margins).statistic)
    self.assertContainsSubset(
      {'accuracy', 'auc', 'log_loss', 'ece', 'spearman', 'auc_by_query', 'ndcg@10', 'mrr'}, student
    )
    self.assertNotIn('interval', student)

  def test_bootstrap_tells_the_difference_from_noise(self):
    found = comparison.compare(self.targets, self.queries, self.logits, _SCHEMA, reference='teacher', num_repeats=200)[
      'student'
    ]
    for name, (low, high) in found['interval'].items():
      self.assertBetween(found[name], low, high, name)
    difference = found['difference']['auc']
    self.assertLess(difference['interval'][1], 0)
    self.assertBetween(difference['mean'], *difference['interval'])
    self.assertContainsSubset({'recovered_auc', 'mrr', 'spearman'}, found['interval'])

  def test_single_texts_have_no_measure_by_query(self):
    found = comparison.compare(self.targets, None, self.logits, _SCHEMA, num_repeats=10)['teacher']
    self.assertNotIn('mrr', found)
    self.assertIn('auc', found['interval'])

  def test_more_classes(self):
    labels = np.arange(60) % 3
    logits = {'one': np.eye(3)[labels], 'other': np.random.default_rng(0).normal(size=(60, 3))}
    found = comparison.compare(labels, None, logits, config.Schema(num_classes=3), reference='one', num_repeats=20)
    self.assertEqual(found['one']['accuracy'], 1)
    self.assertEqual(set(found['other']['difference']), {'accuracy', 'log_loss'})

  def test_classes_by_name(self):
    labels = np.array([0, 0, 1])
    schema = config.Schema(classes=('bad', 'so-so', 'good'))
    found = comparison.compare(labels, None, {'one': np.eye(3)[[0, 2, 1]]}, schema)['one']
    self.assertEqual((found['recall of bad'], found['recall of so-so']), (0.5, 1))
    self.assertNotIn('recall of good', found)  # No row has it.

  def test_calibrated_error_beside_the_raw_one(self):
    margins = metrics.margin(self.logits['teacher'])
    fitted = calibration.fit(margins, self.targets >= 0.75)
    found = comparison.compare(self.targets, None, self.logits, _SCHEMA, calibrations={'teacher': fitted})
    self.assertLess(found['teacher']['ece_calibrated'], found['teacher']['ece'])
    self.assertNotIn('ece_calibrated', found['student'])


class TableTest(absltest.TestCase):
  def test_a_row_a_measure_and_a_column_a_model(self):
    result = {
      'bert': {'auc': 0.9, 'rows_per_sec': 1234.4, 'kind': 'teacher', 'interval': {'auc': [0.8, 1]}},
      'dnn': {'auc': 0.85, 'difference': {'auc': {'mean': -0.05, 'interval': [-0.1, 0.01]}}},
    }
    self.assertEqual(
      comparison.table(result, 'bert'),
      (
        '|  | bert | dnn |\n'
        '| --- | ---: | ---: |\n'
        '| auc | 0.9000 [0.8000, 1.0000] | 0.8500 |\n'
        '| rows_per_sec | 1,234 |  |\n'
        '| kind | teacher |  |\n'
        '| auc − bert |  | -0.0500 [-0.1000, +0.0100] |\n'
      ),
    )


if __name__ == '__main__':
  absltest.main()
