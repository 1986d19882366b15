"""Engines: who runs independent tasks: this process, local worker processes, or others that do what `Workers` says.

A task is run by `work(task, state, report)`, where `state = make_state()` is made once in every worker (a loaded model,
say). A task that raises ValueError is set aside, and the others go on. A worker that dies, fails otherwise, or says
nothing for long is replaced, and its task given out once more before that is set aside too.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import math
import multiprocessing
from multiprocessing import connection
from multiprocessing import resource_tracker
import os
import signal
import statistics
import threading
import time
from typing import Any
from typing import NamedTuple
from typing import Protocol

from absl import logging

from b2d import progress as progress_lib

_MAX_DEATHS = 2  # Of one task's workers.
_HANG_SECS = 300.0  # A worker may say nothing for so long at least,
_HANG_TASKS = 5  # and for so many times the median of what tasks took.
_REMEMBERED = 101  # Tasks that the median is of.
_CPU_QUOTA = '/sys/fs/cgroup/cpu.max'  # Of cgroup v2: microseconds of how many.
Report = Callable[[int], Any]  # Takes how much more of a task is done.
Work = Callable[[Any, Any, Report], Any]


class Outcome(NamedTuple):
  """What became of a task."""

  task: Any
  result: Any = None  # What `work` returned.
  problem: str = ''  # Why it was set aside.


class Event(NamedTuple):
  """What a worker has to say: 'ready', it has its state; 'report', how much more is done; of its task 'done', with the
  result, or 'failed', with the reason; 'died', with the reason; 'broken', with the error that ends the run."""

  kind: str
  value: Any = None


class Workers(Protocol):
  """Where tasks run. A worker is anything hashable, and has one task at a time."""

  count: int  # How many there should be at most.

  def start(self, number: int) -> Any:
    """Starts worker `number`, which makes its state first."""

  def give(self, worker: Any, task: Any) -> None:
    """Gives a task to a worker that has none."""

  def wait(self, timeout_secs: float) -> Sequence[tuple[Any, Event]]:
    """What workers say, as soon as one does."""

  def end(self, worker: Any) -> None:
    """Ends a worker at once, whatever it does."""


@dataclasses.dataclass
class _Assignment:
  """What a worker does now."""

  number: int
  task: Any = None
  given: float = 0  # When, on the monotonic clock.
  heard: float = 0
  reported: int = 0


def absolute(path: str) -> str:
  """The path as a process elsewhere finds it."""
  return path if '://' in path else os.path.abspath(path)


def num_cores() -> int:
  """Cores that this process may use, by its affinity and by the quota of its container; a part of one counts whole."""
  cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
  with contextlib.suppress(OSError, ValueError), open(_CPU_QUOTA) as file:  # ValueError: the quota is 'max'.
    quota, period = map(int, file.read().split())
    return min(cores, math.ceil(quota / period))
  return cores


def run_tasks(
  tasks: Sequence[Any], workers: Workers, progress: progress_lib.Progress, alike: bool = True
) -> Iterator[Outcome]:
  """Runs every task once, in any order.

  Args:
    tasks: hashable, picklable.
    workers: who runs them.
    progress: told what the workers report, less what was lost, and who failed how often.
    alike: whether the tasks are of about one size; else none is thought to hang.

  Yields:
    The outcome of each task, as they finish.

  Raises:
    ValueError: `make_state` raised it in a worker.
    ChildProcessError: workers failed otherwise before they had their state.
  """
  busy: dict[Any, _Assignment] = {}
  try:
    yield from _run(tasks, workers, progress, alike, busy)
  finally:
    for worker in busy:
      workers.end(worker)


def _run(tasks, workers: Workers, progress, alike: bool, busy: dict[Any, _Assignment]) -> Iterator[Outcome]:
  waiting = collections.deque(tasks)
  seconds: collections.deque = collections.deque(maxlen=_REMEMBERED)
  deaths: collections.Counter = collections.Counter()  # By task; and of workers without their state yet.
  failures: collections.Counter = collections.Counter()  # By worker.

  def lost(assignment: _Assignment) -> None:
    progress.update(-assignment.reported)
    failures[assignment.number] += 1
    progress.note('failures: ' + ', '.join(f'worker {number} {count}' for number, count in sorted(failures.items())))

  def give(worker: Any) -> None:
    if waiting:
      busy[worker] = _Assignment(busy[worker].number, waiting.popleft(), now := time.monotonic(), now)
      workers.give(worker, busy[worker].task)
    else:
      workers.end(worker)
      del busy[worker]

  def replace(worker: Any, reason: str) -> Iterator[Outcome]:
    assignment = busy.pop(worker)
    workers.end(worker)
    number, task = assignment.number, assignment.task
    logging.error('worker %d %s at %s', number, reason, 'its start' if task is None else task)
    lost(assignment)
    died = f'start of worker {number}' if task is None else task
    deaths[died] += 1
    if task is not None and deaths[task] < _MAX_DEATHS:
      waiting.appendleft(task)
    elif task is not None:
      yield Outcome(task, problem=f'its worker {reason}, {_MAX_DEATHS} times')
    elif deaths[died] >= _MAX_DEATHS:
      if not busy:
        raise ChildProcessError(f'worker {number} {reason} before its first task, {_MAX_DEATHS} times')
      return  # The others go on without it.
    if waiting:
      busy[workers.start(number)] = _Assignment(number)

  for number in range(min(workers.count, len(tasks))):
    busy[workers.start(number)] = _Assignment(number)
  while busy:
    for worker, (kind, value) in workers.wait(_HANG_SECS / 20):
      assignment = busy[worker]
      assignment.heard = time.monotonic()
      if kind == 'report':
        assignment.reported += value
        progress.update(value)
      elif kind == 'broken':
        raise value
      elif kind == 'died':
        yield from replace(worker, value)
      else:
        if kind == 'failed':
          lost(assignment)
          yield Outcome(assignment.task, problem=value)
        elif kind == 'done':
          seconds.append(assignment.heard - assignment.given)
          yield Outcome(assignment.task, value)
        give(worker)
    longest = max(_HANG_SECS, _HANG_TASKS * statistics.median(seconds)) if seconds and alike else float('inf')
    for worker, assignment in list(busy.items()):
      silence = time.monotonic() - assignment.heard
      if assignment.task is not None and silence > longest:
        yield from replace(worker, f'said nothing for {silence:.0f} s')


def attempt(work: Work, task: Any, state: Any, report: Report) -> Event:
  """Runs a task in a worker. After another error than ValueError the worker should end: its state may be spoilt."""
  try:
    return Event('done', work(task, state, report))
  except ValueError as error:
    return Event('failed', str(error))
  except Exception as error:
    logging.exception('at %s', task)
    return Event('died', f'failed ({type(error).__name__}: {error})')


def broken(error: Exception) -> Event:
  """What a worker says whose state could not be made."""
  if isinstance(error, ValueError):
    return Event('broken', error)
  return Event('broken', ChildProcessError(f'a worker could not start: {type(error).__name__}: {error}'))


class Here:
  """This process, as one worker: no other is started, none can be replaced."""

  count = 1

  def __init__(self, work: Work, make_state: Callable[[], Any], report: Report):
    self._work, self._make_state, self._report = work, make_state, report
    self._state = self._task = None

  def start(self, number: int) -> Any:
    self._state = self._make_state()
    return self

  def give(self, worker: Any, task: Any) -> None:
    self._task = task

  def wait(self, timeout_secs: float) -> Sequence[tuple[Any, Event]]:
    if self._task is None:
      return [(self, Event('ready'))]
    event = attempt(self._work, self._task, self._state, self._report)
    return [(self, Event('failed', event.value) if event.kind == 'died' else event)]

  def end(self, worker: Any) -> None:
    pass


class Processes:
  """Local processes, each pinned to its share of the cores with as many TensorFlow threads: two pinned one-thread
  processes label a quarter faster than one process with two threads (on 2 cores of an EPYC with AVX-512).

  They end with the process that started them, however it ends, and leave Ctrl-C to it.
  """

  def __init__(self, work: Work, make_state: Callable[[], Any], num_workers: int, start_method: str = 'spawn'):
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

  def wait(self, timeout_secs: float) -> Sequence[tuple[Any, Event]]:
    return [(pipe, self._receive(pipe)) for pipe in connection.wait(list(self._workers), timeout_secs)]

  def end(self, worker: Any) -> None:
    process = self._workers.pop(worker)
    worker.close()
    process.kill()
    process.join(1)  # Not for ever: one that waits for a file server dies when that answers.

  def _receive(self, pipe: Any) -> Event:
    try:
      return pipe.recv()
    except (EOFError, ConnectionResetError):
      process = self._workers[pipe]
      process.join(1)
      return Event('died', f'died (exit code {process.exitcode}; if memory ran out, lower --num_workers)')


def local(work: Work, make_state: Callable[[], Any], num_workers: int, report: Report) -> Workers:
  """So many workers on this machine."""
  if num_workers == 1:
    return Here(work, make_state, report)
  return Processes(work, make_state, num_workers)


def _serve(
  pipe: connection.Connection, number: int, work: Work, make_state: Callable[[], Any], num_workers: int
) -> None:
  """A local worker: says what `Event` has, and runs the tasks that it is sent."""
  threading.Thread(target=_end_with_parent, daemon=True).start()
  try:
    _claim_cores(number, num_workers)
    try:
      state = make_state()
    except Exception as error:
      pipe.send(broken(error))
      return
    event = Event('ready')
    while event.kind != 'died':
      pipe.send(event)
      event = attempt(work, pipe.recv(), state, lambda count: pipe.send(Event('report', count)))
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
