"""Files of typed columns → blocks of cells, each as text: Parquet and TFRecord.

A number is what it would be in a CSV file, exactly: integers of any width by their digits, a float that is whole
like an integer, else by the shortest decimals; NaN and infinities are nulls.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import shutil
import tempfile
from typing import Any

from google.protobuf import message
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from b2d.data import blocks

_TYPES: dict[str | None, tf.DType] = {'bytes_list': tf.string, 'int64_list': tf.int64, 'float_list': tf.float32}


def read_parquet(
  path: str,
  stream: pa.NativeFile,
  columns: Sequence[str],
  reject: blocks.Reject,
  groups: Sequence[int] | None = None,
  before: int = 0,
) -> Iterator[blocks.Block]:
  """Reads the columns, a row group at a time: of all, or of `groups`, before which are so many rows.

  Raises:
    ValueError: there are no such columns, or they are neither text nor numbers; a row group cannot be read.
  """
  file = pq.ParquetFile(stream)
  blocks.check_names(path, columns, file.schema_arrow.names)
  first = before + 1
  for group in range(file.num_row_groups) if groups is None else groups:
    try:
      for batch in file.iter_batches(blocks.ROWS, row_groups=[group], columns=list(columns)):
        yield _block(path, np.arange(first, first + len(batch)), columns, batch.columns, batch.schema.names, reject)
        first += len(batch)
    except (pa.ArrowInvalid, OSError) as error:
      raise ValueError(
        f'{path}: row group {group}: expected to read it, found: {error}; write the file again'
      ) from error


def read_compressed_parquet(
  path: str, stream: pa.NativeFile, columns: Sequence[str], reject: blocks.Reject
) -> Iterator[blocks.Block]:
  """As `read_parquet`, of a stream that has no end to start from."""
  with tempfile.TemporaryFile() as whole:
    shutil.copyfileobj(stream, whole)
    yield from read_parquet(path, pa.PythonFile(whole, mode='r'), columns, reject)


def read_tfrecord(path: str, compression: str, columns: Sequence[str], reject: blocks.Reject) -> Iterator[blocks.Block]:
  """Reads tf.Examples, with one value a feature, of the types that the first one has.

  Raises:
    ValueError: the first one has not the features, or the file is compressed otherwise than by gzip.
  """
  if compression not in ('', 'gz'):
    raise ValueError(f'{path}: expected TFRecord plain or .gz, found .{compression}; use gzip')
  dataset = tf.data.TFRecordDataset(path, 'GZIP' if compression else '')
  first = 1
  features: dict[str, Any] = {}
  for records in dataset.batch(blocks.ROWS).as_numpy_iterator():
    numbers = np.arange(first, first + len(records))
    first += len(records)
    features = features or _features(path, numbers, records, columns, reject)
    try:
      parsed = tf.io.parse_example(records, features) if features else {}
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # Of the message, which quotes the record.
      good = _parsable(numbers, records, features, reject)
      numbers = numbers[good]
      parsed = tf.io.parse_example(records[good], features) if good.any() else {}
    if parsed:
      yield _block(path, numbers, columns, [pa.array(parsed[name].numpy()) for name in columns], columns, reject)


def _block(path, numbers, columns, arrays, names, reject) -> blocks.Block:
  by_name = dict(zip(names, arrays))
  return blocks.Block(numbers, [_cells(path, numbers, column, by_name[column], reject) for column in columns])


def _cells(path: str, numbers: np.ndarray, column: str, array: pa.Array, reject: blocks.Reject) -> pa.StringArray:
  if pa.types.is_dictionary(array.type):
    array = array.dictionary_decode()
  if pa.types.is_floating(array.type):
    return _float_cells(array)
  try:
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
      array = array.cast(pa.string())
  except pa.ArrowNotImplementedError as error:
    raise ValueError(
      f'{path}: expected strings or numbers in {column!r}, found {array.type}; correct the flag that names it'
    ) from error
  return blocks.strings(numbers, array.cast(pa.binary()), reject)  # What a file calls a string may be no UTF-8.


def _float_cells(array: pa.Array) -> pa.StringArray:
  finite = pc.fill_null(pc.is_finite(array), False).to_numpy(zero_copy_only=False)
  values = array.to_numpy(zero_copy_only=False)
  cells = np.empty(len(values), dtype=object)
  cells[finite] = [str(value).removesuffix('.0') for value in values[finite]]  # Shortest that gives it back.
  return pa.array(cells, pa.string())


def _features(path, numbers, records, columns, reject) -> dict[str, tf.io.FixedLenFeature]:
  """The types of the features as the first tf.Example has them; none if no record is one."""
  for number, record in zip(numbers.tolist(), records):
    kinds = _kinds(number, record, reject)
    if kinds is not None:
      blocks.check_names(path, columns, sorted(name for name, (kind, _) in kinds.items() if kind))
      return {name: tf.io.FixedLenFeature([], _TYPES[kinds[name][0]]) for name in columns}
  return {}


def _kinds(number: int, record: bytes, reject: blocks.Reject) -> dict[str, tuple[str | None, int]] | None:
  """Kind and number of values of each feature; None where the record, rejected, is no tf.Example."""
  try:
    features = tf.train.Example.FromString(record).features.feature
  except message.DecodeError:
    reject(number, f'expected a tf.Example, found {record[:40]!r}; write tf.Examples')
    return None
  kinds = {name: feature.WhichOneof('kind') for name, feature in features.items()}
  return {name: (kind, len(getattr(features[name], kind).value) if kind else 0) for name, kind in kinds.items()}


def _parsable(numbers, records, features, reject) -> np.ndarray:
  """bool [n]: which records `parse_example` takes; the others are rejected."""
  good = np.zeros(len(records), bool)
  for index, (number, record) in enumerate(zip(numbers.tolist(), records)):
    kinds = _kinds(number, record, reject)
    if kinds is None:
      continue
    for name, feature in features.items():
      kind, length = kinds.get(name, (None, 0))
      if length != 1 or _TYPES[kind] != feature.dtype:
        found = f'{length} of {_TYPES[kind].name}' if kind else 'none'
        reject(
          number,
          f'expected one value of {feature.dtype.name} in {name!r}, as in the first record, found {found}; write all '
          'records alike',
        )
        break
    else:
      good[index] = True
  return good
