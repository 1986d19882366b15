"""The frame of the binaries: flags in, a line out, slips in one line, help at once."""

import io
import logging
import os
import subprocess
import sys
import time

from absl import app
from absl import flags
from absl.testing import absltest
from absl.testing import parameterized

from b2d import config
from flags import binary
from tests import command_line

_VERBS = ('b2d.distill', 'b2d.evaluate', 'b2d.finetune', 'b2d.label', 'b2d.measure_speed', 'b2d.pair_up', 'b2d.stack',
          'b2d.sweep', 'export')  # fmt: skip


def _python(*arguments):
  return subprocess.run([sys.executable, '-m', *arguments], capture_output=True, text=True, check=False)


class MainTest(absltest.TestCase):
  def test_words_that_are_no_flags_are_refused(self):
    """As a shell makes them of `--input_files= part-*.tsv`."""
    with self.assertRaisesRegex(app.UsageError, "found also 'part-0.tsv' 'part-1.tsv'; several files are one flag"):
      command_line.run(config.Label, words=('part-0.tsv', 'part-1.tsv'), teacher_dir='a')

  def test_summary(self):
    run_config = config.Label(teacher_dir='a', output_dir='run')
    said = binary.summary(run_config, {'step': 12345678, 'auc': 0.912345, 'left_out': {'a': 1}})
    self.assertEqual(said, 'run: step 12345678, auc 0.9123')


class LogTest(parameterized.TestCase):
  @parameterized.parameters(
    ('/venv/lib/python3.11/site-packages/tensorflow/saver.py', 'INFO', 'saved', False),
    ('/venv/lib/python3.11/site-packages/tensorflow/saver.py', 'WARNING', 'saved', True),
    (
      '/venv/lib/python3.11/site-packages/tensorflow/function.py',
      'WARNING',
      'calls triggered tf.function retracing',
      False,
    ),
    ('/home/me/b2d/learning/training.py', 'INFO', 'saved', True),
  )
  def test_libraries_are_silent_unless_they_warn(self, path, level, message, said):
    record = logging.makeLogRecord({'pathname': path, 'levelno': getattr(logging, level), 'msg': message})
    self.assertEqual(binary._is_worth_saying(record), said)


class ProcessTest(parameterized.TestCase):
  @parameterized.parameters(*_VERBS)
  def test_help_answers_at_once(self, verb):
    started = time.monotonic()
    done = _python(verb, '--help')
    seconds = time.monotonic() - started
    self.assertEqual((done.returncode, done.stderr), (0, ''))
    self.assertIn('\nrequired:\n', done.stdout)
    self.assertLess(seconds, 5)  # TensorFlow alone takes longer to import on a machine as busy.

  def test_help_and_slips_need_no_tensorflow(self):
    program = (
      'import sys; sys.argv = ["x", "{}"]\n'
      'import runpy\n'
      'try:\n  runpy.run_module("b2d.distill", run_name="__main__")\n'
      'finally:\n  print("tensorflow" in sys.modules)'
    )
    for argument in ('--help', '--num_bucket=3'):
      done = subprocess.run(
        [sys.executable, '-c', program.format(argument)], capture_output=True, text=True, check=False
      )
      self.assertEqual(done.stdout.splitlines()[-1], 'False', done.stderr)

  def test_words_that_are_no_flags_are_told_before_what_is_missing(self):
    done = _python('b2d.label', '--input_files=', 'part-0.tsv', 'part-1.tsv', '--teacher_dir=a', '--output_dir=x')
    self.assertEqual((done.returncode, done.stdout), (1, ''))
    self.assertRegex(done.stderr, "^error: expected flags alone, found also 'part-0.tsv' 'part-1.tsv'; ")

  def test_a_typo_names_what_was_meant(self):
    done = _python('b2d.distill', '--num_bucket=3')
    self.assertEqual(done.returncode, 1)
    self.assertRegex(done.stderr, r"^error: Unknown command line flag 'num_bucket'. Did you mean: num_buckets ?\?\n$")

  def test_nothing_is_said_before_the_first_line_of_ours(self):
    folder = self.create_tempdir().full_path
    done = _python('b2d.distill', f'--soft_labels={folder}', f'--output_dir={folder}/run')
    self.assertEqual((done.returncode, done.stdout), (1, ''))
    self.assertRegex(done.stderr, rf'^error: {folder}/manifest.json: no such file[^\n]*\n$')

  @parameterized.parameters(
    ('b2d.distill', '--soft_labels=none', '--valid_files=none.csv', '--output_dir=none/run'),
    ('b2d.finetune', '--train_files=log-*.none', '--label_column=l', '--init_checkpoint=none', '--output_dir=none/run'),
    ('b2d.evaluate', '--models=student=none', '--files=none.csv', '--output_dir=none/run'),
    ('export', '--model=none', '--output_dir=none/export'),
  )
  def test_a_path_that_is_not_there_is_told_at_once(self, verb, *arguments):
    started = time.monotonic()
    done = _python(verb, *arguments)
    self.assertEqual((done.returncode, done.stdout), (1, ''))
    self.assertRegex(done.stderr, r'^error: --\w+=[^ ]+: expected a file, a pattern of files or a folder, found none; ')
    self.assertLess(time.monotonic() - started, 5)

  def test_a_run_that_was_begun_may_no_longer_need_its_inputs(self):
    folder = self.create_tempdir()
    folder.create_file('config.json', '{}')
    binary._require_inputs(config.Distill(soft_labels=('none',), output_dir=folder.full_path))
    of_a_package = config.Teacher(init_checkpoint='package:none')
    binary._require_inputs(config.Finetune(soft_labels=('gs://none',), teacher=of_a_package, output_dir='x'))

  def test_nothing_is_said_in_python_either(self):
    program = 'import b2d\ntry:\n  b2d.load("none")\nexcept ValueError:\n  print("no model")'
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    self.assertEqual((done.stdout, done.stderr), ('no model\n', ''))


class GuardedTest(parameterized.TestCase):
  def test_the_exit_code_is_the_result_s(self):
    program = (
      'import sys; sys.argv = ["x", "--text=a", "--model=m"]\nfrom b2d import config\nfrom flags import binary\n'
      'binary.run(config.Explain, lambda run_config: 3, lambda *_: "said", exit_code=lambda result: result)'
    )
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=False)
    self.assertEqual((done.returncode, done.stdout), (3, 'said\n'))

  def _run(self, main):
    """Standard error of a binary with this main."""
    with (
      absltest.mock.patch.object(app, 'run', lambda guarded, **_: guarded(['binary'])),
      absltest.mock.patch('sys.stderr', io.StringIO()) as stderr,
    ):
      try:
        binary.guarded(main)
      finally:
        self.stderr = stderr.getvalue()

  @parameterized.parameters(
    (ValueError('set --a'), 'set --a'),
    (app.UsageError('--b is wrong'), '--b is wrong'),
    (flags.UnrecognizedFlagError('c'), "Unknown command line flag 'c'"),
    (FileNotFoundError(2, 'No such file', 'x.tsv'), "[Errno 2] No such file: 'x.tsv'"),
  )
  def test_a_slip_is_one_line(self, error, line):
    with self.assertRaises(SystemExit) as exit_:
      self._run(absltest.mock.Mock(side_effect=error))
    self.assertEqual(exit_.exception.code, 1)
    self.assertEqual(self.stderr, f'error: {line}\n')

  def test_interrupted(self):
    with self.assertRaises(SystemExit) as exit_:
      self._run(absltest.mock.Mock(side_effect=KeyboardInterrupt))
    self.assertEqual((exit_.exception.code, self.stderr), (130, ''))

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
