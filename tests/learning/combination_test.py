"""Combinations of teachers against closed forms and scikit-learn."""

from absl.testing import absltest
import numpy as np
from scipy import special
from sklearn import linear_model

from b2d.learning import combination


class MeanTest(absltest.TestCase):
  def test_mean_logits(self):
    logits = np.float32([[[0, 1], [2, -3]]])
    np.testing.assert_allclose(combination.mean_logits(logits), [[1, -1]])

  def test_mean_probabilities(self):
    logits = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    expected = special.softmax(logits, axis=2).mean(axis=1)
    np.testing.assert_allclose(np.exp(combination.mean_probabilities(logits)), expected, rtol=1e-5)

  def test_mean_probabilities_of_huge_logits_is_finite(self):
    logits = np.float32([[[0, 1000], [1000, 0]], [[0, 1000], [0, 1000]]])
    combined = combination.mean_probabilities(logits)
    np.testing.assert_allclose(special.softmax(combined[0]), [0.5, 0.5])
    np.testing.assert_allclose(combined[1], [-1000, 0])


class WeightsTest(absltest.TestCase):
  def _teachers(self, num_classes, noise=(0.5, 3.0)):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, 600)
    truth = 2 * np.eye(num_classes)[labels]
    logits = [truth + rng.normal(scale=scale, size=truth.shape) for scale in noise]
    return np.stack(logits, axis=1).astype(np.float32), labels.astype(np.float32)

  def test_two_classes_are_the_regression_over_margins(self):
    logits, labels = self._teachers(2)
    weights = combination.fit_weights(logits, labels)
    margins = (logits[:, :, 1] - logits[:, :, 0]).astype(np.float64)
    expected = linear_model.LogisticRegression().fit(margins, labels)
    combined = combination.weighted(logits, weights)
    np.testing.assert_array_equal(combined[:, 0], 0)
    np.testing.assert_allclose(combined[:, 1], expected.decision_function(margins), atol=0.02)
    self.assertGreater(weights.coefficients[0, 0], 3 * weights.coefficients[1, 0])

  def test_graded_targets_count_in_part(self):
    logits, _ = self._teachers(2)
    margins = logits[:, :, 1] - logits[:, :, 0]
    targets = special.expit(0.5 * margins[:, 0] + 0.25 * margins[:, 1] - 1)
    weights = combination.fit_weights(logits, targets)
    np.testing.assert_allclose(weights.coefficients[:, 0], [0.5, 0.25], atol=0.02)
    np.testing.assert_allclose(weights.intercepts, [-1], atol=0.03)

  def test_more_classes(self):
    logits, labels = self._teachers(3)
    combined = combination.weighted(logits, combination.fit_weights(logits, labels))
    accuracies = [np.mean(each.argmax(1) == labels) for each in (combined, logits[:, 0], logits[:, 1])]
    self.assertGreaterEqual(accuracies[0], max(accuracies[1:]))

  def test_cross_fitted_rows_do_not_see_their_label(self):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(60, 20, 2)).astype(np.float32)  # Twenty teachers that know nothing.
    labels = rng.integers(0, 2, 60).astype(np.float32)
    inside = combination.weighted(logits, combination.fit_weights(logits, labels))
    outside = combination.cross_fitted(logits, labels)
    accuracy = [np.mean((each[:, 1] > 0) == labels) for each in (inside, outside)]
    self.assertGreater(accuracy[0], 0.7)
    self.assertLess(accuracy[1], 0.65)

  def test_missing_class_is_an_error(self):
    logits, labels = self._teachers(3)
    with self.assertRaisesRegex(ValueError, r'all 3 classes, found \[0, 1\]'):
      combination.fit_weights(logits[labels < 2], labels[labels < 2])


if __name__ == '__main__':
  absltest.main()
