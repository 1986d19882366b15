"""How far a long piece of work is: a bar on a terminal, elsewhere a line in the log now and then."""

import collections
import time
from typing import Self

from absl import logging
import tqdm

_LINE_SECS = 30.0
_PACE_LINES = 10  # The pace is that of the last five minutes.


class Progress:
  """Counts up to a total; a context, which ends the bar.

  Args:
    total: what there is to do.
    unit: of what, in the plural.
    what: the work, in a word or two.
    done: how much of it was done before.
  """

  def __init__(self, total: int, unit: str, what: str, done: int = 0):
    self._total, self._unit, self._what = total, unit, what
    self._done = done
    # Times and counts of the last lines, at first of the first update: before it graphs are traced, which tells nothing
    # of the rest.
    self._points: collections.deque[tuple[float, int]] = collections.deque(maxlen=_PACE_LINES)
    self._note = ''
    self._bar = tqdm.tqdm(total=total, initial=done, unit=unit, unit_scale=True, desc=what, disable=None)
    self._said = time.monotonic()

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *_) -> None:
    self._bar.close()

  def update(self, count: int = 1) -> None:
    """So much more is done."""
    self._done += count
    self._bar.update(count)
    if not self._points:
      self._points.append((time.monotonic(), self._done))
    if self._bar.disable and time.monotonic() - self._said >= _LINE_SECS:
      self._say()

  def note(self, text: str) -> None:
    """What shall stand behind the numbers from now on."""
    self._note = text
    if not self._bar.disable:
      self._bar.set_postfix_str(text, refresh=False)

  def _say(self) -> None:
    self._said = time.monotonic()
    started, before = self._points[0]
    self._points.append((self._said, self._done))
    pace = 'time left not known yet'
    if self._said > started and self._done > before:
      rate = (self._done - before) / (self._said - started)
      left = (self._total - self._done) / rate
      minutes = round(left / 60)
      time_left = f'{minutes // 60} h {minutes % 60} min' if minutes else 'less than a minute'
      pace = f'{rate:.4g} {self._unit}/s, {time_left} left'
    logging.info(
      '%s: %d of %d %s (%d %%), %s%s',
      self._what,
      self._done,
      self._total,
      self._unit,
      100 * self._done // max(self._total, 1),
      pace,
      f'; {self._note}' if self._note else '',
    )
