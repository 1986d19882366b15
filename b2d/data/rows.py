"""Rows: text files of any supported format → batches of named text columns and labels.

A batch is a dict of numpy arrays of one length n: the texts ('text', or 'query' and 'title';
object arrays of UTF-8 bytes), 'id' (object, bytes), 'label' where a label column is set (float32: a
class index, or a target in [0, 1]), and from soft labels 'logits' (float32 [n, num_teachers,
num_classes]). How bytes become columns is in `file_formats`.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import os

import numpy as np
import pandas as pd
import tensorflow as tf

from b2d import config
from b2d.data import file_formats

Batch = dict[str, np.ndarray]


def expand(patterns: Sequence[str]) -> list[str]:
  """Sorted files that the patterns name, each once.

  Raises:
    ValueError: a file is missing, or a pattern matches nothing.
  """
  files = set()
  for pattern in patterns:
    found = [path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path)]
    if not found and tf.io.gfile.exists(pattern):
      raise ValueError(f'{pattern}: expected a file, found a folder; name its files, e.g. {pattern.rstrip("/")}/*.tsv')
    if not found:
      what = 'a pattern that matches no file' if set(pattern) & set('*?[') else 'no such file'
      raise ValueError(f'{pattern}: expected a file, found {what}; correct the path')
    files.update(found)
  return sorted(files)


def read(
  paths: Sequence[str], schema: config.Schema, batch_size: int = 8192, scores_columns: Sequence[str] = ()
) -> Iterator[Batch]:
  """Streams the rows of the files in order, as full batches (the last one may be short).

  'id' is the id column, or '<file name>:<line>' ('<file name>:<row>' in CSV, Parquet, TFRecord).
  With `scores_columns` the batches have these numbers too, as 'scores', float64 [n, columns].

  Raises:
    ValueError: bad input, with file, line, expected, found and remedy; or there is not one row.
  """
  empty = True
  for batch in rebatch(_read_blocks(paths, schema, scores_columns), batch_size):
    empty = False
    yield batch
  if empty:
    raise ValueError(f'{", ".join(paths) or "no files"}: expected rows, found none; name files that have some')


def read_labelled(patterns: Sequence[str], schema: config.Schema) -> Batch | None:
  """The rows that have a label, all in memory: to measure on again and again. None without patterns.

  Raises:
    ValueError: bad input, as `expand` and `read`.
  """
  if not patterns:
    return None
  batch = concatenate(list(read(expand(patterns), schema)))
  return take(batch, np.flatnonzero(~np.isnan(batch['label'])))


def read_column(paths: Sequence[str], column: str | None) -> Iterator[str]:
  """Streams one column as text; files of plain lines need no name.

  Raises:
    ValueError: bad input, or a file with columns while `column` is None.
  """
  for path in paths:
    if column is None and not file_formats.is_plain_lines(path):
      raise ValueError(f'{path}: expected the name of a column to read, found none; set it')
    for block in file_formats.read(path, [column or 'text']):
      for value in block.columns[0]:
        yield value.decode('utf-8') if isinstance(value, bytes) else str(value)


def count(paths: Sequence[str], schema: config.Schema) -> int:
  """Number of rows in the files."""
  return sum(file_formats.num_rows(path, schema.text_columns[0]) for path in paths)


def size(batch: Batch) -> int:
  """Number of rows in a batch."""
  return len(next(iter(batch.values())))


def take(batch: Batch, indices: np.ndarray | slice) -> Batch:
  """The rows of a batch at `indices`."""
  return {key: values[indices] for key, values in batch.items()}


def concatenate(batches: Sequence[Batch]) -> Batch:
  """One batch of all the rows; the batches have the same keys."""
  if len(batches) == 1:
    return batches[0]
  return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def rebatch(batches: Iterable[Batch], batch_size: int) -> Iterator[Batch]:
  """The same rows in the same order as batches of `batch_size`, the last one short."""
  held, num_held = [], 0
  for batch in batches:
    held.append(batch)
    num_held += size(batch)
    if num_held < batch_size:
      continue
    merged = concatenate(held)
    full = num_held - num_held % batch_size
    for start in range(0, full, batch_size):
      yield take(merged, slice(start, start + batch_size))
    num_held -= full
    held = [take(merged, slice(full, None))] if num_held else []
  if num_held:
    yield concatenate(held)


def shuffle(batches: Iterable[Batch], batch_size: int, window_rows: int, seed: int, group: str = '') -> Iterator[Batch]:
  """Permutes within windows of `window_rows` consecutive rows; full batches, the last one short.

  With `group`, the name of a text, rows that share it stand together (in the window) and the
  groups are permuted.
  The order depends on `seed` and the rows alone, not on the sizes of the incoming batches.
  """
  generator = np.random.default_rng(seed)
  windows = rebatch(batches, window_rows)
  permuted = (take(window, _permutation(window, generator, group)) for window in windows)
  yield from rebatch(permuted, batch_size)


def _permutation(window: Batch, generator: np.random.Generator, group: str) -> np.ndarray:
  if not group:
    return generator.permutation(size(window))
  codes, groups = pd.factorize(window[group])
  group_order = generator.permutation(len(groups))
  return np.lexsort((generator.permutation(size(window)), group_order[codes]))


def _read_blocks(paths, schema, scores_columns) -> Iterator[Batch]:
  columns = list(schema.text_columns)
  columns += [column for column in (schema.id_column, schema.label_column, *scores_columns) if column]
  for path in paths:
    name = os.path.basename(path).encode('utf-8')
    for block in file_formats.read(path, columns):
      values = dict(zip(columns, block.columns))
      batch = {
        field: _texts(path, block.first, column, values[column])
        for field, column in zip(schema.fields, schema.text_columns)
      }
      if schema.id_column:
        batch['id'] = _as_bytes(values[schema.id_column])
      else:
        numbers = range(block.first, block.first + size(batch))
        batch['id'] = np.array([b'%b:%d' % (name, number) for number in numbers], dtype=object)
      if schema.label_column:
        batch['label'] = _targets(path, block.first, values[schema.label_column], schema)
      if scores_columns:
        batch['scores'] = np.stack(
          [_scores(path, block.first, column, values[column]) for column in scores_columns], axis=1
        )
      yield batch


def _as_bytes(values: np.ndarray) -> np.ndarray:
  """Identifiers may be numbers in the file."""
  if values.dtype == object:
    return values
  return np.array([b'%d' % value if value == int(value) else b'%r' % float(value) for value in values], dtype=object)


def _texts(path: str, first: int, column: str, values: np.ndarray) -> np.ndarray:
  if values.dtype != object:
    raise ValueError(
      f'{file_formats.where(path, first)}: expected a text in {column!r}, found the '
      f'number {values[0]:g}; correct --text_columns'
    )
  return values


def _targets(path: str, first: int, values: np.ndarray, schema: config.Schema) -> np.ndarray:
  """Labels as float32: class indices, or grades rescaled to [0, 1]."""
  low, high = schema.label_range or (0, schema.num_classes - 1)
  numbers = _numbers(values)
  wrong = ~((numbers >= low) & (numbers <= high))  # NaN is wrong too.
  if not schema.label_range:
    wrong |= numbers != np.floor(numbers)
  if wrong.any():
    index = int(wrong.argmax())
    found = values[index].decode('utf-8') if values.dtype == object else f'{values[index]:g}'
    expected, remedy = (
      ('a grade', 'set --label_range')
      if schema.label_range
      else ('a class', 'set --num_classes, or --label_range if it is a grade')
    )
    raise ValueError(
      f'{file_formats.where(path, first + index)}: expected {expected} from {low:g} '
      f'to {high:g} in {schema.label_column!r}, found {found!r}; correct it or '
      f'{remedy}'
    )
  return ((numbers - low) / (high - low) if schema.label_range else numbers).astype(np.float32)


def _scores(path: str, first: int, column: str, values: np.ndarray) -> np.ndarray:
  numbers = _numbers(values)
  if not np.isfinite(numbers).all():
    index = int((~np.isfinite(numbers)).argmax())
    raise ValueError(
      f'{file_formats.where(path, first + index)}: expected a number in {column!r}, '
      f'found {values[index]!r}; correct it or --scores_columns'
    )
  return numbers


def _numbers(values: np.ndarray) -> np.ndarray:
  """float64 [n]; NaN where a cell is no number."""
  if values.dtype != object:
    return values
  try:
    return values.astype(np.float64)
  except ValueError:
    return np.array([_number(value) for value in values])


def _number(value: bytes) -> float:
  try:
    return float(value)
  except ValueError:
    return float('nan')
