"""What the reader of every format gives, and says of a row that it cannot read."""

from collections.abc import Callable
from collections.abc import Sequence
import json
import os
import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from b2d import runs

NAME = re.compile(r'\.(tsv|csv|txt|jsonl|ndjson|json|parquet|tfrecords?)(-\d+-of-\d+)?(?:\.(gz|bz2|zst|xz))?$')
ROWS = 8192  # Rows of a block at most.

Reject = Callable[[int, str], None]  # (number of a row, what is wrong with it).


class Block(NamedTuple):
  """Consecutive rows of one file. Those that were rejected may be among them."""

  numbers: np.ndarray  # int64 [rows], as `where` takes them.
  columns: list[pa.StringArray]  # One [rows] a column.


def where(path: str, number: int) -> str:
  """Names a row in a message: the line where rows are lines, else the row, from 1, header apart."""
  match = NAME.search(path)
  is_line = match and match[1] in ('tsv', 'txt', 'jsonl', 'ndjson', 'json')
  return f'{path}:{number}' if is_line else f'{path}: row {number}'


def strings(numbers: np.ndarray, cells: pa.BinaryArray, reject: Reject) -> pa.StringArray:
  """The cells of a column as text [n]; a row whose cell is not UTF-8 is rejected, and gets a null."""
  try:
    return cells.cast(pa.string())
  except pa.ArrowInvalid:
    return pa.array([_string(*each, reject) for each in zip(numbers.tolist(), cells.to_pylist())], pa.string())


def _string(number: int, cell: bytes | None, reject: Reject) -> str | None:
  try:
    return cell if cell is None else cell.decode('utf-8')
  except UnicodeDecodeError as error:
    reject(number, not_utf8(error.object[error.start : error.end]))
    return None


def not_utf8(found: bytes) -> str:
  """What is wrong with a row in which these bytes are found."""
  return f'expected UTF-8, found the bytes {found!r}; convert the file, e.g. with iconv -f latin1 -t utf-8'


def check_names(path: str, columns: Sequence[str], names: Sequence[str]) -> None:
  """Raises ValueError unless each of the columns asked for is once among the names that the file has."""
  for column in columns:
    if names.count(column) == 1:
      continue
    found = 'it twice in the header' if column in names else ', '.join(repr(name) for name in names)
    remedy = 'rename one of the two' if column in names else 'correct the flag that names it'
    raise ValueError(f'{where(path, 1)}: expected a column {column!r}, found {found}; {remedy}')


class BadRows:
  """What becomes of rows that cannot be read: so many of a run are left out and remembered, the next one is an error.

  A row counts once, however often its file is read.
  """

  def __init__(self, limit: int = 0):
    self._limit = limit
    self._reasons: dict[tuple[str, int], str] = {}

  def __len__(self) -> int:
    return len(self._reasons)

  def reject(self, path: str, number: int, reason: str) -> None:
    """Leaves the row out.

    Raises:
      ValueError: there are more than `limit`.
    """
    if (path, number) in self._reasons:
      return
    if len(self) >= self._limit:
      before = f' ({self._limit} bad rows before it: all that --max_bad_rows lets pass)' if self._limit else ''
      raise ValueError(f'{where(path, number)}: {reason}{before}')
    self._reasons[path, number] = reason

  def is_good(self, path: str, numbers: np.ndarray) -> np.ndarray:
    """bool [n]: which of the rows were not rejected."""
    if not self._reasons:
      return np.ones(len(numbers), bool)
    return np.array([(path, number) not in self._reasons for number in numbers.tolist()], bool)

  def listed(self) -> list[tuple[str, int, str]]:
    """(path, number, reason) of each."""
    return [(path, number, reason) for (path, number), reason in self._reasons.items()]

  def counted(self) -> dict[str, int]:
    """{'bad_rows': how many}, for a run's result; empty where none may be."""
    return {'bad_rows': len(self)} if self._limit else {}

  def write(self, folder: str, append: bool = False) -> None:
    """Writes `rejected.jsonl`, or more of it: file, line (or row) and reason of each; no file where there is none."""
    path = os.path.join(folder, 'rejected.jsonl')
    if self._reasons:
      lines = [
        json.dumps({'file': file, 'where': where(file, number), 'number': number, 'reason': reason})
        for file, number, reason in self.listed()
      ]
      before = ''
      if append and tf.io.gfile.exists(path):
        with tf.io.gfile.GFile(path) as written:
          before = written.read()
      runs.write_text(path, before + '\n'.join(lines) + '\n')
    elif not append and tf.io.gfile.exists(path):  # Of the run that was made again.
      tf.io.gfile.remove(path)
