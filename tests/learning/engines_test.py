"""Engines: each task once; whoever fails, dies or hangs holds up nothing but what he had."""

import multiprocessing
import os
import signal
import time
from unittest import mock

from absl.testing import absltest

from b2d import progress
from b2d.learning import engines
from b2d.learning import local_workers

_CONTEXT = multiprocessing.get_context('forkserver')  # This process may have computed with TensorFlow: no fork of it.
_CONTEXT.set_forkserver_preload(['b2d.learning.engines'])


def _double(task, state, report):
  report(1)
  report(task - 1)
  if task < 0:
    raise ValueError(f'task {task}: expected a positive number')
  if task == 0:
    raise KeyError('zero')
  return task * state


def _die_once(task, state, report):
  count, marker = task
  report(3)
  if not os.path.exists(marker):
    open(marker, 'w').close()
    os._exit(9)
  report(count - 3)
  return count


def _two():
  return 2


def _fail():
  raise KeyError('weights')


def _die():
  os._exit(9)


def _hang(task, state, report):
  """Hangs at the first 'once', and at each 'always'."""
  name, _, marker = task.partition(' ')
  if name == 'always' or name == 'once' and not os.path.exists(marker):
    open(marker, 'w').close()
    time.sleep(600)
  for _ in range(15 if name == 'slow' else 0):
    report(1)
    time.sleep(0.1)
  return name


class RunTasksTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.reported, self.notes = [], []
    self.progress = mock.create_autospec(progress.Progress, instance=True)
    self.progress.update.side_effect = lambda count: self.reported.append(count) if count else None
    self.progress.note.side_effect = self.notes.append

  def _run(self, tasks, work, make_state=_two, num_workers=2):
    workers = local_workers.Processes(work, make_state, num_workers, 'forkserver')
    if num_workers == 1:
      workers = local_workers.Here(work, make_state, self.progress.update)
    return list(engines.run_tasks(tasks, workers, self.progress))

  def test_one_result_a_task_and_each_report(self):
    for num_workers in (1, 3):
      self.reported.clear()
      found = self._run(range(1, 20), _double, num_workers=num_workers)
      self.assertCountEqual([(task, result) for task, result, _ in found], [(n, 2 * n) for n in range(1, 20)])
      self.assertCountEqual(self.reported, [1] * 19 + list(range(1, 19)))
    self.assertEmpty(self._run([], _double))

  def test_reports_of_a_worker_that_died_are_taken_back(self):
    marker = os.path.join(self.create_tempdir().full_path, 'died')
    self.assertEqual([outcome.result for outcome in self._run([(5, marker)], _die_once)], [5])
    self.assertEqual(self.reported, [3, -3, 3, 2])
    self.assertEqual(self.notes, ['failures: worker 0 1'])

  def test_a_task_that_fails_is_set_aside_when_the_others_are_done(self):
    for num_workers, key_error in ((1, 'failed (KeyError'), (2, 'its worker failed (KeyError')):
      found = {
        task: (result, problem) for task, result, problem in self._run([1, -1, 2, 0, 3], _double, _two, num_workers)
      }
      self.assertEqual({task: found[task][0] for task in (1, 2, 3)}, {1: 2, 2: 4, 3: 6})
      self.assertEqual(found[-1], (None, 'task -1: expected a positive number'))
      self.assertStartsWith(found[0][1], key_error)

  def test_workers_that_cannot_start_end_the_run(self):
    with self.assertRaisesRegex(ChildProcessError, "could not start: KeyError: 'weights'"):
      self._run([1, 2], _double, _fail)
    with self.assertRaisesRegex(ChildProcessError, r'died \(exit code 9; .*before its first task, 2 times'):
      self._run([1, 2], _double, _die)

  def test_a_worker_that_hangs_is_ended_and_its_task_given_out_again(self):
    marker = os.path.join(self.create_tempdir().full_path, 'once')
    tasks = ['quick', f'once {marker}', *['quick '] * 3, 'slow']
    with mock.patch.object(engines, '_HANG_SECS', 0.6):
      found = self._run(tasks, _hang)
      self.assertCountEqual([result for _, result, _ in found], ['once', 'quick', 'quick', 'quick', 'quick', 'slow'])
      self.assertLen(self.notes, 1)  # Not the slow one, which tells that it goes on.
      always = next(outcome for outcome in self._run([*tasks, f'always {marker}'], _hang) if outcome.problem)
    self.assertRegex(always.problem, 'its worker said nothing for 1 s, 2 times')


class NumCoresTest(absltest.TestCase):
  def test_are_those_of_the_affinity_and_of_the_quota(self):
    self.enter_context(mock.patch.object(os, 'sched_getaffinity', lambda pid: set(range(8)), create=True))
    for quota, expected in (
      ('max 100000', 8),
      ('200000 100000', 2),
      ('50000 100000', 1),
      ('150000 100000', 2),
      ('', 8),
    ):
      file = self.create_tempfile(content=quota + '\n')
      with mock.patch.object(local_workers, '_CPU_QUOTA', file.full_path):
        self.assertEqual(local_workers.num_cores(), expected, quota)
    with mock.patch.object(local_workers, '_CPU_QUOTA', '/none'):
      self.assertEqual(local_workers.num_cores(), 8)


def _sleep(task, state, report):
  del state, report
  with open(task, 'w') as file:
    file.write(str(os.getpid()))
  time.sleep(60)


def _drive(paths):
  with progress.Progress(0, 'rows', 'work') as told:
    list(engines.run_tasks(paths, local_workers.Processes(_sleep, int, len(paths), 'fork'), told))


def _is_sigint_blocked(task, state, report):
  del task, state, report
  return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


class ProcessesTest(absltest.TestCase):
  def test_end_with_their_driver_however_it_ends(self):
    for how in (signal.SIGTERM, signal.SIGKILL):
      folder = self.create_tempdir().full_path
      paths = [os.path.join(folder, name) for name in 'ab']
      driver = _CONTEXT.Process(target=_drive, args=(paths,))
      driver.start()
      self._wait(lambda paths=paths: all(os.path.exists(path) and os.path.getsize(path) for path in paths))
      pids = []
      for path in paths:
        with open(path) as file:
          pids.append(int(file.read()))
      os.kill(driver.pid, how)
      driver.join()
      self._wait(lambda pids=pids: not any(os.path.exists(f'/proc/{pid}') for pid in pids))

  def _wait(self, is_so):
    deadline = time.monotonic() + 30
    while not is_so():
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.02)

  def test_say_nothing_when_their_driver_is_gone(self):
    pipe = mock.Mock(recv=mock.Mock(side_effect=ConnectionResetError), send=mock.Mock(side_effect=BrokenPipeError))
    with mock.patch.object(local_workers, '_claim_cores'):
      local_workers._serve(pipe, 0, _sleep, int, 2)

  def test_leave_ctrl_c_to_their_driver(self):
    told = mock.create_autospec(progress.Progress, instance=True)
    found = list(engines.run_tasks(['a', 'b'], local_workers.Processes(_is_sigint_blocked, int, 2), told))
    self.assertEqual([outcome.result for outcome in found], [True, True])
    self.assertNotIn(signal.SIGINT, signal.pthread_sigmask(signal.SIG_BLOCK, ()))


if __name__ == '__main__':
  absltest.main()
