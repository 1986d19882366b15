"""Weighted measures against scikit-learn and scipy on repeated rows; intervals by closed forms."""

from absl.testing import absltest
import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics

from b2d.measures import bootstrap


class ReplicatesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    self.queries = np.arange(300) % 60
    self.targets = rng.integers(0, 4, 300) / 3
    self.margins = (self.targets + rng.normal(size=300)).round(1)

  def _rows_of_first_repeat(self, seed):
    drawn = np.random.default_rng(seed).integers(0, 60, 60)
    return np.concatenate([np.flatnonzero(self.queries == query) for query in drawn])

  def test_a_repeat_is_the_measure_on_the_drawn_queries(self):
    rows = self._rows_of_first_repeat(seed=7)
    replicates = bootstrap.Replicates(self.queries, num_repeats=1, seed=7)
    positive = self.targets > 0.5
    self.assertAlmostEqual(
      replicates.auc(self.margins, positive)[0], sklearn_metrics.roc_auc_score(positive[rows], self.margins[rows])
    )
    self.assertAlmostEqual(
      replicates.spearman(self.margins, self.targets)[0],
      stats.spearmanr(self.margins[rows], self.targets[rows]).statistic,
    )
    self.assertAlmostEqual(replicates.row_mean(self.margins)[0], self.margins[rows].mean())

  def test_queries_without_the_measure_are_left_out(self):
    values = np.where(np.arange(60) % 2, 3.0, np.nan)
    replicates = bootstrap.Replicates(self.queries, num_repeats=5)
    np.testing.assert_allclose(replicates.query_mean(values), 3.0)

  def test_interval_of_a_mean_is_the_normal_one(self):
    values = np.random.default_rng(1).normal(size=2000)
    replicates = bootstrap.Replicates(np.arange(2000), num_repeats=2000)
    low, high = bootstrap.interval(replicates.row_mean(values))
    error = 1.96 * values.std() / np.sqrt(2000)
    self.assertAlmostEqual(low, values.mean() - error, delta=0.1 * error)
    self.assertAlmostEqual(high, values.mean() + error, delta=0.1 * error)

  def test_paired_difference_is_narrower_than_either(self):
    replicates = bootstrap.Replicates(self.queries, num_repeats=200)
    other = self.margins + np.random.default_rng(2).normal(size=300) * 0.01
    one, two = (replicates.spearman(m, self.targets) for m in (self.margins, other))
    self.assertLess(np.std(one - two), 0.2 * np.std(one))


if __name__ == '__main__':
  absltest.main()
