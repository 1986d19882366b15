"""Workers on this machine: this process alone, or processes with their share of the cores."""

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import math
import multiprocessing
from multiprocessing import connection
from multiprocessing import resource_tracker
import os
import signal
import threading
from typing import Any

from b2d.learning import engines

_CPU_QUOTA = '/sys/fs/cgroup/cpu.max'  # Of cgroup v2: microseconds of how many.


def num_cores() -> int:
  """Cores that this process may use, by its affinity and by the quota of its container; a part of one counts whole."""
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
  with contextlib.suppress(OSError, ValueError), open(_CPU_QUOTA) as file:  # ValueError: the quota is 'max'.
    quota, period = map(int, file.read().split())
    return min(cores, math.ceil(quota / period))
  return cores


class Here:
  """This process, as one worker: no other is started, none can be replaced."""

  count = 1

  def __init__(self, work: engines.Work, make_state: Callable[[], Any], report: engines.Report):
    self._work, self._make_state, self._report = work, make_state, report
    self._state = self._task = None

  def start(self, number: int) -> Any:
    self._state = self._make_state()
    return self

  def give(self, worker: Any, task: Any) -> None:
    self._task = task

  def wait(self, timeout_secs: float) -> Sequence[tuple[Any, engines.Event]]:
    if self._task is None:
      return [(self, engines.Event('ready'))]
    event = engines.attempt(self._work, self._task, self._state, self._report)
    return [(self, engines.Event('failed', event.value) if event.kind == 'died' else event)]

  def end(self, worker: Any) -> None:
    pass


class Processes:
  """Local processes, each pinned to its share of the cores with as many TensorFlow threads: two pinned one-thread
  processes label a quarter faster than one process with two threads (on 2 cores of an EPYC with AVX-512).

  They end with the process that started them, however it ends, and leave Ctrl-C to it.
  """

  def __init__(self, work: engines.Work, make_state: Callable[[], Any], num_workers: int, start_method: str = 'spawn'):
    """Args: `num_workers`, processes; `start_method` of them: TensorFlow, once used, does not survive 'fork'."""
    self.count = num_workers
    self._arguments = (work, make_state, num_workers)
    self._context: Any = multiprocessing.get_context(start_method)
    self._workers: dict[Any, Any] = {}  # Pipe, which stands for the worker → process.

  def start(self, number: int) -> Any:
    pipe, theirs = self._context.Pipe()
    process = self._context.Process(target=_serve, args=(theirs, number, *self._arguments), daemon=True)
    resource_tracker.ensure_running()  # Started with a worker it would let Ctrl-C through again.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Inherited by the worker.
    try:
      process.start()
    finally:
      signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    theirs.close()  # So that the worker's death is an EOF here.
    self._workers[pipe] = process
    return pipe

  def give(self, worker: Any, task: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # It has just died; `wait` finds the EOF.
      worker.send(task)

  def wait(self, timeout_secs: float) -> Sequence[tuple[Any, engines.Event]]:
    return [(pipe, self._receive(pipe)) for pipe in connection.wait(list(self._workers), timeout_secs)]

  def end(self, worker: Any) -> None:
    process = self._workers.pop(worker)
    worker.close()
    process.kill()
    process.join(1)  # Not for ever: one that waits for a file server dies when that answers.

  def _receive(self, pipe: Any) -> engines.Event:
    try:
      return pipe.recv()
    except (EOFError, ConnectionResetError):
      process = self._workers[pipe]
      process.join(1)
      return engines.Event('died', f'died (exit code {process.exitcode}; if memory ran out, lower --num_workers)')


def make(
  work: engines.Work, make_state: Callable[[], Any], num_workers: int, report: engines.Report
) -> engines.Workers:
  """So many workers on this machine."""
  if num_workers == 1:
    return Here(work, make_state, report)
  return Processes(work, make_state, num_workers)


def _serve(
  pipe: connection.Connection, number: int, work: engines.Work, make_state: Callable[[], Any], num_workers: int
) -> None:
  """A local worker: says what `Event` has, and runs the tasks that it is sent."""
  threading.Thread(target=_end_with_parent, daemon=True).start()
  try:
    _claim_cores(number, num_workers)
    try:
      state = make_state()
    except Exception as error:
      pipe.send(engines.broken(error))
      return
    event = engines.Event('ready')
    while event.kind != 'died':
      pipe.send(event)
      event = engines.attempt(work, pipe.recv(), state, lambda count: pipe.send(engines.Event('report', count)))
    pipe.send(event)
  except (EOFError, ConnectionError, KeyboardInterrupt):
    pass  # The run was killed.


def _end_with_parent() -> None:
  """Ends this process when the one that started it has ended: what it would still write nobody waits for."""
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)


def tensorflow_threads(count: int) -> dict[str, str]:
  """The environment in which TensorFlow, not yet used, will run so many threads."""
  return {'TF_NUM_INTRAOP_THREADS': str(count), 'TF_NUM_INTEROP_THREADS': '1'}


def _claim_cores(number: int, num_workers: int) -> None:
  """Pins worker `number` to its share of the cores, with as many TensorFlow threads."""
  threads = max(num_cores() // num_workers, 1)
  if hasattr(os, 'sched_setaffinity'):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[number % len(cores) :: num_workers])
  os.environ |= tensorflow_threads(threads)
