"""b2d.growth: real runs of a tiny student that grow, and the fit of a given curve."""

import os
from unittest import mock

from absl.testing import absltest
import numpy as np

from b2d import config
from b2d import growth
from b2d import runs
from b2d.learning import growing
from b2d.learning import training
from tests import command_line
from tests import soft_label_folders


class GrowthTest(absltest.TestCase):
  def test_runs_are_made_once_and_the_curve_may_grow(self):
    folder = self.create_tempdir().full_path
    output, valid = os.path.join(folder, 'growth'), os.path.join(folder, 'valid.tsv')
    with open(valid, 'w', encoding='utf-8') as file:
      file.write('text\tlabel\n' + ''.join(f'text {row}\t{row % 2}\n' for row in range(12)))
    values = {
      'soft_labels': [soft_label_folders.write(os.path.join(folder, 'labels'), np.arange(32), 1)],
      'valid_files': [valid],
      'label_column': 'label',
      'output_dir': output,
      'num_buckets': 64,
      'embedding_dim': 4,
      'hidden_layers': ['4'],
      'train_batch_size': 16,
      'num_train_epochs': 1.0,
      'bootstrap': 20,
    }
    with mock.patch.object(training, 'fit', wraps=training.fit) as fit:
      for sizes in (['8', '16'], ['8', '16', '32'], ['8', '16', '32']):
        said = command_line.run(config.Growth, growth.show, **values, sizes=sizes)
      self.assertEqual(fit.call_count, 3)
    result = runs.read_json(os.path.join(output, 'metrics.json'))
    self.assertEqual(list(result['runs']), ['rows8-seed1', 'rows16-seed1', 'rows32-seed1'])
    self.assertEqual([point['rows'] for point in result['curve']], [8, 16, 32])
    self.assertEqual(result['curve'][0]['mean'], result['runs']['rows8-seed1']['auc'])
    self.assertIn('wice the rows', said)
    with open(os.path.join(output, 'growth.png'), 'rb') as file:
      self.assertEqual(file.read(4), b'\x89PNG')
    with self.assertRaisesRegex(ValueError, '--sizes=64: expected at most the 32 soft labels'):
      command_line.run(config.Growth, growth.show, **values, sizes=['8', '64'])

  def test_all_rows_and_four_halvings_by_default(self):
    planned = config.Growth(
      soft_labels=('a',), valid_files=('b',), schema=config.Schema(label_column='l'), seeds=(1, 2)
    )
    self.assertEqual(list(planned.runs(1000))[:3], ['rows62-seed1', 'rows62-seed2', 'rows125-seed1'])
    self.assertEqual(planned.runs(1000)['rows1000-seed2'].max_rows, 1000)

  def test_doubling_by_a_power_law(self):
    sizes = [1000, 2000, 4000]
    errors = 0.2 * np.array([1, 0.8, 0.64])  # A fifth less with twice the rows.
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.01, 200)  # The luck of the queries is the same at each size.
    found = growing.doubling(sizes, 1 - errors, 1 - errors[:, np.newaxis] + common, 'auc')
    self.assertAlmostEqual(found['gain'], 0.128 * 0.2)
    self.assertBetween(found['interval'][0], 0.015, 0.0256)
    self.assertIn('twice the rows (8,000) should change auc by +0.0256 [', found['advice'])
    noisy = 1 - errors[:, np.newaxis] + rng.normal(0, 0.1, [3, 200])
    self.assertIn('cannot be told from chance', growing.doubling(sizes, 1 - errors, noisy, 'auc')['advice'])
    losses = growing.doubling(sizes, errors, errors[:, np.newaxis] + common, 'log_loss')
    self.assertAlmostEqual(losses['gain'], -0.128 * 0.2)
    self.assertIn('should change log_loss by -0.0256', losses['advice'])


if __name__ == '__main__':
  absltest.main()
