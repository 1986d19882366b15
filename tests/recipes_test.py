"""The recipes that are shipped fit the binaries' flags; what is wrong with one's own is said."""

import dataclasses
import os
import pathlib
import re
import shlex
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized

from b2d import config
from b2d import recipes
from flags import dataclass_flags
from flags import recipe_folders

_CONFIGS = {
  'b2d.finetune': config.Finetune,
  'b2d.pair_up': config.PairUp,
  'b2d.label': config.Label,
  'b2d.distill': config.Distill,
  'export': config.Export,
  'b2d.evaluate': config.Evaluate,
}
_SHIPPED = pathlib.Path(recipe_folders.folder('any')).parent
_NAMES = sorted(path.name for path in _SHIPPED.iterdir())
_DISTILLED = [name for name in _NAMES if name != 'zh_reviews']  # That one learns from hard labels alone.


def _parse(module, *step_flags):
  parse = dataclass_flags.Parser(_CONFIGS[module])
  parse.flag_values([module, *step_flags])
  return parse()


def _steps(name):
  """The configuration of every step by the name of its folder, in order."""
  parsed = [_parse(*arguments) for arguments in recipes.steps(recipe_folders.folder(name), '/data', 'runs/r')]
  return {step.output_dir.removeprefix('runs/r/'): step for step in parsed}


class ShippedTest(parameterized.TestCase):
  @parameterized.parameters(_DISTILLED)
  def test_each_step_reads_what_another_wrote(self, name):
    steps = _steps(name)
    self.assertContainsSubset(['teacher', 'soft_labels', 'student', 'baseline', 'export', 'evaluation'], steps)
    self.assertEqual(steps['soft_labels'].teacher_dir, 'runs/r/teacher')
    self.assertIn('runs/r/soft_labels', steps['student'].soft_labels)
    self.assertEqual(steps['export'].model, 'runs/r/student')
    self.assertEqual(
      steps['evaluation'].models, tuple(f'{model}=runs/r/{model}' for model in ('teacher', 'student', 'baseline'))
    )

  @parameterized.parameters(_DISTILLED)
  def test_comparison_is_fair(self, name):
    steps = _steps(name)
    self.assertEqual(steps['baseline'].student, steps['student'].student)
    self.assertEqual(steps['baseline'].train_files, steps['teacher'].train_files)
    for step in ('teacher', 'student', 'baseline'):
      self.assertEqual(steps[step].schema, steps['evaluation'].schema)

  def test_hard_labels_alone(self):
    steps = _steps('zh_reviews')
    self.assertEqual(steps['export'].model, steps['baseline'].output_dir)
    self.assertEqual(steps['evaluation'].models, ('baseline=runs/r/baseline',))
    self.assertEqual(steps['baseline'].schema, steps['evaluation'].schema)
    self.assertEqual(steps['baseline'].student.tokenizer, 'words')

  def test_test_split_of_the_quickstart_is_the_evaluations(self):
    steps = _steps('quickstart')
    self.assertEqual(steps['evaluation'].files, ('/data/test.tsv',))
    for step in ('teacher', 'student', 'baseline'):
      self.assertEqual(steps[step].valid_files, ('/data/valid.tsv',))

  def test_like_another_but_for_what_it_says(self):
    steps, base = _steps('crowdflower'), _steps('homedepot')
    self.assertEqual(list(steps), list(base))
    self.assertEqual(steps['teacher'].train_files, ('/data/crowdflower/train.tsv.gz',))
    self.assertEqual(steps['teacher'].training, base['teacher'].training)
    self.assertEqual(steps['teacher'].schema.label_column, 'median_relevance')
    self.assertEqual((steps['student'].training.num_train_epochs, base['student'].training.num_train_epochs), (1, 4))
    self.assertEqual(steps['student'].student, base['student'].student)

  def test_a_better_teacher_labels_more(self):
    steps, quick = _steps('homedepot_base'), _steps('homedepot')
    self.assertEqual(steps['pairs'].num_pseudo_queries, 2 * quick['pairs'].num_pseudo_queries)
    larger = dataclasses.replace(quick['student'].student, num_buckets=1 << 20)
    self.assertEqual((steps['student'].student, steps['baseline'].student), (larger, larger))

  def test_a_better_teacher_of_single_texts(self):
    steps = _steps('sst2_base')
    self.assertEqual((steps['soft_labels'].frequent_ngrams, steps['phrases'].phrases_per_row), (0, 4))
    self.assertEqual(steps['student'].student, steps['baseline'].student)
    self.assertEqual(steps['student'].student.convolution_filters, 64)

  def test_every_flagfile_is_of_a_step(self):
    used = {
      flag.removeprefix('--flagfile=')
      for name in _NAMES
      for arguments in recipes.steps(recipe_folders.folder(name), '/data', 'runs/r')
      for flag in arguments
      if flag.startswith('--flagfile=')
    }
    spare = {str(path) for path in _SHIPPED.rglob('*.flags')} - used
    paper, strong = (str(_SHIPPED / 'homedepot' / f'{name}.flags') for name in ('paper', 'strong'))
    strong_text, assistant = (str(_SHIPPED / 'sst2_base' / f'{name}.flags') for name in ('strong', 'assistant'))
    self.assertEqual(spare, {paper, strong, strong_text, assistant})
    given = ('--text_columns=query,title', '--soft_labels=a')
    self.assertEqual(_parse('b2d.distill', *given, f'--flagfile={paper}').student.hidden_layers, (1024, 512, 128, 64))
    self.assertTrue(_parse('b2d.distill', *given, f'--flagfile={strong}').student.soft_match)
    given = ('--text_columns=text', '--soft_labels=a')
    self.assertEqual(_parse('b2d.distill', *given, f'--flagfile={strong_text}').student.embedding_dim, 64)
    flagfiles = (f'--flagfile={path}' for path in (_SHIPPED / 'sst2' / 'finetune.flags', assistant))
    taught = _parse('b2d.finetune', *given, *flagfiles)
    self.assertEqual((taught.training.best_metric, taught.training.train_batch_size), ('auc', 128))
    self.assertEqual((taught.rule, taught.temperature), ('hinton', 2.0))


class OwnTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().mkdir('mine').full_path

  def _write(self, text):
    pathlib.Path(self.folder, 'recipe.toml').write_text(text, encoding='utf-8')

  def test_flags_of_every_kind(self):
    self._write("[a]\nstep = 'export'\nmodel = '{run}/x'\nfiles = ['{data}/{recipe}', 'y']\nseed = 3\nfast = true\n")
    self.assertEqual(
      recipes.steps(recipe_folders.folder(self.folder), 'd', 'r'),
      [['export', '--output_dir=r/a', '--model=r/x', '--files=d/mine,y', '--seed=3', '--fast=True']],
    )

  @parameterized.parameters(
    ('[a', r'recipe\.toml: Expected'),
    ('[a]\nseed = 1\n', r'recipe\.toml: \[a\]: expected the binary, .* found seed'),
    ("[a]\nstep = 'b'\nflagfiles = ['c']\n", r'\[a\]: no flagfile .*c\.flags'),
    ("[a]\nstep = 'b'\nfile = '{dta}/x'\n", r'\[a\]: file: expected {data}, .*found {dta}/x'),
    ("[a]\nstep = 'b'\nfile = '{data'\n", r'\[a\]: file: expected {data}, '),
    ("step = 'b'\n", r"expected one table for each step, found the key 'step'"),
    ("like = 'mine'\n", r"expected one table for each step, found the key 'like'"),
    ("like = 'thine'\n", r'thine.recipe\.toml: no such recipe; beside it lie: mine$'),
  )
  def test_what_is_wrong_is_said(self, text, message):
    self._write(text)
    with self.assertRaisesRegex(ValueError, message):
      recipes.steps(self.folder, 'd', 'r')

  def test_unknown_name(self):
    known = re.escape(', '.join(_NAMES))
    with self.assertRaisesRegex(ValueError, f'recipes.sst3.recipe.toml: no such recipe; beside it lie: {known}$'):
      recipes.steps(recipe_folders.folder('sst3'), 'd', 'r')

  def test_command_can_be_pasted(self):
    arguments = ['b2d.label', '--input_files=a b/part-*.parquet', '--delimiters=,;"']
    self.assertEqual(shlex.split(recipes.command(arguments).replace('\\\n', '')), [recipes.python(), '-m', *arguments])
    self.assertTrue(os.path.exists(recipes.python()))

  def test_failed_step_is_named(self):
    killed = mock.Mock(returncode=-15)
    with (
      mock.patch.object(recipes.subprocess, 'run', return_value=killed),
      self.assertRaisesRegex(ValueError, 'python -m b2d.label was ended by signal 15; repeat: finished steps are kept'),
    ):
      recipes.run(['b2d.label'])
    with self.assertRaisesRegex(ValueError, 'python -m b2d.nothing ended with exit code 1; mend'):
      recipes.run(['b2d.nothing', '--flag=1'])


if __name__ == '__main__':
  absltest.main()
