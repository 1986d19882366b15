"""Engines: who runs independent tasks — this process, or local worker processes.

A task is run by `work(task, state)`, where `state = make_state()` is made once in every worker (a
loaded model, say). A worker that dies is replaced and its task given out once more; a second death
is reported with the task. Workers end with the process that started them, however it ends, and leave Ctrl-C to it.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import multiprocessing
from multiprocessing import connection
from multiprocessing import resource_tracker
import os
import signal
import threading
from typing import Any

from absl import logging
import tensorflow as tf

_MAX_DEATHS = 2  # Of one task's workers.
Report = Callable[[int], Any]  # Takes how much more of a task is done.


def num_cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def run_tasks(
  tasks: Sequence[Any],
  work: Callable[[Any, Any, Report], Any],
  make_state: Callable[[], Any],
  num_workers: int,
  report: Report,
  start_method: str = 'spawn',
) -> Iterator[Any]:
  """Runs every task once, in any order.

  One worker is this process; more are processes, each pinned to its share of the cores with as many
  TensorFlow threads: two pinned one-thread processes label a quarter faster than one process with
  two threads (on 2 cores of an EPYC with AVX-512).

  Args:
    tasks: picklable.
    work: (task, state, report) → a result; picklable. It reports how much of the task is done.
    make_state: () → state; picklable.
    num_workers: processes.
    report: called here with what the workers report; with less than 0 for what was lost with a worker.
    start_method: of the processes. TensorFlow, once used, does not survive 'fork'.

  Yields:
    What `work` returned, as tasks finish.

  Raises:
    ValueError: `work` or `make_state` raised it in a worker.
    ChildProcessError: a worker failed otherwise, or the workers of one task died twice.
  """
  if num_workers <= 1:
    state = make_state() if tasks else None
    for task in tasks:
      yield work(task, state, report)
    return
  pool = _Pool(work, make_state, num_workers, report, multiprocessing.get_context(start_method))
  try:
    yield from pool.run(tasks)
  finally:
    pool.close()


class _Pool:
  """Worker processes, each with a pipe and at most one task in flight."""

  def __init__(self, work, make_state, num_workers, report, context):
    self._arguments = (work, make_state, num_workers)
    self._report = report
    self._reported: collections.Counter = collections.Counter()  # By task.
    self._context = context
    self._workers: dict[Any, tuple] = {}  # Pipe → (process, number of the worker, task).

  def run(self, tasks: Sequence[Any]) -> Iterator[Any]:
    waiting = collections.deque(tasks)
    pipe: Any
    deaths: collections.Counter = collections.Counter()
    for number in range(min(self._arguments[2], len(tasks))):
      self._start(number, waiting.popleft())
    while self._workers:
      for pipe in connection.wait(list(self._workers)):
        process, number, task = self._workers.pop(pipe)
        try:
          error, count, finished = pipe.recv()
        except (EOFError, ConnectionResetError):
          process.join()
          self._report(-self._reported.pop(task, 0))
          deaths[task] += 1
          logging.error('worker %d died (exit code %s) at %s', number, process.exitcode, task)
          if deaths[task] >= _MAX_DEATHS:
            raise ChildProcessError(
              f'{task}: expected a result, its worker died {_MAX_DEATHS} times (exit code '
              f'{process.exitcode}); if memory ran out, lower --num_workers or '
              '--label_batch_tokens. What is done is kept: run the command again'
            ) from None
          self._start(number, task)
          continue
        if error:
          raise error
        if not finished:
          self._workers[pipe] = process, number, task
          self._reported[task] += count
          self._report(count)
          continue
        yield count
        if waiting:
          self._give(pipe, process, number, waiting.popleft())
        else:
          pipe.send(None)  # The worker ends.

  def close(self) -> None:
    for process, _, _ in self._workers.values():
      process.kill()
      process.join()

  def _start(self, number: int, task: Any) -> None:
    pipe, theirs = self._context.Pipe()
    arguments = (theirs, number, *self._arguments)
    process = self._context.Process(target=_serve, args=arguments, daemon=True)
    resource_tracker.ensure_running()  # Started with a worker it would let Ctrl-C through again.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Inherited by the worker.
    try:
      process.start()
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    theirs.close()  # So that the worker's death is an EOF here.
    self._give(pipe, process, number, task)

  def _give(self, pipe, process, number: int, task: Any) -> None:
    self._workers[pipe] = process, number, task
    with contextlib.suppress(BrokenPipeError):  # It has just died; `run` finds the EOF.
      pipe.send(task)


def _serve(
  pipe: connection.Connection,
  number: int,
  work: Callable[[Any, Any, Report], Any],
  make_state: Callable[[], Any],
  num_workers: int,
) -> None:
  """A worker: answers tasks until it gets None, each with (None, count, False) as it goes on, (error, result, True)."""
  threading.Thread(target=_end_with_parent, daemon=True).start()
  try:
    _claim_cores(number, num_workers)
    state = make_state()
    while (task := pipe.recv()) is not None:
      pipe.send((None, work(task, state, lambda count: pipe.send((None, count, False))), True))
  except (EOFError, ConnectionError, KeyboardInterrupt):
    return  # The run was killed.
  except ValueError as error:
    pipe.send((error, 0, True))
  except Exception as error:
    logging.exception('worker %d failed', number)
    pipe.send((ChildProcessError(f'worker {number} failed: {type(error).__name__}: {error}'), 0, True))


def _end_with_parent() -> None:
  """Ends this process when the one that started it has ended: what it would still write nobody waits for."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def _claim_cores(number: int, num_workers: int) -> None:
  """Pins worker `number` to its share of the cores, with as many TensorFlow threads."""
  threads = max(num_cores() // num_workers, 1)
  if hasattr(os, 'sched_setaffinity'):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[number % len(cores) :: num_workers])
  tf.config.threading.set_intra_op_parallelism_threads(threads)
  tf.config.threading.set_inter_op_parallelism_threads(1)
