"""Rows: text files of any supported format → batches of named text columns and labels.

A batch is a dict of numpy arrays of one length n: the texts ('text', or 'query' and 'title';
object arrays of UTF-8 bytes), 'id' (object, bytes), 'label' where a label column is set (float32: a
class index, or a target in [0, 1]; NaN where it is blank), and from soft labels 'logits' (float32 [n, num_teachers,
num_classes]). Where rows are only passed on they stay in the tables that batches are made of, see `batch_of`. How bytes
become cells is in `file_formats`, what a label means in `labels`.
"""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import itertools
from typing import NamedTuple

from absl import logging
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from b2d import config
from b2d.data import blocks
from b2d.data import file_formats
from b2d.data import labels

Batch = dict[str, np.ndarray]


class Source(NamedTuple):
  """Rows of a file."""

  path: str
  name: str  # Of the file, in the ids of its rows.
  span: file_formats.Span | None = None  # None: all of it.


def expand(patterns: Sequence[str]) -> list[str]:
  """Sorted files that the patterns name, each once; a path that is there is that file, whatever signs it holds.

  Raises:
    ValueError: a file is missing, or a pattern matches nothing.
  """
  files = set()
  for pattern in patterns:
    exists = tf.io.gfile.exists(pattern)
    if exists and tf.io.gfile.isdir(pattern):
      raise ValueError(f'{pattern}: expected a file, found a folder; name its files, e.g. {pattern.rstrip("/")}/*.tsv')
    found = [pattern] if exists else [path for path in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(path)]
    if not found:
      what = 'a pattern that matches no file' if set(pattern) & set('*?[') else 'no such file'
      raise ValueError(f'{pattern}: expected a file, found {what}; correct the path')
    files.update(found)
  return sorted(files)


def read(
  paths: Sequence[str],
  schema: config.Schema,
  batch_size: int = 8192,
  scores_columns: Sequence[str] = (),
  bad_rows: blocks.BadRows | None = None,
  keep_columns: Sequence[str] = (),
) -> Iterator[Batch]:
  """Streams the rows of the files in order, as full batches (the last one may be short).

  'id' is the id column, or '<file name>:<line>' ('<file name>:<row>' in CSV, Parquet, TFRecord); of files of one name
  their folders too, as far as they differ.
  With `scores_columns` the batches have these numbers too, as 'scores', float64 [n, columns]; with `keep_columns` these
  cells, under the names that `kept` gives, object [n] of bytes and None.

  Args:
    paths: of the files.
    schema: what their columns are.
    batch_size: rows of a batch.
    scores_columns: columns of numbers.
    bad_rows: takes those that cannot be read; None: up to `schema.max_bad_rows` are left out.
    keep_columns: columns to be passed on as they are.

  Raises:
    ValueError: bad input, with file, line, expected, found and remedy; or there is not one row.
  """
  found = 0
  if bad_rows is None:
    bad_rows = blocks.BadRows(schema.max_bad_rows)
  tables = read_sources(sources(paths), schema, bad_rows, scores_columns, keep_columns)
  for batch in rebatch(map(batch_of, tables), batch_size):
    found += size(batch)
    yield batch
  require_some(found, paths)


def require_some(num_rows: int, paths: Sequence[str]) -> None:
  """Raises ValueError if the files have no rows."""
  if not num_rows:
    raise ValueError(f'{", ".join(paths) or "no files"}: expected rows, found none; name files that have some')


def sources(paths: Sequence[str]) -> list[Source]:
  """The whole of each file; in the ids, files of one name are told apart by the folders in which they differ."""
  parts = [path.split('/') for path in paths]
  by_name = collections.defaultdict(list)
  for each in parts:
    by_name[each[-1]].append(each)
  shared = {  # Leading folders that all files of the name have.
    name: len(list(itertools.takewhile(lambda level: len(set(level)) == 1, zip(*alike)))) if len(alike) > 1 else -1
    for name, alike in by_name.items()
  }
  return [Source(path, '/'.join(each[shared[each[-1]] :])) for path, each in zip(paths, parts)]


def read_sources(
  wanted: Sequence[Source],
  schema: config.Schema,
  bad_rows: blocks.BadRows,
  scores_columns: Sequence[str] = (),
  keep_columns: Sequence[str] = (),
) -> Iterator[pa.Table]:
  """As `read`, of parts of files, as tables of any number of rows, alike; there may be none."""
  columns = list(schema.text_columns)
  columns += [column for column in (schema.id_column, schema.label_column, *scores_columns, *keep_columns) if column]
  columns = list(dict.fromkeys(columns))
  for path, name, span in wanted:
    reject = functools.partial(bad_rows.reject, path)
    for numbers, cells in file_formats.read(path, columns, reject, schema.tsv_quoting, span):
      values = dict(zip(columns, cells))
      if schema.id_column:
        made = {'id': _not_null(numbers, schema.id_column, values[schema.id_column], reject)}
      else:
        made = {'id': pc.binary_join_element_wise(name, pa.array(numbers).cast(pa.string()), ':')}
      for field, column in zip(schema.fields, schema.text_columns):
        made[field] = _texts(numbers, column, values[column], schema.null_text, reject)
      if schema.label_column:
        found = labels.targets(numbers, _cells(values[schema.label_column]), schema, reject)
        made['label'] = pa.array(found, from_pandas=True)  # NaN → null.
      if scores_columns:
        scores = [_scores(numbers, column, _cells(values[column]), reject) for column in scores_columns]
        made['scores'] = pa.FixedSizeListArray.from_arrays(np.stack(scores, axis=1).reshape(-1), len(scores))
      made |= {kept(column): values[column] for column in keep_columns}
      good = bad_rows.is_good(path, numbers)
      yield pa.table(made) if good.all() else pa.table(made).filter(pa.array(good))


def batch_of(table: pa.Table) -> Batch:
  """The rows of a table: a null is None among texts, NaN among numbers; lists are of one length."""
  return {name: _cells(column) for name, column in zip(table.column_names, table.columns)}


def kept(column: str) -> str:
  """Name in a batch of a column that is passed on as it is."""
  return f'column {column}'


def read_labelled(
  paths: Sequence[str], schema: config.Schema, bad_rows: blocks.BadRows | None = None, keep_columns: Sequence[str] = ()
) -> Iterator[Batch]:
  """As `read`, of the rows that have a label.

  Raises:
    ValueError: bad input, or there is not one label.
  """
  num_rows = num_labelled = 0
  for batch in read(paths, schema, bad_rows=bad_rows, keep_columns=keep_columns):
    num_rows += size(batch)
    batch = take(batch, np.flatnonzero(~np.isnan(batch['label'])))
    num_labelled += size(batch)
    if size(batch):
      yield batch
  if not num_labelled:
    raise ValueError(
      f'{", ".join(paths)}: expected labelled rows, found no label in {num_rows} rows; name files that have some'
    )
  if num_labelled < num_rows:
    logging.info('%s: %d rows, %d without a label left out', ', '.join(paths), num_rows, num_rows - num_labelled)


def load_labelled(
  patterns: Sequence[str], schema: config.Schema, bad_rows: blocks.BadRows | None = None
) -> Batch | None:
  """The rows that have a label, all in memory: to measure on again and again. None without patterns.

  Raises:
    ValueError: bad input, as `expand` and `read_labelled`.
  """
  return concatenate(list(read_labelled(expand(patterns), schema, bad_rows))) if patterns else None


def read_column(
  paths: Sequence[str], column: str | None, bad_rows: blocks.BadRows | None = None, tsv_quoting: str = 'check'
) -> Iterator[str]:
  """Streams one column as text; files of plain lines need no name. None: no row may be bad.

  Raises:
    ValueError: bad input, or a file with columns while `column` is None.
  """
  if bad_rows is None:
    bad_rows = blocks.BadRows()
  for path in paths:
    if column is None and not file_formats.is_plain_lines(path):
      raise ValueError(f'{path}: expected the name of a column to read, found none; set it')
    reject = functools.partial(bad_rows.reject, path)
    for block in file_formats.read(path, [column or 'text'], reject, tsv_quoting):
      texts = _texts(block.numbers, column or 'text', block.columns[0], 'error', reject)
      yield from texts.filter(pa.array(bad_rows.is_good(path, block.numbers))).to_pylist()


def count(paths: Sequence[str], schema: config.Schema) -> int:
  """Number of rows in the files, bad ones included: for a progress bar."""
  return sum(file_formats.num_rows(path, schema.text_columns[0], schema.tsv_quoting) for path in paths)


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


def shuffle(
  batches: Iterable[Batch], batch_size: int, window_rows: int, seed: int, group: str = '', windows_before: int = 0
) -> Iterator[Batch]:
  """Permutes within windows of `window_rows` consecutive rows; full batches, the last one short.

  With `group`, the name of a text, rows that share it stand together (in the window) and the
  groups are permuted.
  The order depends on `seed` and the rows alone, not on the sizes of the incoming batches. Without a group it is the
  same if so many windows before are left out of the batches.
  """
  generator = np.random.default_rng(seed)
  for _ in range(windows_before):
    generator.permutation(window_rows)
  windows = rebatch(batches, window_rows)
  permuted = (take(window, _permutation(window, generator, group)) for window in windows)
  yield from rebatch(permuted, batch_size)


def _permutation(window: Batch, generator: np.random.Generator, group: str) -> np.ndarray:
  if not group:
    return generator.permutation(size(window))
  codes, groups = pd.factorize(window[group])
  group_order = generator.permutation(len(groups))
  return np.lexsort((generator.permutation(size(window)), group_order[codes]))


def _cells(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
  """A column as `Batch` has it."""
  if pa.types.is_fixed_size_list(column.type):
    return column.combine_chunks().flatten().to_numpy().reshape(-1, column.type.list_size)
  if pa.types.is_string(column.type):
    column = column.cast(pa.binary())
  return np.asarray(column)


def _not_null(numbers: np.ndarray, column: str, values: pa.StringArray, reject: blocks.Reject) -> pa.StringArray:
  for index in np.flatnonzero(values.is_null()) if values.null_count else ():
    reject(
      int(numbers[index]), f'expected a value in {column!r}, found null, NaN or an infinity; fill it in or drop the row'
    )
  return values


def _texts(
  numbers: np.ndarray, column: str, values: pa.StringArray, null_text: str, reject: blocks.Reject
) -> pa.StringArray:
  for index in np.flatnonzero(pc.match_substring(values, '\0').fill_null(False)):
    reject(int(numbers[index]), f"expected text in {column!r}, found a NUL in it; remove it, e.g. with tr -d '\\000'")
  return values.fill_null('') if null_text == 'empty' else _not_null(numbers, column, values, reject)


def _scores(numbers: np.ndarray, column: str, values: np.ndarray, reject: blocks.Reject) -> np.ndarray:
  """float64 [n], finite where a row is not rejected."""
  found = labels.numbers(values)
  for index in np.flatnonzero(~np.isfinite(found)):
    reject(
      int(numbers[index]),
      f'expected a number in {column!r}, found {labels.shown(values[index])}; correct it or the flag that names it',
    )
  return found
