"""Run folders: their configuration, the flagfile that repeats them, one line for a user's slip."""

import dataclasses
import io
import os

from absl import app
from absl.testing import absltest
from absl.testing import parameterized
import tensorflow as tf

from b2d import config
from b2d import runs
from flags import dataclass_flags


def _read(path) -> str:
  with open(path, encoding='utf-8') as file:
    return file.read()


class AtomicPathTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, 'file')

  def test_replaces_at_the_end(self):
    runs.write_text(self.path, 'old')
    with runs.atomic_path(self.path) as temporary:
      runs.write_text(temporary, 'new')
      self.assertEqual(_read(self.path), 'old')
      self.assertEqual(os.path.dirname(temporary), self.folder)
    self.assertEqual(_read(self.path), 'new')
    self.assertEqual(os.listdir(self.folder), ['file'])

  def test_failure_leaves_the_old_file_alone(self):
    runs.write_text(self.path, 'old')
    with self.assertRaises(KeyboardInterrupt), runs.atomic_path(self.path) as temporary:
      with open(temporary, 'w', encoding='utf-8') as file:
        file.write('half')
      raise KeyboardInterrupt
    self.assertEqual((os.listdir(self.folder), _read(self.path)), (['file'], 'old'))

  def test_wrong_json(self):
    with self.assertRaisesRegex(ValueError, f"{self.path}: no such file; is '{self.folder}' a fin"):
      runs.read_json(self.path)
    runs.write_text(self.path, '{"a": ')
    with self.assertRaisesRegex(ValueError, f'{self.path}: not JSON'):
      runs.read_json(self.path)


class RunFolderTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.join(self.create_tempdir().full_path, 'run')
    self.config = config.Distill(
      soft_labels=('runs/a b', 'c-*'),
      output_dir=self.folder,
      temperature=2.5,
      schema=config.Schema(
        text_columns=('query', 'title'), label_column='grade', label_range=(1.0, 3.0), relevant_from=2.5
      ),
      student=config.Student(
        product=False, hidden_layers=(), ngram_orders=(1, 3), delimiters=',;:-/#"\'', strip_suffix=r'\Bs|\.'
      ),
    )

  def test_flagfile_repeats_the_run(self):
    runs.start(self.config, 'distill')
    parse = dataclass_flags.define(config.Distill)
    parse.flag_values(['binary', f'--flagfile={self.folder}/run.flags'])
    self.assertEqual(parse(), self.config)

  def test_flagfile_quotes_the_items_of_lists(self):
    files = ('a,b.tsv', 'say "c".tsv', '"d"', 'e f', "g'h")
    given = dataclasses.replace(self.config, soft_labels=files, valid_files=('',))
    runs.start(given, 'distill')
    parse = dataclass_flags.define(config.Distill)
    parse.flag_values(['binary', f'--flagfile={self.folder}/run.flags'])
    self.assertEqual(parse(), given)

  @parameterized.parameters('; ', ';\n#')
  def test_what_a_flagfile_cannot_repeat_is_refused(self, delimiters):
    given = dataclasses.replace(self.config, student=config.Student(delimiters=delimiters))
    with self.assertRaisesRegex(ValueError, '--delimiters=.*: expected one line without white space at its end'):
      runs.start(given, 'distill')
    self.assertFalse(os.path.exists(os.path.join(self.folder, 'config.json')))

  def test_configuration_is_kept(self):
    self.assertEqual(runs.start(self.config, 'distill'), self.folder)
    self.assertEqual(runs.load_config(self.folder, config.Distill, 'distill'), self.config)
    with self.assertRaisesRegex(ValueError, 'expected a run of b2d.finetune, found one of'):
      runs.load_config(self.folder, config.Finetune, 'finetune')

  def test_same_configuration_goes_on(self):
    runs.start(self.config, 'distill')
    before = {name: _read(os.path.join(self.folder, name)) for name in os.listdir(self.folder)}
    runs.start(self.config, 'distill')
    self.assertEqual({name: _read(os.path.join(self.folder, name)) for name in os.listdir(self.folder)}, before)
    self.assertCountEqual(before, ['config.json', 'run.flags'])

  def test_another_configuration_is_refused(self):
    runs.start(self.config, 'distill')
    student = dataclasses.replace(self.config.student, hash_seed=5)
    with self.assertRaisesRegex(ValueError, f'{self.folder}: holds a run of another --hash_seed, --temperature; '):
      runs.start(dataclasses.replace(self.config, temperature=1.0, student=student), 'distill')
    with self.assertRaisesRegex(ValueError, "holds a run of the step 'distill'"):
      runs.start(config.Label(teacher_dir='t', output_dir=self.folder), 'label')

  def test_number_of_workers_is_no_other_configuration(self):
    label = config.Label(teacher_dir='t', output_dir=self.folder, num_workers=1)
    runs.start(label, 'label')
    runs.start(dataclasses.replace(label, num_workers=4), 'label')
    with self.assertRaisesRegex(ValueError, 'another --teacher_dir'):
      runs.start(dataclasses.replace(label, teacher_dir='u'), 'label')

  def test_folder_must_be_named(self):
    with self.assertRaisesRegex(ValueError, 'set --output_dir'):
      runs.start(dataclasses.replace(self.config, output_dir=''), 'distill')

  def test_finished_with_its_metrics(self):
    runs.start(self.config, 'distill')
    self.assertFalse(runs.finished(self.folder))
    runs.write_metrics(self.folder, {'auc': 0.5})
    self.assertTrue(runs.finished(self.folder))

  def test_work_is_done_once(self):
    results = iter([{'auc': 0.5}, {'auc': 0.75}])

    def work(run_config):
      runs.start(run_config, 'distill')
      return next(results)

    for recheck in (False, False, True):
      self.assertEqual(runs.once(self.config, 'distill', work, recheck=recheck), {'auc': 0.5})
    self.assertIsNone(next(results, None))  # The recheck has gone over it again.
    with self.assertRaisesRegex(ValueError, 'holds a run of another --temperature'):
      runs.once(dataclasses.replace(self.config, temperature=1.0), 'distill', work)

  def test_newer_inputs(self):
    old, new, unfinished = (self.create_tempdir().full_path for _ in range(3))
    self.assertEmpty(runs.newer(self.folder, [old]))  # Nothing is older than what does not exist.
    os.makedirs(self.folder)
    for number, path in enumerate([f'{old}/metrics.json', f'{self.folder}/metrics.json', f'{new}/metrics.json']):
      runs.write_text(path, '{}')
      os.utime(path, (10**9 + number, 10**9 + number))
    self.assertEqual(runs.newer(self.folder, [old, new, unfinished]), [new])

  def test_work_that_fails_leaves_no_result(self):
    runs.start(self.config, 'distill')
    with self.assertRaises(KeyboardInterrupt):
      runs.once(self.config, 'distill', absltest.mock.Mock(side_effect=KeyboardInterrupt))
    self.assertFalse(runs.finished(self.folder))

  def test_summary(self):
    self.assertEqual(runs.summary('run', {'step': 12345678, 'auc': 0.912345}), 'run: step 12345678, auc 0.9123')


class RunTest(parameterized.TestCase):
  def _run(self, main):
    """Standard error of a binary with this main."""
    with absltest.mock.patch.object(app, 'run', lambda guarded: guarded(['binary'])):
      with absltest.mock.patch('sys.stderr', io.StringIO()) as stderr:
        try:
          runs.run(main)
        finally:
          self.stderr = stderr.getvalue()

  @parameterized.parameters(
    (ValueError('set --a'), 'set --a'),
    (app.UsageError('--b is wrong'), '--b is wrong'),
    (FileNotFoundError(2, 'No such file', 'x.tsv'), "[Errno 2] No such file: 'x.tsv'"),
    (tf.errors.NotFoundError(None, None, 'no such bucket'), 'no such bucket'),
  )
  def test_a_slip_is_one_line(self, error, line):
    with self.assertRaises(SystemExit) as exit_:
      self._run(absltest.mock.Mock(side_effect=error))
    self.assertEqual(exit_.exception.code, 1)
    self.assertEqual(self.stderr, f'error: {line}\n')

  def test_traceback_where_asked_for_and_of_bugs(self):
    with absltest.mock.patch.dict(os.environ, B2D_DEBUG='1'), self.assertRaises(ValueError):
      self._run(absltest.mock.Mock(side_effect=ValueError('set --a')))
    with self.assertRaises(KeyError):
      self._run(absltest.mock.Mock(side_effect=KeyError('bug')))

  def test_success_says_nothing(self):
    self._run(lambda argv: self.assertEqual(argv, ['binary']))
    self.assertEqual(self.stderr, '')


if __name__ == '__main__':
  absltest.main()
