"""Measures by query against scikit-learn's, query by query, and against closed forms."""

from absl.testing import absltest
import numpy as np
from sklearn import metrics as sklearn_metrics

from b2d.measures import ranking


class ByQueryTest(absltest.TestCase):
  def test_agrees_with_scikit_learn_ties_included(self):
    rng = np.random.default_rng(0)
    queries = rng.permutation(np.arange(600) % 40)
    targets = rng.integers(0, 5, 600) / 4
    margins = (targets + rng.normal(size=600)).round(1)
    found = ranking.by_query(queries, targets, margins, relevant_target=0.75, k=5)
    for query in range(40):
      rows = queries == query
      positive = targets[rows] >= 0.75
      self.assertAlmostEqual(found['auc_by_query'][query], sklearn_metrics.roc_auc_score(positive, margins[rows]))
      self.assertAlmostEqual(found['ndcg@5'][query], sklearn_metrics.ndcg_score([targets[rows]], [margins[rows]], k=5))

  def test_reciprocal_rank(self):
    queries = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    targets = np.array([0, 1, 1, 1, 0, 1, 0, 0])
    margins = np.array([9.0, 2.0, 1.0, 5.0, 4.0, 0.0, 0.0, 0.0])
    found = ranking.by_query(queries, targets, margins)
    np.testing.assert_allclose(found['mrr'], [1 / 2, 1, 1 / 2])  # One of three ties: place 2.

  def test_queries_that_cannot_be_ranked_wrongly_do_not_count(self):
    queries = np.array([0, 0, 1, 2, 2])
    targets = np.array([1, 1, 0, 0.2, 0.4])
    found = ranking.by_query(queries, targets, np.arange(5.0))
    np.testing.assert_array_equal(found['auc_by_query'], [np.nan] * 3)
    np.testing.assert_array_equal(found['mrr'], [np.nan] * 3)
    np.testing.assert_array_equal(found['ndcg@10'], [np.nan, np.nan, 1.0])

  def test_order_of_the_file_does_not_matter_for_equal_scores(self):
    queries = np.zeros(4, np.int64)
    targets = np.array([1.0, 0, 0, 0])
    for order in (targets, targets[::-1]):
      found = ranking.by_query(queries, order, np.zeros(4))
      self.assertEqual(found['auc_by_query'][0], 0.5)
      self.assertAlmostEqual(found['mrr'][0], 1 / 2.5)


if __name__ == '__main__':
  absltest.main()
