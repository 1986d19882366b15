"""Independent tasks handed out to the workers of an engine: `local_workers`, `ray_workers`, or what else is `Workers`.

A task is run by `work(task, state, report)`, where `state = make_state()` is made once in every worker (a loaded model,
say). A task that raises ValueError is set aside, and the others go on. A worker that dies, fails otherwise, or says
nothing for long is replaced, and its task given out once more before that is set aside too.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import os
import statistics
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
  yield from _Dispatch(tasks, workers, progress, alike).run()


class _Dispatch:
  """Hands out tasks to workers, and replaces those that die or hang."""

  def __init__(self, tasks: Sequence[Any], workers: Workers, progress: progress_lib.Progress, alike: bool):
    self._busy: dict[Any, _Assignment] = {}  # By worker.
    self._workers, self._progress, self._alike = workers, progress, alike
    self._waiting = collections.deque(tasks)
    self._seconds: collections.deque = collections.deque(maxlen=_REMEMBERED)  # Of the last tasks.
    self._deaths: collections.Counter = collections.Counter()  # By task; and of workers without their state yet.
    self._failures: collections.Counter = collections.Counter()  # By worker.

  def run(self) -> Iterator[Outcome]:
    try:
      for number in range(min(self._workers.count, len(self._waiting))):
        self._start(number)
      while self._busy:
        for worker, event in self._workers.wait(_HANG_SECS / 20):
          yield from self._take(worker, event)
        yield from self._replace_hanging()
    finally:
      for worker in self._busy:
        self._workers.end(worker)

  def _start(self, number: int) -> None:
    self._busy[self._workers.start(number)] = _Assignment(number)

  def _take(self, worker: Any, event: Event) -> Iterator[Outcome]:
    assignment, (kind, value) = self._busy[worker], event
    assignment.heard = time.monotonic()
    if kind == 'report':
      assignment.reported += value
      self._progress.update(value)
    elif kind == 'broken':
      raise value
    elif kind == 'died':
      yield from self._replace(worker, value)
    else:
      if kind == 'failed':
        self._lost(assignment)
        yield Outcome(assignment.task, problem=value)
      elif kind == 'done':
        self._seconds.append(assignment.heard - assignment.given)
        yield Outcome(assignment.task, value)
      self._give(worker)

  def _give(self, worker: Any) -> None:
    if not self._waiting:
      self._workers.end(worker)
      del self._busy[worker]
      return
    task, now = self._waiting.popleft(), time.monotonic()
    self._busy[worker] = _Assignment(self._busy[worker].number, task, now, now)
    self._workers.give(worker, task)

  def _replace_hanging(self) -> Iterator[Outcome]:
    if not self._seconds or not self._alike:
      return
    longest = max(_HANG_SECS, _HANG_TASKS * statistics.median(self._seconds))
    for worker, assignment in list(self._busy.items()):
      silence = time.monotonic() - assignment.heard
      if assignment.task is not None and silence > longest:
        yield from self._replace(worker, f'said nothing for {silence:.0f} s')

  def _replace(self, worker: Any, reason: str) -> Iterator[Outcome]:
    assignment = self._busy.pop(worker)
    self._workers.end(worker)
    number, task = assignment.number, assignment.task
    logging.error('worker %d %s at %s', number, reason, 'its start' if task is None else task)
    self._lost(assignment)
    died = f'start of worker {number}' if task is None else task
    self._deaths[died] += 1
    if task is not None and self._deaths[task] < _MAX_DEATHS:
      self._waiting.appendleft(task)
    elif task is not None:
      yield Outcome(task, problem=f'its worker {reason}, {_MAX_DEATHS} times')
    elif self._deaths[died] >= _MAX_DEATHS:
      if not self._busy:
        raise ChildProcessError(f'worker {number} {reason} before its first task, {_MAX_DEATHS} times')
      return  # The others go on without it.
    if self._waiting:
      self._start(number)

  def _lost(self, assignment: _Assignment) -> None:
    self._progress.update(-assignment.reported)
    self._failures[assignment.number] += 1
    counts = ', '.join(f'worker {number} {count}' for number, count in sorted(self._failures.items()))
    self._progress.note(f'failures: {counts}')


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
