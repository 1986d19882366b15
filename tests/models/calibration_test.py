"""Calibration against rows drawn from a known scale."""

import os

from absl.testing import absltest
import numpy as np
from scipy import special

from b2d import config
from b2d.measures import metrics
from b2d.models import calibration


class CalibrationTest(absltest.TestCase):
  def test_recovers_a_known_scale_and_offset(self):
    margins = np.linspace(-4, 4, 20001)
    targets = special.expit(0.5 * margins - 0.3)
    found = calibration.fit(margins, targets)
    np.testing.assert_allclose(found, [0.5, -0.3], atol=2e-3)

  def test_lowers_the_calibration_error_of_an_overconfident_model(self):
    rng = np.random.default_rng(0)
    margins = rng.normal(scale=3, size=4000)
    positive = rng.random(4000) < special.expit(margins / 3)
    fitted = calibration.fit(margins[:2000], positive[:2000])
    before, after = (
      metrics.expected_calibration_error(calibration.apply(scale, margins[2000:]), positive[2000:])
      for scale in (calibration.Calibration(), fitted)
    )
    self.assertGreater(before, 0.1)
    self.assertLess(after, 0.04)

  def test_is_cross_fitted_by_group(self):
    """What a group's own labels say must not reach its probabilities."""
    margins, groups = np.zeros(60), np.arange(60) // 6
    target = groups == 3
    probabilities = calibration.cross_fitted(margins, target, groups)
    np.testing.assert_allclose(probabilities[groups == 3], 1 / (48 + 2), atol=2e-3)  # Platt's target of no positive.
    self.assertGreater(probabilities[groups == 4].max(), 0.1)

  def test_few_groups_are_parted(self):
    found = calibration.cross_fitted(np.array([-1.0, 1.0, -1.0]), np.array([False, True, False]), np.zeros(3))
    self.assertTrue(np.all((found > 0) & (found < 1)))

  def test_is_kept_only_where_it_helps(self):
    rng = np.random.default_rng(0)
    margins = rng.normal(scale=3, size=2000)
    rows = np.arange(2000)
    fitted, probabilities = calibration.fit_if_better(margins, rng.random(2000) < special.expit(margins / 3), rows)
    self.assertBetween(fitted.scale, 0.25, 0.42)
    self.assertFalse(np.allclose(probabilities, special.expit(margins)))
    np.testing.assert_allclose(probabilities, calibration.apply(fitted, margins), atol=0.05)
    # A model that is right in its probabilities, and too few rows to better them.
    margins = np.tile([-2.0, 2.0], 10)
    positive = np.tile([False, True], 10) ^ (np.arange(20) % 10 == 0)
    fitted, probabilities = calibration.fit_if_better(margins, positive, rows[:20])
    self.assertEqual(fitted, calibration.Calibration())
    np.testing.assert_array_equal(probabilities, special.expit(margins))
    # One that is worse than chance: no calibration turns its ranking round.
    self.assertEqual(calibration.fit_if_better(margins, margins < 0, rows[:20])[0], calibration.Calibration())

  def test_of_grades_an_even_chance_is_an_expected_grade_of_relevant_from(self):
    grades = config.Schema(label_column='grade', label_range=(1.0, 3.0), relevant_from=2.5)
    self.assertAlmostEqual(calibration.apply(calibration.unfitted(grades), special.logit(0.75)), 0.5)
    lowest = config.Schema(label_column='grade', label_range=(1.0, 3.0), relevant_from=1.0)
    self.assertTrue(np.isfinite(calibration.unfitted(lowest).offset))
    self.assertEqual(calibration.unfitted(config.Schema(relevant_from=0.9)), calibration.Calibration())

  def test_separable_rows_stay_finite(self):
    found = calibration.fit(np.array([-1.0, 1.0]), np.array([False, True]))
    # Platt's targets of one row a class are 1/3 and 2/3: scale log 2, offset 0.
    np.testing.assert_allclose(found, [np.log(2), 0], atol=1e-4)

  def test_unequal_lengths_are_an_error(self):
    with self.assertRaisesRegex(ValueError, 'as many targets as margins'):
      calibration.fit(np.zeros(2), np.zeros(3))

  def test_diagram_is_a_png(self):
    path = os.path.join(self.create_tempdir(), 'reliability.png')
    calibration.write_diagram(path, {'model': np.array([0.1, 0.9])}, np.array([False, True]))
    with open(path, 'rb') as file:
      self.assertEqual(file.read(4), b'\x89PNG')


if __name__ == '__main__':
  absltest.main()
