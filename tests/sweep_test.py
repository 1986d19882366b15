"""b2d.sweep: real runs of a tiny student, a sweep that grows, and the table of given results."""

import os
from unittest import mock

from absl.testing import absltest
import numpy as np
from tensorboard.plugins.hparams import plugin_data_pb2
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d import sweep
from b2d.learning import distillation
from b2d.learning import sweeping
from b2d.learning import training
from tests import command_line
from tests import soft_label_folders


def _session(folder):
  """What TensorBoard's HParams reads of a session: its settings, and the names of its measures."""
  settings, measures = {}, set()
  for path in tf.io.gfile.glob(os.path.join(folder, '*')):
    for event in tf.compat.v1.train.summary_iterator(path):
      for value in event.summary.value:
        if value.metadata.plugin_data.plugin_name == 'hparams':
          content = plugin_data_pb2.HParamsPluginData.FromString(value.metadata.plugin_data.content)
          settings = dict(content.session_start_info.hparams)
        else:
          measures.add(value.tag)
  return settings, measures


class SweepTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = os.path.join(self.folder, 'sweep')
    self.valid = os.path.join(self.folder, 'valid.tsv')
    with open(self.valid, 'w', encoding='utf-8') as file:
      file.write('text\tlabel\n' + ''.join(f'text {row}\t{row % 2}\n' for row in range(12)))
    self.labels = soft_label_folders.write(os.path.join(self.folder, 'labels'), np.arange(32), 1)

  def _config(self, **changes):
    return config.Sweep(
      **{
        'soft_labels': (self.labels,),
        'valid_files': (self.valid,),
        'output_dir': self.output,
        'schema': config.Schema(label_column='label'),
      }
      | changes
    )

  def test_runs_are_made_once_and_a_sweep_may_grow(self):
    values = {
      'soft_labels_sets': [f'one={self.labels}'],
      'temperatures': ['2'],
      'rules': ['hinton'],
      'seeds': ['1'],
      'valid_files': [self.valid],
      'label_column': 'label',
      'output_dir': self.output,
      'num_buckets': 64,
      'embedding_dim': 4,
      'hidden_layers': ['4'],
      'train_batch_size': 16,
      'num_train_epochs': 1.0,
    }
    with mock.patch.object(training, 'fit', wraps=training.fit) as fit:
      for seeds in (['1'], ['1', '2'], ['1', '2']):
        said = command_line.run(config.Sweep, sweep.show, **values | {'seeds': seeds})
      self.assertEqual(fit.call_count, 2)
    with open(os.path.join(self.output, 'table.md'), encoding='utf-8') as file:
      self.assertEqual(said, file.read())
    result = runs.read_json(os.path.join(self.output, 'metrics.json'))
    names = ['one-hinton-T2-seed1', 'one-hinton-T2-seed2']
    self.assertEqual(list(result['runs']), names)
    self.assertEqual([each['seeds'] for each in result['combinations']], [2])
    for name in names:
      self.assertEqual(runs.read_json(os.path.join(self.output, name, 'metrics.json')), result['runs'][name])
    self.assertEqual(runs.load_config(self.output, config.Sweep).seeds, (1, 2))
    settings, measures = _session(os.path.join(self.output, 'events', names[1]))
    self.assertEqual(
      (settings['temperature'].number_value, settings['rule'].string_value, settings['seed'].number_value),
      (2, 'hinton', 2),
    )
    self.assertEqual(measures, {'accuracy', 'auc', 'log_loss', 'ece', 'ece_calibrated'})

  def test_over_any_setting(self):
    def given(run):
      return {'auc': run.training.train_batch_size + run.student.hidden_layers[0], 'step': 1}

    with mock.patch.object(distillation, 'distill', given):
      sweep = self._config(over=('train_batch_size=128,256', 'hidden_layers=64,8:4'), seeds=(1,))
      result = sweeping.sweep(sweep)
    name = 'soft_labels-paper-T1-train_batch_size=256-hidden_layers=8:4-seed1'
    self.assertLen(result['runs'], 4)
    self.assertEqual(result['runs'][name]['auc'], 264)
    self.assertEqual(sweep.runs()[name].student.hidden_layers, (8, 4))
    settings, _ = _session(os.path.join(self.output, 'events', name))
    self.assertEqual(settings['train_batch_size'].number_value, 256)
    self.assertEqual(settings['hidden_layers'].string_value, '8,4')

  def test_a_sweep_of_other_settings_is_refused(self):
    runs.start(self._config())
    with self.assertRaisesRegex(ValueError, 'holds a run of another --hard_label_share; '):
      sweeping.sweep(self._config(hard_label_share=0.5))

  def test_a_wrong_path_leaves_no_folder(self):
    with self.assertRaisesRegex(ValueError, 'nowhere/manifest.json: no such file'):
      sweeping.sweep(self._config(soft_labels=('nowhere',)))
    self.assertFalse(os.path.exists(self.output))

  def _sweep(self, **changes):
    """The result of a sweep whose runs have AUC 0.1 · T + 0.01 · seed, and log loss as much."""

    def given(run):
      value = 0.1 * run.temperature + 0.01 * run.training.seed
      return {'auc': value, 'log_loss': value, 'step': 7}

    with mock.patch.object(distillation, 'distill', given):
      return sweeping.sweep(self._config(temperatures=(1.0, 2.0), rules=('paper',), seeds=(1, 3), **changes))

  def test_table_of_mean_and_spread_the_best_first(self):
    result = self._sweep()
    self.assertEqual(
      [each['name'] for each in result['combinations']], ['soft_labels-paper-T2', 'soft_labels-paper-T1']
    )
    self.assertAlmostEqual(result['combinations'][0]['auc']['mean'], 0.22)
    self.assertAlmostEqual(result['combinations'][0]['auc']['std'], 0.01 * 2**0.5)
    self.assertEqual(
      sweeping.table(result['combinations']),
      (
        '| run | seeds | auc | log_loss |\n| --- | ---: | ---: | ---: |\n'
        '| soft_labels-paper-T2 | 2 | 0.2200 ± 0.0141 | 0.2200 ± 0.0141 |\n'
        '| soft_labels-paper-T1 | 2 | 0.1200 ± 0.0141 | 0.1200 ± 0.0141 |\n'
      ),
    )

  def test_the_lowest_log_loss_first(self):
    result = self._sweep(training=config.Training(best_metric='log_loss'))
    self.assertEqual(result['combinations'][0]['name'], 'soft_labels-paper-T1')


if __name__ == '__main__':
  absltest.main()
