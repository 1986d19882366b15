"""The quickstart's commands fit the binaries' flags; its table comes from the evaluation."""

import json
import os
import shlex

from absl.testing import absltest

from b2d import config
from b2d import quickstart
from b2d import runs
from flags import dataclass_flags

_CONFIGS = {
  'b2d.finetune': config.Finetune,
  'b2d.label': config.Label,
  'b2d.distill': config.Distill,
  'export': config.Export,
  'b2d.evaluate': config.Evaluate,
}
_SHOP = {split: f'shop/{split}.tsv' for split in ('train', 'valid', 'test', 'unlabeled')}


def _parse(module, *step_flags):
  parse = dataclass_flags.define(_CONFIGS[module])
  parse.flag_values([module, *step_flags])
  return parse()


class StepsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    steps = quickstart.steps(_SHOP, 'runs/q')
    self.names = [arguments[0] for arguments in steps]
    self.steps = [_parse(*arguments) for arguments in steps]

  def test_order(self):
    self.assertEqual(self.names, ['b2d.finetune', 'b2d.label', 'b2d.distill', 'b2d.distill', 'export', 'b2d.evaluate'])

  def test_each_step_reads_what_another_wrote(self):
    finetune, label, distilled, baseline, export, evaluate = self.steps
    self.assertEqual(
      (finetune.train_files, label.input_files, evaluate.files),
      (('shop/train.tsv',), ('shop/unlabeled.tsv',), ('shop/test.tsv',)),
    )
    self.assertEqual(label.teacher_dir, finetune.output_dir)
    self.assertEqual(distilled.soft_labels, (label.output_dir,))
    self.assertEqual(export.model, distilled.output_dir)
    self.assertEqual(
      evaluate.models,
      tuple(
        f'{name}={step.output_dir}'
        for name, step in (('teacher', finetune), ('student', distilled), ('baseline', baseline))
      ),
    )
    self.assertLen({step.output_dir for step in self.steps}, 6)

  def test_comparison_is_fair(self):
    finetune, _, distilled, baseline, _, evaluate = self.steps
    self.assertEqual(baseline.student, distilled.student)
    self.assertEqual(baseline.train_files, finetune.train_files)
    for step in (finetune, distilled, baseline):
      self.assertEqual(step.valid_files, ('shop/valid.tsv',))  # The test split is the evaluation's.
      self.assertEqual(step.schema, evaluate.schema)


class RunStepTest(absltest.TestCase):
  def test_failure_is_named(self):
    with self.assertRaisesRegex(ValueError, 'python -m b2d.nothing ended with exit code 1; mend'):
      quickstart.run_step(['b2d.nothing', '--flag=1'])


class TableTest(absltest.TestCase):
  def test_rows(self):
    folder = self.create_tempdir().full_path
    runs.write_metrics(
      folder,
      {
        'models': {
          'baseline': {'auc': 0.71, 'accuracy': 0.6, 'rows_per_sec': 1e5},
          'student': {'auc': 0.88, 'accuracy': 0.78, 'rows_per_sec': 1e5},
          'teacher': {'auc': 0.9, 'accuracy': 0.8, 'rows_per_sec': 250.0},
        }
      },
    )
    self.assertEqual(
      quickstart.table(folder).splitlines()[2:],
      [
        '| teacher (BERT) | 0.900 | 80.0% | 100.0% | 4,000 |',
        '| student, distilled | 0.880 | 78.0% | 97.5% | 10 |',
        '| student, hard labels alone | 0.710 | 60.0% | 75.0% | 10 |',
      ],
    )

  def test_unfinished_evaluation(self):
    with self.assertRaisesRegex(ValueError, os.path.join('nowhere', 'metrics.json')):
      quickstart.table('nowhere')


class NextCommandsTest(absltest.TestCase):
  def test_texts_with_quotes_can_be_pasted(self):
    shown = quickstart.next_commands('runs/q', "chef's knife", ['8" knife, $5'])
    *_, curl, query = map(shlex.split, shown.splitlines())
    self.assertEqual(json.loads(curl[2]), {'instances': [{'query': "chef's knife", 'title': '8" knife, $5'}]})
    self.assertEqual(query[1:], ['-m', 'serving.query', "--query=chef's knife", '--titles=8" knife, $5'])
    self.assertIn(' -m serving.server --model_base_path=runs/q/export\n', shown)


if __name__ == '__main__':
  absltest.main()
