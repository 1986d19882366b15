"""Logs that grow and go, and folders that many processes work on: what is planned, and by whom it is made."""

import dataclasses
import gzip
import json
import os
import shutil
import threading
import time
from unittest import mock

from absl.testing import absltest

from b2d import config
from b2d import lease
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import copying
from b2d.learning import labeling
from b2d.learning import planning


class PlanningTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = self._path('out')
    self._write('log-1.csv', range(10))
    self._write('log-2.csv', range(10, 20))
    self.config = config.Label(
      input_files=(self._path('log-*.csv'),), scores_columns=('p',), output_dir=self.output, rows_per_shard=4
    )
    self.enter_context(mock.patch.object(lease, '_SETTLE_SECS', 0))

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _write(self, name, numbers):
    os.makedirs(os.path.dirname(self._path(name)), exist_ok=True)
    with open(self._path(name), 'w') as file:
      file.write('text,p\n' + ''.join(f'text {n},0.{n:02d}\n' for n in numbers))

  def _label(self, output=None, **scaling):
    return labeling.label(
      dataclasses.replace(self.config, output_dir=output or self.output, scaling=config.Scaling(**scaling))
    )

  def _shards(self, folder):
    found = {}
    for name in os.listdir(folder):
      if name.startswith('part-'):
        with open(os.path.join(folder, name), 'rb') as file:
          found[name] = file.read()
    return found

  def _texts(self):
    return rows.concatenate(list(soft_labels.read([self.output])))['text'].tolist()


class AppendTest(PlanningTest):
  def test_new_files_are_named_and_appended_behind_the_old_shards(self):
    self._label()
    before, manifest = self._shards(self.output), soft_labels.read_manifest(self.output)
    self._write('log-3.csv', range(20, 26))
    self._write('log-0.csv', range(26, 30))
    for _ in range(2):
      with self.assertRaisesRegex(ValueError, 'log-0.csv, .*log-3.csv: not there when .*out was begun.*--append'):
        self._label()
      self.assertEqual(soft_labels.read_manifest(self.output), manifest)
    self.assertEqual(self._label(append=True)['rows'], 30)
    after = self._shards(self.output)
    self.assertEqual({name: after[name] for name in before}, before)
    self.assertEqual(self._texts(), [f'text {n}'.encode() for n in [*range(20), *range(26, 30), *range(20, 26)]])
    made = [os.stat(os.path.join(self.output, name)).st_mtime_ns for name in after]
    for scaling in ({}, {'append': True}):  # There is nothing new.
      self.assertEqual(self._label(**scaling)['rows'], 30)
      self.assertEqual([os.stat(os.path.join(self.output, name)).st_mtime_ns for name in after], made)
    labeling.label(config.Label(verify=True, output_dir=self.output))

  def test_shards_of_every_part_can_be_made_anew(self):
    self._label()
    self._write('log-3.csv', range(20, 26))
    self._label(append=True)
    expected = self._shards(self.output)
    for name in ('part-00001.parquet', 'part-00006.parquet'):
      os.remove(os.path.join(self.output, name))
    self._label()
    self.assertEqual(self._shards(self.output), expected)
    os.remove(os.path.join(self.output, 'part-00006.parquet'))
    os.remove(self._path('log-3.csv'))
    with self.assertRaisesRegex(ValueError, 'log-3.csv: expected the rows of part-00006.parquet, found no such file'):
      self._label()

  def test_a_killed_append_loses_and_doubles_nothing(self):
    self._label()
    self._write('log-3.csv', range(20, 26))
    for killed_at in ('_copy', '_write'):
      with mock.patch.object(planning, killed_at, side_effect=KeyboardInterrupt), self.assertRaises(KeyboardInterrupt):
        self._label(append=True)
      with self.assertRaisesRegex(ValueError, 'log-3.csv: not there when'):
        self._label()
    with mock.patch.object(planning.Job, 'folder', property(self._kill_after_the_plan)):
      with self.assertRaises(KeyboardInterrupt):
        self._label(append=True)
    self._label()
    self.assertEqual(self._texts(), [f'text {n}'.encode() for n in range(26)])

  def _kill_after_the_plan(self, job):
    if len(planning._read(job.run_config.output_dir).parts) == 2:
      raise KeyboardInterrupt
    return job.run_config.output_dir

  def test_ids_of_files_of_one_name_differ(self):
    self._write('a/log.csv', range(2))
    patterns = (self._path('?/log.csv'),)
    self.config = dataclasses.replace(self.config, input_files=patterns)
    self._label()
    self._write('b/log.csv', range(2))
    self._label(append=True)
    found = rows.concatenate(list(soft_labels.read([self.output])))['id'].tolist()
    self.assertEqual(found, [b'log.csv:1', b'log.csv:2', b'b/log.csv:1', b'b/log.csv:2'])

  def test_rejected_rows_of_all_parts_are_listed(self):
    self.config = dataclasses.replace(self.config, schema=config.Schema(max_bad_rows=1))
    for number in (2, 3):
      with open(self._path(f'log-{number}.csv'), 'a') as file:
        file.write('text,p\nmore,0.5\nnone,high\n' if number == 3 else 'none,high\n')
      self.assertEqual(self._label(append=number == 3)['bad_rows'], number - 1)
    with open(os.path.join(self.output, 'rejected.jsonl')) as file:
      self.assertEqual([os.path.basename(json.loads(line)['file']) for line in file], ['log-2.csv', 'log-3.csv'])

  def test_slips(self):
    with self.assertRaisesRegex(ValueError, 'out: expected a folder that was begun, found no plan'):
      self._label(append=True)
    self.assertFalse(os.path.exists(self.output))
    with self.assertRaisesRegex(ValueError, '--append does not go with --frequent_ngrams'):
      config.Label(teacher_dir='t', frequent_ngrams=2, scaling=config.Scaling(append=True))


class InputsTest(PlanningTest):
  def test_archived_where_they_lie_they_are_the_same(self):
    self._label()
    with open(self._path('log-1.csv'), 'rb') as file, gzip.open(self._path('log-1.csv.gz'), 'wb') as archive:
      shutil.copyfileobj(file, archive)
    os.remove(self._path('log-1.csv'))
    self.assertEqual(self._label()['rows'], 20)

  def test_what_grows_while_it_is_planned_is_named(self):
    read = rows.read_sources

    def read_and_append(*arguments, **options):
      for batch in read(*arguments, **options):
        with open(self._path('log-2.csv'), 'a') as file:
          file.write('more,0.5\n')
        yield batch

    with mock.patch.object(rows, 'read_sources', read_and_append):
      with self.assertRaisesRegex(ValueError, 'log-2.csv: expected the contents .* found others: it grows or changed'):
        self._label()
    self.assertFalse(os.path.exists(self.output))  # The command repeated may succeed.
    self.assertEqual(self._label()['rows'], 22)  # Two tables were read, one a file.


class PiecesTest(PlanningTest):
  """The input is copied in pieces, by tasks."""

  def setUp(self):
    super().setUp()
    for number in range(3, 6):
      self._write(f'log-{number}.csv', range(0 if number == 4 else number) if number < 5 else range(60, 67))
    self.read = []
    read = rows.read_sources

    def read_and_note(sources, *arguments, **options):
      self.read += [os.path.basename(source.path) for source in sources]
      return read(sources, *arguments, **options)

    self.enter_context(mock.patch.object(rows, 'read_sources', read_and_note))

  def _in_pieces(self):
    return mock.patch.object(copying, 'PIECE_BYTES', 1)

  def test_shards_are_alike_however_many_there_are(self):
    self._label(self._path('expected'))
    for size in (1, 250, 1000):
      with mock.patch.object(copying, 'PIECE_BYTES', size):
        self._label(self._path(f'out-{size}'))
      self.assertEqual(self._shards(self._path(f'out-{size}')), self._shards(self._path('expected')))

  def test_a_piece_is_a_part_of_a_large_file_or_several_small_ones(self):
    path = self._path('large.txt')
    with open(path, 'w') as file:
      file.write('a line of text\n' * 1000)
    with mock.patch.object(copying, 'PIECE_BYTES', 1000):
      pieces = copying.cut(rows.sources([path]), 'check')
      self.assertEqual([len(piece) for piece in pieces], [1] * 16)
      small = copying.cut(rows.sources(rows.expand([self._path('log-*.csv')])), 'check')
    self.assertEqual([len(piece) for piece in small], [5])

  def test_a_kill_loses_the_piece_in_flight(self):
    self._label(self._path('expected'))
    self.read.clear()
    with self._in_pieces():
      read = copying.copy
      for killed_at in (3, 1):
        with mock.patch.object(
          copying, 'copy', side_effect=[*[mock.DEFAULT] * killed_at, KeyboardInterrupt], wraps=read
        ):
          with self.assertRaises(KeyboardInterrupt):
            self._label()
      self._label()
    self.assertEqual(self.read, [f'log-{number}.csv' for number in range(1, 6)])
    self.assertEqual(self._shards(self.output), self._shards(self._path('expected')))

  def test_what_is_damaged_is_made_anew_when_it_is_removed(self):
    expected = self._path('expected')
    self._label(expected)
    with self._in_pieces(), mock.patch.object(labeling, 'label_shard', side_effect=KeyboardInterrupt):
      with self.assertRaises(KeyboardInterrupt):
        self._label()
    first, second = (copying.path_of(self.output, number) for number in range(2))
    shutil.copy(second, first)
    self.read.clear()
    with self.assertRaisesRegex(
      ValueError,
      r'part-00000.parquet \(rows 1 to 4\): .*inputs/part-00000.parquet: expected the rows that were '
      'planned, found others; remove it and repeat the command',
    ):
      self._label()
    os.remove(first)
    self._label()
    self.assertEqual(self.read, ['log-1.csv'])
    self.assertEqual(self._shards(self.output), self._shards(expected))

  def test_a_shard_that_is_made_anew_needs_its_pieces_alone(self):
    with self._in_pieces():
      self._label()
    expected = self._shards(self.output)
    os.remove(os.path.join(self.output, 'part-00003.parquet'))  # Rows 13 to 16.
    self.read.clear()
    self._label()
    self.assertEqual(self.read, ['log-2.csv'])
    self.assertEqual(self._shards(self.output), expected)

  def test_rows_are_rejected_as_by_one_reader(self):
    self.config = dataclasses.replace(self.config, schema=config.Schema(max_bad_rows=2))
    for number in (1, 2, 3):
      with open(self._path(f'log-{number}.csv'), 'a') as file:
        file.write('none,high\n')
    with self._in_pieces():
      with self.assertRaisesRegex(ValueError, r'log-3.csv: row 4: .*\(2 bad rows before it'):
        self._label()
      self.assertFalse(os.path.exists(self.output))
      os.remove(self._path('log-3.csv'))
      self.assertEqual(self._label()['bad_rows'], 2)
    with open(os.path.join(self.output, 'rejected.jsonl')) as file:
      self.assertEqual([json.loads(line)['number'] for line in file], [11, 11])


class TasksTest(PlanningTest):
  def test_tasks_make_what_one_run_makes(self):
    self._label(self._path('expected'))
    for task in (2, 0):
      self.assertEqual(self._label(task=task, num_tasks=3)['rows'], 8 if task == 0 else 4)
    self.assertFalse(runs.finished(self.output))
    with self.assertRaisesRegex(ValueError, 'expected all 5 shards, found 3; part-00001.parquet is missing.*--finish'):
      self._label(finish=True)
    self._label(task=1, num_tasks=3)
    self.assertEqual(self._label(finish=True)['rows'], 20)
    self.assertEqual(self._shards(self.output), self._shards(self._path('expected')))
    self.assertCountEqual(os.listdir(self.output), os.listdir(self._path('expected')))
    for name in ('config.json', 'run.flags', 'manifest.json'):
      with open(os.path.join(self.output, name)) as one, open(self._path(f'expected/{name}')) as other:
        self.assertEqual(one.read().replace(self.output, self._path('expected')), other.read())
    self.assertEqual(self._label(task=1, num_tasks=3)['rows'], 8)  # As a scheduler repeats it.

  def test_a_task_waits_for_who_plans_and_a_driver_for_no_task(self):
    os.makedirs(self.output)
    released = []

    def hold():
      with lease.hold(self.output):
        time.sleep(0.3)
        released.append(True)

    with mock.patch.multiple(lease, _RENEW_SECS=0.05):
      other = threading.Thread(target=hold)
      other.start()
      time.sleep(0.1)
      self._label(task=0, num_tasks=2)
      other.join()
      self.assertTrue(released)
      with lease.hold(self.output, '1-of-2'):
        with self.assertRaisesRegex(ValueError, f'process {os.getpid()} on .* works there'):
          self._label(finish=True)
        for task, num_tasks in ((1, 2), (0, 3)):
          with self.assertRaisesRegex(ValueError, f'process {os.getpid()} on .* works there'):
            self._label(task=task, num_tasks=num_tasks)
      released.clear()
      other = threading.Thread(target=hold)  # Of the whole folder, when it is planned.
      other.start()
      time.sleep(0.1)
      self._label(task=0, num_tasks=2)
      other.join()
      self.assertTrue(released)

  def test_slips(self):
    for wrong, message in (
      ({'task': 2, 'num_tasks': 2}, 'expected one from 0 to --num_tasks=2 less 1'),
      ({'task': 0}, '--task=0: expected'),
      ({'num_tasks': 2}, '--num_tasks=2: set --task too'),
      ({'task': 0, 'num_tasks': 2, 'finish': True}, '--finish comes when'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        config.Scaling(**wrong)
    with self.assertRaisesRegex(ValueError, 'out: expected a folder that was begun'):
      self._label(finish=True)


if __name__ == '__main__':
  absltest.main()
