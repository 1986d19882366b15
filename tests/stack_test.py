"""b2d.stack from flags to a folder of soft labels."""

import dataclasses
import os

from absl import app
from absl import flags
from absl.testing import absltest
import numpy as np

from b2d import config
from b2d import runs
from b2d import stack
from b2d.data import soft_labels
from tests import command_line
from tests import soft_label_folders


class StackTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    rng = np.random.default_rng(0)
    self.soft_labels = [self._path('a'), self._path('b')]
    soft_label_folders.write(self._path('a'), rng.permutation(30), 1, labels=np.arange(30) % 2)
    soft_label_folders.write(self._path('b'), rng.permutation(30)[:25], 2)
    self.valid = [self._path('valid_a'), self._path('valid_b')]
    for teacher, folder in enumerate(self.valid, 1):
      soft_label_folders.write(folder, np.arange(20), teacher, labels=np.arange(20) % 2)

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _run(self, **changes):
    values = {
      'soft_labels': self.soft_labels,
      'valid_soft_labels': [],
      'combination': 'logits',
      'output_dir': self._path('stack'),
    } | changes
    command_line.run(config.Stack, stack.show, **values)
    return runs.read_json(os.path.join(values['output_dir'], 'metrics.json'))

  def test_one_soft_label_a_row(self):
    result = self._run()
    self.assertEqual(result['rows'], 25)
    self.assertEqual(list(result['left_out'].values()), [5, 0])
    manifest = soft_labels.read_manifest(self._path('stack'))
    self.assertEqual(manifest.teachers, ('logits of teacher1, teacher2',))
    batch = next(soft_labels.read([self._path('stack')]))
    numbers = np.array([int(each[2:]) for each in batch['id']])
    np.testing.assert_allclose(batch['logits'], soft_label_folders.logits_of(numbers, 1.5))
    np.testing.assert_array_equal(batch['label'], numbers % 2)
    self.assertEqual(self._run(), result)  # Finished before.

  def test_relevance_is_what_the_labels_were_made_with(self):
    grades = np.arange(20) % 3 / 2
    folders = [soft_label_folders.write(self._path(f'graded_{i}'), np.arange(20), i, labels=grades) for i in range(2)]
    for folder in folders:
      graded = dataclasses.replace(
        soft_labels.read_manifest(folder),
        label_range=(1.0, 3.0),
        grades=('no:1', 'so-so:2', 'yes:3'),
        relevant_from=3.0,
      )
      soft_labels.write_manifest(folder, graded)
    result = self._run(soft_labels=folders, valid_soft_labels=folders)
    self.assertAlmostEqual(result['stack']['accuracy'], np.mean(grades < 1))  # All margins are 0.1: below the cut.
    self.assertEqual(soft_labels.read_manifest(self._path('stack')).schema.relevant_target, 0.75)

  def test_fitted_weights_and_measures_of_every_member(self):
    result = self._run(combination='weights', valid_soft_labels=self.valid)
    self.assertEqual(result['valid_rows'], 20)
    self.assertLen(result['members'], 2)
    self.assertIn('auc', result['stack'])
    self.assertLen(result['weights']['coefficients'], 2)

  def test_mean_of_probabilities(self):
    self._run(combination='probabilities')
    batch = next(soft_labels.read([self._path('stack')]))
    np.testing.assert_allclose(batch['logits'][:, 0, 1] - batch['logits'][:, 0, 0], 0.1, atol=1e-4)

  def test_bad_input(self):
    other = self._path('other')
    soft_label_folders.write(other, np.arange(50, 60), 3)
    for changes, message in (
      (
        {'soft_labels': [self.soft_labels[0], other], 'output_dir': self._path('x')},
        'expected rows of the same ids, found none',
      ),
      (
        {'combination': 'weights', 'valid_soft_labels': [other, other], 'output_dir': self._path('y')},
        'expected labelled rows, found none',
      ),
      (
        {'combination': 'weights', 'valid_soft_labels': self.valid[::-1], 'output_dir': self._path('z')},
        'expected the teachers .* in the order of --soft_labels, found',
      ),
      ({'soft_labels': [self.soft_labels[0], self._path('none')]}, 'none/manifest.json: no such file'),
    ):
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        self._run(**changes)
    self.assertFalse(os.path.exists(os.path.join(self._path('x'), 'manifest.json')))

  def test_contradicting_flags(self):
    for changes, message in (
      ({'soft_labels': self.soft_labels[:1]}, 'at least two folders'),
      ({'combination': 'weights'}, 'needs --valid_soft_labels'),
      ({'valid_soft_labels': self.valid[:1]}, 'expected 2 folders'),
    ):
      with self.subTest(message), self.assertRaisesRegex(app.UsageError, message):
        self._run(**changes)


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  absltest.main()
