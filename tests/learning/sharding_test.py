"""What is wrong with shards is loud: flipped bits, shards exchanged or gone, leftovers of another plan, two drivers."""

from concurrent import futures
import dataclasses
import json
import os
import random
import subprocess
import time
from unittest import mock

from absl.testing import absltest
import tensorflow as tf

from b2d import config
from b2d import lease
from b2d import runs
from b2d.data import shards
from b2d.data import soft_labels
from b2d.learning import labeling
from b2d.learning import planning

_NUM_ROWS, _SHARD_ROWS, _NUM_SHARDS = 48, 8, 6
_NUM_FLIPS = 400


class ShardingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = self._path('out')
    with open(self._path('in.csv'), 'w') as file:
      file.write('text,p\n' + ''.join(f'text {n},0.{n:02d}\n' for n in range(1, _NUM_ROWS + 1)))
    self.config = config.Label(
      input_files=(self._path('in.csv'),), scores_columns=('p',), output_dir=self.output, rows_per_shard=_SHARD_ROWS
    )
    self.enter_context(mock.patch.object(lease, '_SETTLE_SECS', 0))
    self.scored = []

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _shard(self, index):
    return os.path.join(self.output, shards.name(index))

  def _make_scorer(self):
    def score(batch, report):
      if len(self.scored) == self.stop_after:
        raise KeyboardInterrupt
      self.scored.append(batch['text'][0])
      return batch['logits'][:, 0]

    return score

  def _label(self, stop_after=-1):
    self.scored, self.stop_after = [], stop_after
    return labeling.label(self.config, self._make_scorer)

  def _label_some(self, num_shards):
    with self.assertRaises(KeyboardInterrupt):
      self._label(stop_after=num_shards)

  def _contents(self):
    return [self._content(self._shard(index)) for index in range(_NUM_SHARDS)]

  def _content(self, path):
    with open(path, 'rb') as file:
      return file.read()

  def _flip(self, path, bit):
    content = bytearray(self._content(path))
    content[bit // 8] ^= 1 << bit % 8
    with open(path, 'wb') as file:
      file.write(content)

  def test_a_shard_says_what_it_is(self):
    self._label()
    plan = runs.read_json(os.path.join(self.output, 'plan.json'))['parts'][0]['id']
    found = shards.open_shard(self._shard(3), _SHARD_ROWS).schema_arrow.metadata
    self.assertEqual(found, {b'b2d.plan': plan.encode(), b'b2d.model': b'import:p', b'b2d.index': b'3'})

  def test_every_flipped_bit_is_found(self):
    self._label()
    generator = random.Random(1)
    for _ in range(_NUM_FLIPS):
      path = self._shard(generator.randrange(_NUM_SHARDS))
      bit = generator.randrange(8 * os.path.getsize(path))
      self._flip(path, bit)
      with self.assertRaisesRegex(ValueError, f'{path}: .*; make it anew: rm -f {path} && python -m b2d.label --flag'):
        labeling.label(config.Label(verify=True, output_dir=self.output))
      with self.assertRaisesRegex(ValueError, path):
        list(soft_labels.read([self.output]))  # Whoever reads finds it too.
      self._flip(path, bit)
    self.assertEqual(
      labeling.label(config.Label(verify=True, output_dir=self.output)), {'verified_shards': 6, 'rows': _NUM_ROWS}
    )

  def test_page_checksums_find_damage_after_a_shard_was_compared(self):
    self._label()
    stream = soft_labels.read([self.output], batch_size=1)
    next(stream)
    for index in range(1, _NUM_SHARDS):
      self._flip(self._shard(index), 8 * 60)
    with self.assertRaisesRegex(ValueError, shards.name(1)):
      list(stream)

  def test_damage_is_found_when_a_resume_starts_and_the_command_mends_it(self):
    self._label()
    expected = self._contents()
    for name in ('manifest.json', 'metrics.json'):
      os.remove(os.path.join(self.output, name))
    for damage in (lambda path: self._flip(path, 8 * 60), lambda path: open(path, 'w').close()):
      os.remove(self._shard(5))
      damage(self._shard(1))
      damage(self._shard(2))
      with self.assertRaisesRegex(ValueError, f'{shards.name(1)}.*{shards.name(2)}.*2 of 5 shards; .* rm -f '):
        self._label()
      self.assertEmpty(self.scored)
      os.remove(self._shard(1))
      os.remove(self._shard(2))
      self._label()
      self.assertLen(self.scored, 3)
      self.assertEqual(self._contents(), expected)

  def test_noted_digests_find_damage_of_an_unfinished_folder(self):
    self._label_some(4)
    self._flip(self._shard(2), 8 * os.path.getsize(self._shard(2)) - 1)  # Parquet's own mark at the end.
    with self.assertRaisesRegex(ValueError, shards.name(2)):
      self._label()
    self.assertEmpty(self.scored)
    os.remove(self._shard(2))
    self._label_some(2)  # 2 and 4 are made; killed again.
    self._label()
    self.assertLen(self.scored, 1)

  def test_a_shard_removed_from_a_finished_folder_is_made_anew(self):
    self._label()
    expected = self._contents()
    os.remove(self._shard(4))
    with self.assertRaisesRegex(ValueError, f'{shards.name(4)}: .*no such file.* make it anew: rm -f'):
      labeling.label(config.Label(verify=True, output_dir=self.output))
    self._label()
    self.assertEqual(self.scored, [b'text 33'])
    self.assertEqual(self._contents(), expected)

  def test_what_workers_of_a_killed_driver_still_began_does_not_stay(self):
    def make_scorer():
      def score(batch, report):
        del report
        runs.write_text(self._shard(0) + '.tmp-1', '')  # After the clean-up at the start.
        return batch['logits'][:, 0]

      return score

    labeling.label(self.config, make_scorer)
    self.assertEmpty([name for name in os.listdir(self.output) if 'tmp' in name])

  def test_shards_that_changed_places_are_found(self):
    self._label()
    content = self._content(self._shard(1))
    with open(self._shard(0), 'wb') as file:
      file.write(content)
    for what in ('the contents that were written', '.*b2d.index.: .0.*found .*b2d.index.: .1'):
      with self.assertRaisesRegex(ValueError, f'{shards.name(0)}: expected {what}'):
        self._label()
      for name in ('manifest.json', 'metrics.json'):  # Killed before its digest was noted, say.
        if os.path.exists(os.path.join(self.output, name)):
          os.remove(os.path.join(self.output, name))

  def test_leftovers_of_another_plan_do_not_overwrite(self):
    self._label()
    plan = runs.read_json(os.path.join(self.output, 'plan.json'))
    expected = self._contents()
    leftover = planning.Task(0, _SHARD_ROWS, self.output, 'another', 'another teacher', ())
    table = shards.read_groups(self._shard(1), shards.open_shard(self._shard(1), _SHARD_ROWS))
    with self.assertRaisesRegex(ValueError, f'expected the plan another, found {plan["parts"][0]["id"]}'):
      leftover.write(table)
    os.remove(os.path.join(self.output, 'plan.json'))  # The folder is being begun anew.
    with self.assertRaisesRegex(ValueError, 'plan.json: no such file'):
      leftover.write(table)
    self.assertEqual(self._contents(), expected)
    self.assertEmpty([name for name in os.listdir(self.output) if 'tmp' in name])

  def test_a_repeated_command_removes_what_a_stalled_worker_left_in_a_finished_folder(self):
    self._label()
    before = sorted(os.listdir(self.output))
    with open(self._shard(1) + '.tmp-host-1-abc', 'w'):
      self._label()
    self.assertEqual(sorted(os.listdir(self.output)), before)

  def test_other_inputs_have_another_plan(self):
    self._label()
    before = runs.read_json(os.path.join(self.output, 'plan.json'))['parts'][0]['id']
    for change in ('', 'more,0.5\n'):
      with open(self._path('in.csv'), 'a') as file:
        file.write(change)
      output = self._path(f'other{len(change)}')
      labeling.label(dataclasses.replace(self.config, output_dir=output))
      now = runs.read_json(os.path.join(output, 'plan.json'))['parts'][0]['id']
      self.assertEqual(now == before, not change)

  def test_inputs_may_be_archived_once_they_are_planned(self):
    self._label_some(2)
    os.rename(self._path('in.csv'), self._path('archived.csv'))
    self._label()
    self.assertLen(self.scored, 4)
    self._label()

  def test_a_second_driver_is_told_who_works_there(self):
    os.makedirs(self.output)
    with lease.hold(self.output), mock.patch.object(lease, '_RENEW_SECS', 0.05):
      with self.assertRaisesRegex(ValueError, rf'out: expected .* alone, found that process {os.getpid()} on .* works'):
        with mock.patch.object(lease, '_read', side_effect=[{'beat': 1}, {'pid': os.getpid(), 'host': 'h', 'beat': 2}]):
          self._label()
    self.assertFalse(os.path.exists(os.path.join(self.output, lease.NAME)))


class LeaseTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.path = os.path.join(self.folder, lease.NAME)
    self.enter_context(mock.patch.multiple(lease, _RENEW_SECS=0.05, _EXPIRE_SECS=0.5, _SETTLE_SECS=0.01))

  def _write(self, **values):
    with open(self.path, 'w') as file:
      json.dump(values, file)

  def _pid_that_is_gone(self):
    process = subprocess.Popen(['true'])
    process.wait()
    return process.pid

  def test_held_until_released(self):
    with lease.hold(self.folder):
      time.sleep(0.2)  # It is renewed.
      lease.check(self.folder)
      with self.assertRaisesRegex(ValueError, f'process {os.getpid()} on .* works there'):
        with lease.hold(self.folder):
          pass
    self.assertEmpty(os.listdir(self.folder))

  def test_of_a_dead_process_expires_at_once(self):
    self._write(host=lease._host(), pid=self._pid_that_is_gone(), nonce='1')
    started = time.monotonic()
    with lease.hold(self.folder):
      self.assertLess(time.monotonic() - started, 0.4)

  def test_of_another_machine_expires_when_it_is_not_renewed_whatever_its_clock_says(self):
    self._write(host='other', pid=1, nonce='1', time='2999-01-01 00:00:00 +0000')
    started = time.monotonic()
    with lease.hold(self.folder):
      self.assertGreater(time.monotonic() - started, 0.5)

  def test_of_two_that_come_at_once_one_is_told_though_a_store_takes_its_time(self):
    write = lease._write

    def write_slowly(path, nonce):
      time.sleep(0.2)
      write(path, nonce)

    def work(delay):
      time.sleep(delay)
      try:
        with lease.hold(self.folder):
          time.sleep(0.5)
          return True
      except ValueError:
        return False

    with mock.patch.object(lease, '_write', write_slowly), futures.ThreadPoolExecutor() as threads:
      self.assertEqual(list(threads.map(work, (0, 0.15))), [False, True])

  def test_a_folder_is_not_held_beside_a_task_that_came_meanwhile(self):
    write = lease._write

    def write_when_a_task_has_come(path, nonce):
      with open(os.path.join(self.folder, 'lease-3-of-4.json'), 'w') as file:
        json.dump({'host': 'other', 'pid': 7}, file)
      write(path, nonce)

    with mock.patch.object(lease, '_write', write_when_a_task_has_come):
      with self.assertRaisesRegex(ValueError, 'process 7 on other works there'):
        with lease.hold(self.folder):
          pass
    self.assertEqual(os.listdir(self.folder), ['lease-3-of-4.json'])

  def test_is_renewed_though_the_store_could_not_be_read_for_a_while(self):
    with lease.hold(self.folder):
      with mock.patch.object(tf.io.gfile, 'GFile', side_effect=tf.errors.UnavailableError(None, None, 'away')):
        time.sleep(0.2)
      before = lease._read(self.path)
      time.sleep(0.2)
      self.assertNotEqual(lease._read(self.path)['beat'], before['beat'])

  def test_whoever_lost_it_is_told(self):
    with self.assertRaisesRegex(ValueError, 'process 7 on other works there'):
      with lease.hold(self.folder):
        time.sleep(0.1)
        self._write(host='other', pid=7, nonce='2')
        lease.check(self.folder)
    self.assertTrue(os.path.exists(self.path))  # It is the other's.


if __name__ == '__main__':
  absltest.main()
