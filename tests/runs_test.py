"""Run folders: their configuration, the flagfile that repeats them, what they were made from."""

import dataclasses
import os
import socket
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized

from b2d import config
from b2d import lease
from b2d import record
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

  def test_temporary_names_differ_between_writers_of_one_process_id(self):
    with runs.atomic_path(self.path) as one, runs.atomic_path(self.path) as other:
      runs.write_text(one, '1')
      runs.write_text(other, '2')
      self.assertNotEqual(one, other)
      self.assertIn(f'{socket.gethostname()}-{os.getpid()}-', one)
    self.assertEqual(_read(self.path), '1')

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
    runs.start(self.config)
    parse = dataclass_flags.Parser(config.Distill)
    parse.flag_values(['binary', f'--flagfile={self.folder}/run.flags'])
    self.assertEqual(parse(), self.config)

  def test_flagfile_quotes_the_items_of_lists(self):
    files = ('a,b.tsv', 'say "c".tsv', '"d"', 'e f', "g'h")
    given = dataclasses.replace(self.config, soft_labels=files, valid_files=('',))
    runs.start(given)
    parse = dataclass_flags.Parser(config.Distill)
    parse.flag_values(['binary', f'--flagfile={self.folder}/run.flags'])
    self.assertEqual(parse(), given)

  @parameterized.parameters((('train_batch_size=128,256', 'hidden_layers=64,256:64'),), ((),))
  def test_flagfile_repeats_a_flag_that_is_given_several_times(self, over):
    given = config.Sweep(soft_labels=('a',), valid_files=('v',), over=over, output_dir=self.folder)
    runs.start(given)
    parse = dataclass_flags.Parser(config.Sweep)
    parse.flag_values(['binary', f'--flagfile={self.folder}/run.flags'])
    self.assertEqual(parse(), given)

  @parameterized.parameters('; ', ';\n#')
  def test_what_a_flagfile_cannot_repeat_is_refused(self, delimiters):
    given = dataclasses.replace(self.config, student=config.Student(delimiters=delimiters))
    with self.assertRaisesRegex(ValueError, '--delimiters=.*: expected one line without white space at its end'):
      runs.start(given)
    self.assertFalse(os.path.exists(os.path.join(self.folder, 'config.json')))

  def test_configuration_is_kept(self):
    self.assertEqual(runs.start(self.config), self.folder)
    self.assertEqual(runs.load_config(self.folder, config.Distill), self.config)
    with self.assertRaisesRegex(ValueError, 'expected a run of b2d.finetune, found one of'):
      runs.load_config(self.folder, config.Finetune)

  def test_same_configuration_goes_on(self):
    runs.start(self.config)
    before = {name: _read(os.path.join(self.folder, name)) for name in os.listdir(self.folder)}
    runs.start(self.config)
    self.assertEqual({name: _read(os.path.join(self.folder, name)) for name in os.listdir(self.folder)}, before)
    self.assertCountEqual(before, ['config.json', 'run.flags'])

  def test_another_configuration_is_refused(self):
    runs.start(self.config)
    student = dataclasses.replace(self.config.student, match_prefix=5)
    with self.assertRaisesRegex(ValueError, f'{self.folder}: holds a run of another --match_prefix, --temperature; '):
      runs.start(dataclasses.replace(self.config, temperature=1.0, student=student))
    with self.assertRaisesRegex(ValueError, "holds a run of the step 'distill'"):
      runs.start(config.Label(teacher_dir='t', output_dir=self.folder))

  def test_number_of_workers_is_no_other_configuration(self):
    label = config.Label(teacher_dir='t', output_dir=self.folder, num_workers=1)
    runs.start(label)
    runs.start(dataclasses.replace(label, num_workers=4))
    with self.assertRaisesRegex(ValueError, 'another --teacher_dir'):
      runs.start(dataclasses.replace(label, teacher_dir='u'))

  def test_folder_must_be_named(self):
    with self.assertRaisesRegex(ValueError, 'set --output_dir'):
      runs.start(dataclasses.replace(self.config, output_dir=''))

  def test_finished_with_its_metrics(self):
    runs.start(self.config)
    self.assertFalse(runs.finished(self.folder))
    runs.write_metrics(self.folder, {'auc': 0.5})
    self.assertTrue(runs.finished(self.folder))

  def test_work_is_done_once(self):
    work = absltest.mock.Mock(return_value={'auc': 0.5})
    for _ in range(2):
      self.assertEqual(runs.once(self.config, work), {'auc': 0.5})
    work.assert_called_once_with(self.config)
    with self.assertRaisesRegex(ValueError, 'holds a run of another --temperature'):
      runs.once(dataclasses.replace(self.config, temperature=1.0), work)

  def test_one_process_works_in_a_folder(self):
    def work(run_config):
      del run_config
      with (
        mock.patch.multiple(lease, _RENEW_SECS=0.05),
        self.assertRaisesRegex(ValueError, 'run: expected to work the'),
      ):
        with mock.patch.object(lease, '_read', side_effect=[{'beat': 1}, {'pid': 7, 'host': 'other', 'beat': 2}]):
          runs.once(self.config, absltest.mock.Mock())
      lease.check(self.folder)
      runs.write_text(os.path.join(self.folder, lease.NAME), '{"pid": 7, "host": "other"}')
      lease.check(self.folder)

    with self.assertRaisesRegex(ValueError, 'found that process 7 on other works there'):
      runs.once(self.config, work)
    self.assertFalse(runs.finished(self.folder))

  def test_work_that_fails_leaves_no_result(self):
    with self.assertRaises(KeyboardInterrupt):
      runs.once(self.config, absltest.mock.Mock(side_effect=KeyboardInterrupt))
    self.assertFalse(runs.finished(self.folder))

  def test_a_slip_leaves_no_folder_that_refuses_the_corrected_command(self):
    with self.assertRaisesRegex(ValueError, 'wrong temperature'):
      runs.once(self.config, absltest.mock.Mock(side_effect=ValueError('wrong temperature')))
    runs.once(dataclasses.replace(self.config, temperature=1.0), absltest.mock.Mock(return_value={}))

  def test_a_slip_leaves_what_was_done(self):
    def work(run_config):
      runs.write_text(os.path.join(run_config.output_dir, 'part-00000.parquet'), '')
      raise ValueError('bad row')

    with self.assertRaisesRegex(ValueError, 'bad row'):
      runs.once(self.config, work)
    self.assertTrue(os.path.exists(os.path.join(self.folder, 'part-00000.parquet')))

  def test_a_folder_that_another_process_has_taken_stays(self):
    def work(run_config):
      runs.write_text(os.path.join(run_config.output_dir, lease.NAME), '{"pid": 7, "host": "other"}')
      raise ValueError('wrong temperature')

    with self.assertRaisesRegex(ValueError, 'process 7 on other works there'):
      runs.once(self.config, work)
    self.assertTrue(os.path.exists(os.path.join(self.folder, 'config.json')))

  def test_a_finished_run_keeps_its_record(self):
    runs.once(self.config, absltest.mock.Mock(return_value={}))
    before = _read(os.path.join(self.folder, 'config.json'))
    runs.once(dataclasses.replace(self.config, output_dir=self.folder + '/'), absltest.mock.Mock())
    self.assertEqual(_read(os.path.join(self.folder, 'config.json')), before)


class InputsTest(parameterized.TestCase):
  """What a step was made from is compared by its contents, for every kind of input."""

  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.file = self._write('train.tsv', 'text\tlabel\na\t1\n')
    self.config = config.Distill(
      train_files=(self.file,), schema=config.Schema(label_column='label'), output_dir=os.path.join(self.folder, 'run')
    )
    self.work = absltest.mock.Mock(return_value={})

  def _write(self, name, text) -> str:
    path = os.path.join(self.folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    runs.write_text(path, text)
    return path

  def test_other_contents_of_equal_length_are_refused(self):
    runs.once(self.config, self.work)
    runs.once(self.config, self.work)
    self._write('train.tsv', 'text\tlabel\na\t0\n')
    for finished in (True, False):
      with self.assertRaisesRegex(ValueError, 'train.tsv: has changed since .*/run was begun; restore it, or remove'):
        runs.once(self.config, self.work)
      if finished:
        os.remove(os.path.join(self.folder, 'run', 'metrics.json'))
    self.work.assert_called_once()

  def test_the_same_contents_written_again_are_no_change(self):
    runs.once(self.config, self.work)
    self._write('train.tsv', 'text\tlabel\na\t1\n')
    os.utime(self.file, (1, 1))
    runs.once(self.config, self.work)
    self.work.assert_called_once()

  def test_a_finished_run_needs_its_inputs_no_more(self):
    runs.once(self.config, self.work)
    os.remove(self.file)
    runs.once(self.config, self.work)

  def test_a_new_file_of_a_pattern_is_a_change(self):
    run_config = dataclasses.replace(self.config, train_files=(os.path.join(self.folder, '*.tsv'),))
    runs.once(run_config, self.work)
    self._write('more.tsv', 'text\tlabel\na\t1\n')
    with self.assertRaisesRegex(ValueError, 'more.tsv: has come since .*; take it away, or remove'):
      runs.once(run_config, self.work)

  def test_files_of_a_pattern_that_are_gone(self):
    run_config = dataclasses.replace(self.config, train_files=(os.path.join(self.folder, '*.tsv'),))
    more = self._write('more.tsv', 'text\tlabel\na\t1\n')
    runs.once(run_config, self.work)
    os.remove(more)
    runs.once(run_config, self.work)  # It is finished.
    self.work.assert_called_once()
    os.remove(os.path.join(self.folder, 'run', 'metrics.json'))
    with self.assertRaisesRegex(ValueError, 'more.tsv: has gone since .*/run was begun; restore it, or remove'):
      runs.once(run_config, self.work)
    self._write('run/plan.json', '{}')  # Its rows are copied.
    runs.once(run_config, self.work)

  def test_made_again_of_fewer_files_but_not_of_none(self):
    run_config = dataclasses.replace(self.config, train_files=(os.path.join(self.folder, '*.tsv'),))
    more = self._write('more.tsv', 'text\tlabel\na\t1\n')
    for path, calls in (('', 1), (more, 2), (self.file, 2)):
      if path:
        os.remove(path)
      runs.once(run_config, self.work, remake=True)
      self.assertEqual(self.work.call_count, calls)

  def test_made_again_where_the_step_says_so(self):
    for calls in (1, 1):
      runs.once(self.config, self.work, remake=True)
      self.assertEqual(self.work.call_count, calls)
    self._write('train.tsv', '')
    for calls in (2, 2):
      runs.once(self.config, self.work, remake=True)
      self.assertEqual(self.work.call_count, calls)

  def test_not_finished_it_is_made_anew_of_the_inputs_as_they_are(self):
    self.work.side_effect = [KeyboardInterrupt, {}]
    with self.assertRaises(KeyboardInterrupt):
      runs.once(self.config, self.work, remake=True)
    self._write('train.tsv', '')
    for _ in range(2):
      runs.once(self.config, self.work, remake=True)
    self.assertEqual(self.work.call_count, 2)

  @parameterized.parameters(
    ({'run.flags': '', 'config.json': '{}', 'metrics.json': '{}'}, 'best/ckpt-1.index', True),
    ({'run.flags': '', 'config.json': '{}', 'metrics.json': '{}'}, 'calibration.json', True),
    ({'run.flags': '', 'config.json': '{}', 'metrics.json': '{}'}, 'events/events.out', False),
    ({'manifest.json': '{}'}, 'manifest.json', True),
    ({'1/saved_model.pb': ''}, '2/saved_model.pb', True),
    ({'9/saved_model.pb': '', '10/saved_model.pb': ''}, '9/saved_model.pb', False),
    ({'config.json': '', 'vocab.txt': ''}, 'model.safetensors', True),
  )
  def test_what_counts_of_a_folder(self, files, then_written, counts):
    for name, text in files.items():
      self._write(f'input/{name}', text)
    run_config = config.Label(teacher_dir=os.path.join(self.folder, 'input'), output_dir=self.config.output_dir)
    runs.once(run_config, self.work)
    self._write(f'input/{then_written}', 'other')
    if not counts:
      runs.once(run_config, self.work)
      return
    with self.assertRaisesRegex(ValueError, f'{then_written}: has c(hanged|ome) since'):
      runs.once(run_config, self.work)

  def test_an_unfinished_run_is_no_input(self):
    for name in ('run.flags', 'config.json', 'best/checkpoint'):
      self._write(f'input/{name}', '')
    run_config = config.Label(teacher_dir=os.path.join(self.folder, 'input'), output_dir=self.config.output_dir)
    with self.assertRaisesRegex(ValueError, 'input: expected a finished run, found one that is not; repeat'):
      runs.once(run_config, self.work)
    self.assertFalse(os.path.exists(self.config.output_dir))

  def test_a_checkpoint_by_its_prefix(self):
    for name in ('bert/model.ckpt.index', 'bert/model.ckpt.data-00000-of-00001'):
      self._write(name, '')
    self.assertLen(record.files_of(os.path.join(self.folder, 'bert/model.ckpt')), 2)


if __name__ == '__main__':
  absltest.main()
