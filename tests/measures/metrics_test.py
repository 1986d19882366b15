"""Measures against closed forms, scikit-learn and scipy."""

from absl.testing import absltest
import numpy as np
from scipy import special
from scipy import stats
from sklearn import metrics as sklearn_metrics

from b2d import config
from b2d.measures import metrics


def _two_class(margins):
  """Logits [n, 2] of these margins, with a constant that must not matter."""
  margins = np.asarray(margins, np.float32)
  return np.stack([np.full_like(margins, 3.0), margins + 3.0], axis=1)


class BinaryTest(absltest.TestCase):
  def test_agrees_with_scikit_learn(self):
    rng = np.random.default_rng(0)
    margins = rng.normal(size=500).round(1)
    labels = (margins + rng.normal(size=500) > 0).astype(np.float32)
    found = metrics.binary(labels, _two_class(margins))
    probabilities = special.expit(margins)
    self.assertAlmostEqual(found['auc'], sklearn_metrics.roc_auc_score(labels, margins))
    self.assertAlmostEqual(found['log_loss'], sklearn_metrics.log_loss(labels, probabilities), places=5)
    self.assertAlmostEqual(found['accuracy'], sklearn_metrics.accuracy_score(labels, probabilities >= 0.5))
    self.assertNotIn('spearman', found)

  def test_graded_targets_are_cut_at_the_relevant_grade(self):
    schema = config.Schema(label_column='grade', label_range=(1.0, 3.0), relevant_from=2.67)
    targets = np.float32([(grade - 1) / 2 for grade in (1.0, 2.33, 2.67, 3.0)])
    margins = special.logit(np.array([0.1, 0.9, 0.84, 0.99]))
    found = metrics.held_out(targets, _two_class(margins), schema)
    self.assertAlmostEqual(found['accuracy'], 0.75)
    self.assertAlmostEqual(found['auc'], 0.75)
    self.assertAlmostEqual(found['spearman'], stats.spearmanr(margins, targets).statistic)
    probabilities = special.expit(margins)
    cross_entropy = -targets * np.log(probabilities) - (1 - targets) * np.log(1 - probabilities)
    self.assertAlmostEqual(found['log_loss'], cross_entropy.mean(), places=5)

  def test_calibration_error_of_two_bins(self):
    probabilities = np.array([0.2, 0.2, 0.9, 0.9])
    targets = np.array([0, 1, 1, 1])
    self.assertAlmostEqual(metrics.expected_calibration_error(probabilities, targets), 0.5 * 0.3 + 0.5 * 0.1)
    self.assertEqual(metrics.expected_calibration_error(np.array([0.0, 1.0]), np.array([0, 1])), 0)

  def test_huge_margins_are_finite(self):
    found = metrics.binary(np.array([0, 1]), _two_class([1e4, -1e4]))
    self.assertAlmostEqual(found['log_loss'], 1e4, places=2)

  def test_one_sided_labels_are_an_error(self):
    with self.assertRaisesRegex(ValueError, '2 positive of 2'):
      metrics.binary(np.ones(2), _two_class([0, 1]))


class MultiClassTest(absltest.TestCase):
  def test_agrees_with_scikit_learn(self):
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, 3)).astype(np.float32)
    labels = rng.integers(0, 3, 200)
    found = metrics.multi_class(labels, logits)
    probabilities = special.softmax(logits.astype(np.float64), axis=1)
    self.assertAlmostEqual(found['accuracy'], sklearn_metrics.accuracy_score(labels, logits.argmax(1)))
    self.assertAlmostEqual(found['log_loss'], sklearn_metrics.log_loss(labels, probabilities))
    self.assertAlmostEqual(found['auc'], sklearn_metrics.roc_auc_score(labels, probabilities, multi_class='ovr'))

  def test_one_class_is_an_error(self):
    with self.assertRaisesRegex(ValueError, 'two classes or more'):
      metrics.multi_class(np.ones(3), np.zeros((3, 3)))


class HeldOutTest(absltest.TestCase):
  def test_unknown_labels_do_not_count(self):
    logits = _two_class([-1, 1, 5])
    schema = config.Schema(label_column='label')
    self.assertEqual(
      metrics.held_out(np.array([0, 1, np.nan]), logits, schema), metrics.binary(np.array([0, 1]), logits[:2])
    )

  def test_other_number_of_classes_is_an_error(self):
    with self.assertRaisesRegex(ValueError, r'expected \[n, 3\], found \[4, 2\]'):
      metrics.held_out(np.zeros(4), np.zeros((4, 2)), config.Schema(num_classes=3))


class AgreementTest(absltest.TestCase):
  def test_of_two_classes_as_far_as_labels_are_known(self):
    labels = np.array([1, 1, 0, 0, np.nan])
    logits = np.array([[0, 2], [0, -1], [0, -2], [0, -3], [0, 9]], np.float32)
    found = metrics.agreement(labels, logits, config.Schema())
    # Kappa: (0.75 - 0.5) / (1 - 0.5), as chance alone agrees on half of the rows.
    self.assertEqual(found, {'labelled_rows': 4, 'agreement': 0.75, 'kappa': 0.5, 'auc': 1.0})

  def test_of_grades_and_of_several_classes(self):
    graded = config.Schema(label_range=(1, 3), relevant_from=2.5)
    found = metrics.agreement(np.array([1, 0.5, 0.75]), np.float32([[0, 3], [0, 0], [0, -3]]), graded)
    self.assertEqual(found['agreement'], 2 / 3)
    found = metrics.agreement(np.array([0, 1, 2, 2]), np.eye(3)[[0, 1, 2, 1]], config.Schema(num_classes=3))
    self.assertEqual((found['agreement'], found['labelled_rows']), (0.75, 4))

  def test_of_named_grades_predictions_are_cut_between_two(self):
    graded = config.Schema(grades=('Irrelevant:1', 'Partial:2', 'Exact:3'))
    expected = np.array([0.1, 0.45, 0.55, 0.9])  # As targets; those of Partial lie on both sides of its own.
    logits = np.stack([np.zeros(4), np.log(expected / (1 - expected))], axis=1)
    found = metrics.agreement(np.array([0, 0.5, 0.5, 1]), logits, graded)
    self.assertEqual((found['agreement'], found['auc']), (1, 1))

  def test_without_labels_or_contrast(self):
    logits = np.zeros([2, 2], np.float32)
    self.assertEqual(metrics.agreement(np.full(2, np.nan), logits, config.Schema()), {'labelled_rows': 0})
    found = metrics.agreement(np.zeros(2), logits - [0, 1], config.Schema())
    self.assertEqual(found, {'labelled_rows': 2, 'agreement': 1.0})


if __name__ == '__main__':
  absltest.main()
