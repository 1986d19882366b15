"""Files of any supported format → blocks of raw columns, streamed.

A format is known by the name: .tsv (one header line, no quoting), .csv (RFC 4180), .txt (one text a
line, no header), .parquet, .tfrecord (tf.Example); each also .gz, and all but TFRecord also .bz2
and .zst. Shard suffixes (-00000-of-00010) are ignored. What the columns mean is left to `rows`.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import io
import re
import shutil
import tempfile
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import tensorflow as tf

_BLOCK_BYTES = 1 << 22
_BLOCK_ROWS = 8192
_COMPRESSIONS = {'gz': 'gzip', 'bz2': 'bz2', 'zst': 'zstd'}
_NAME = re.compile(r'\.(tsv|csv|txt|parquet|tfrecords?)(-\d+-of-\d+)?(?:\.(gz|bz2|zst))?$')
_REMEDY = 'correct the flag that names it (--text_columns, --id_column, --label_column)'


class Block(NamedTuple):
  """Consecutive rows of one file."""

  first: int  # Number of the first row, as `where` takes it.
  columns: list[np.ndarray]  # One [rows] array a column: object (bytes, valid UTF-8) or numeric.


def read(path: str, columns: Sequence[str]) -> Iterator[Block]:
  """Streams the named columns of a file; files of plain lines have one, whatever its name.

  Raises:
    ValueError: bad input, with file, line (or row), what was expected and found, and the remedy.
  """
  file_format, compression = _split_name(path)
  readers = {'tsv': _read_tsv, 'csv': _read_csv, 'txt': _read_txt, 'parquet': _read_parquet}
  try:
    if file_format == 'tfrecord':
      yield from _read_tfrecord(path, compression, columns)
    else:
      with _open(path, compression) as stream:
        yield from readers[file_format](path, stream, columns)
  except (pa.ArrowInvalid, tf.errors.OpError, OSError) as error:
    message = getattr(error, 'message', str(error)).strip().replace('\n', ' ')
    kind = f'compressed {file_format}' if compression else file_format
    raise ValueError(f'{path}: expected a whole {kind} file, found: {message}; copy or write the file again') from error


def where(path: str, number: int) -> str:
  """Names a row in a message: the line in a TSV or TXT file, else the row, from 1, header apart."""
  return f'{path}:{number}' if _split_name(path)[0] in ('tsv', 'txt') else f'{path}: row {number}'


def num_rows(path: str, column: str) -> int:
  """Counts the rows: Parquet from its metadata, else by one streaming pass over a column."""
  if _split_name(path) == ('parquet', ''):
    return open_parquet(path).metadata.num_rows
  return sum(len(block.columns[0]) for block in read(path, [column]))


def open_parquet(path: str) -> pq.ParquetFile:
  """Opens an uncompressed Parquet file.

  Raises:
    ValueError: it is empty, cut off, or something else.
  """
  try:
    return pq.ParquetFile(_open(path, ''))
  except pa.ArrowInvalid as error:
    raise ValueError(f'{path}: expected a Parquet file, found: {error}; write it again') from error


def is_plain_lines(path: str) -> bool:
  """Whether the file holds one text a line and no named columns."""
  return _split_name(path)[0] == 'txt'


class _RawFile(io.RawIOBase):
  """What pyarrow asks of a file and `GFile` lacks."""

  def __init__(self, path: str):
    self._file = tf.io.gfile.GFile(path, 'rb')

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return True

  def read(self, size: int = -1) -> bytes:
    return self._file.read(size)

  def seek(self, offset: int, whence: int = 0) -> int:
    self._file.seek(offset, whence)
    return self._file.tell()

  def tell(self) -> int:
    return self._file.tell()

  def close(self) -> None:
    self._file.close()
    super().close()


def _split_name(path: str) -> tuple[str, str]:
  match = _NAME.search(path)
  if not match:
    raise ValueError(
      f'{path}: expected a file named .tsv, .csv, .txt, .parquet or .tfrecord (and '
      '.gz, .bz2 or .zst behind it if compressed); rename it'
    )
  return match[1].rstrip('s'), match[3] or ''


def _open(path: str, compression: str) -> pa.NativeFile:
  with tf.io.gfile.GFile(path, 'rb') as file:
    if not file.read(1):
      raise ValueError(f'{path}: expected rows, found an empty file; remove it or write it again')
  raw = pa.PythonFile(_RawFile(path), mode='r')
  return pa.CompressedInputStream(raw, _COMPRESSIONS[compression]) if compression else raw


def _missing(path: str, column: str, names: Sequence[str]) -> ValueError:
  found = ', '.join(repr(name) for name in names)
  return ValueError(f'{where(path, 1)}: expected a column {column!r}, found {found}; {_REMEDY}')


def _lines(path: str, stream: pa.NativeFile) -> Iterator[tuple[int, bytes]]:
  """Blocks of whole lines, each ended by a newline, with the number of their first line."""
  line = 1
  for block in _whole_lines(stream):
    if line == 1:
      block = block.removeprefix(b'\xef\xbb\xbf')
    block = block.replace(b'\r\n', b'\n')
    _check_utf8(path, line, block)
    yield line, block
    line += block.count(b'\n')


def _whole_lines(stream: pa.NativeFile) -> Iterator[bytes]:
  rest = b''
  while data := stream.read(_BLOCK_BYTES):
    head, newline, rest = (rest + data).rpartition(b'\n')
    if newline:
      yield head + newline
  if rest:
    yield rest + b'\n'


def _check_utf8(path: str, line: int, block: bytes) -> None:
  try:
    block.decode('utf-8')
  except UnicodeDecodeError as error:
    line += block.count(b'\n', 0, error.start)
    raise _invalid_utf8(path, line, block[error.start : error.end]) from error


def _invalid_utf8(path: str, number: int, found: bytes) -> ValueError:
  return ValueError(
    f'{where(path, number)}: expected UTF-8, found the bytes {found!r}; convert '
    'the file, e.g. with iconv -f latin1 -t utf-8'
  )


def _objects(values: list[bytes]) -> np.ndarray:
  array = np.empty(len(values), dtype=object)
  array[:] = values
  return array


def _read_txt(path: str, stream: pa.NativeFile, columns: Sequence[str]) -> Iterator[Block]:
  if len(columns) != 1:
    raise ValueError(
      f'{path}: expected one column, a text a line, was asked for '
      f'{", ".join(columns)}; give --text_columns one name and clear --id_column '
      'and --label_column, or use a .tsv file'
    )
  for line, block in _lines(path, stream):
    yield Block(line, [_objects(block[:-1].split(b'\n'))])


def _read_tsv(path: str, stream: pa.NativeFile, columns: Sequence[str]) -> Iterator[Block]:
  names = []
  for line, block in _lines(path, stream):
    if not names:
      header, _, block = block.partition(b'\n')
      names = header.decode('utf-8').split('\t')
      for column in columns:
        if column not in names:
          raise _missing(path, column, names)
      line += 1
    if not block:
      continue
    _check_columns(path, line, block, len(names))
    cells = block.replace(b'\n', b'\t').split(b'\t')
    cells.pop()  # What follows the last newline.
    yield Block(line, [_objects(cells[names.index(column) :: len(names)]) for column in columns])


def _check_columns(path: str, line: int, block: bytes, expected: int) -> None:
  """Checks that every `expected`-th separator, and no other, is a newline."""
  characters = np.frombuffer(block, dtype=np.uint8)
  is_newline = characters[(characters == ord('\t')) | (characters == ord('\n'))] == ord('\n')
  if is_newline.size % expected == 0:
    is_newline = is_newline.reshape(-1, expected)
    if is_newline[:, -1].all() and is_newline.sum() == len(is_newline):
      return
  for number, row in enumerate(block.split(b'\n'), line):
    found = row.count(b'\t') + 1
    if found != expected:
      raise ValueError(
        f'{path}:{number}: expected {expected} columns as in the header, found '
        f'{found}; columns are parted by tabs, without quoting: correct the line'
      )


def _arrow_column(path: str, name: str, first: int, array: pa.Array) -> np.ndarray:
  """Numbers as float64, strings as bytes that are valid UTF-8; nulls are errors."""
  if pa.types.is_dictionary(array.type):
    array = array.dictionary_decode()
  if array.null_count:
    number = first + pc.index(array.is_null(), True).as_py()
    raise ValueError(f'{where(path, number)}: expected a value in {name!r}, found null; fill it in or drop the row')
  types = pa.types
  if types.is_integer(array.type) or types.is_floating(array.type) or types.is_boolean(array.type):
    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
  try:
    array = array.cast(pa.large_binary())
  except pa.ArrowNotImplementedError as error:
    raise ValueError(f'{path}: expected strings or numbers in {name!r}, found {array.type}; {_REMEDY}') from error
  values = array.to_numpy(zero_copy_only=False)
  try:
    array.cast(pa.large_string())
  except pa.ArrowInvalid as error:
    for number, value in enumerate(values, first):
      _check_utf8_value(path, number, value)
    raise error
  return values


def _arrow_block(path: str, first: int, batch: pa.RecordBatch, columns: Sequence[str]) -> Block:
  return Block(first, [_arrow_column(path, name, first, batch.column(name)) for name in columns])


def _check_utf8_value(path: str, number: int, value: bytes) -> None:
  try:
    value.decode('utf-8')
  except UnicodeDecodeError as error:
    raise _invalid_utf8(path, number, value[error.start : error.end]) from error


def _read_csv(path: str, stream: pa.NativeFile, columns: Sequence[str]) -> Iterator[Block]:
  wrong = []

  def note(row: pa_csv.InvalidRow) -> str:
    wrong.append(row)
    return 'error'

  reading = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
  parsing = pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
  converting = pa_csv.ConvertOptions(column_types={name: pa.binary() for name in columns})
  try:
    reader = pa_csv.open_csv(stream, reading, parsing, converting)
    for column in columns:
      if column not in reader.schema.names:
        raise _missing(path, column, reader.schema.names)
    first = 1
    for batch in reader:
      yield _arrow_block(path, first, batch, columns)
      first += batch.num_rows
  except pa.ArrowInvalid as error:
    if not wrong:
      raise
    number = wrong[0].number - 1  # pyarrow counts the header.
    raise ValueError(
      f'{where(path, number)}: expected {wrong[0].expected_columns} columns as in '
      f'the header, found {wrong[0].actual_columns}; quote cells with '
      'commas'
    ) from error


def _read_parquet(path: str, stream: pa.NativeFile, columns: Sequence[str]) -> Iterator[Block]:
  if isinstance(stream, pa.CompressedInputStream):  # Parquet is read from its end.
    with tempfile.TemporaryFile() as whole:
      shutil.copyfileobj(stream, whole)
      yield from _read_parquet(path, pa.PythonFile(whole, mode='r'), columns)
      return
  file = pq.ParquetFile(stream)
  for column in columns:
    if column not in file.schema_arrow.names:
      raise _missing(path, column, file.schema_arrow.names)
  first = 1
  for group in range(file.num_row_groups):
    try:
      for batch in file.iter_batches(_BLOCK_ROWS, row_groups=[group], columns=list(columns)):
        yield _arrow_block(path, first, batch, columns)
        first += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
      raise ValueError(
        f'{path}: row group {group}: expected to read it, found: {error}; write the file again'
      ) from error


def _read_tfrecord(path: str, compression: str, columns: Sequence[str]) -> Iterator[Block]:
  if compression not in ('', 'gz'):
    raise ValueError(f'{path}: expected TFRecord plain or .gz, found .{compression}; use gzip')
  dataset = tf.data.TFRecordDataset(path, 'GZIP' if compression else '')
  first, features = 1, {}
  for records in dataset.batch(_BLOCK_ROWS).as_numpy_iterator():
    if not features:
      features = {name: _feature(path, name, records[0]) for name in columns}
    try:
      parsed = tf.io.parse_example(records, features)
    except tf.errors.InvalidArgumentError as error:
      raise _bad_example(path, first, records, features) from error
    arrays = [pa.array(parsed[name].numpy()) for name in columns]
    yield _arrow_block(path, first, pa.record_batch(arrays, list(columns)), columns)
    first += len(records)
  if first == 1:
    raise ValueError(f'{path}: expected rows, found an empty file; remove it or write it again')


def _feature(path: str, name: str, record: bytes) -> tf.io.FixedLenFeature:
  """The type of a feature as the first record has it."""
  example = tf.train.Example.FromString(record)
  features = example.features.feature
  kind = features[name].WhichOneof('kind') if name in features else None
  if kind is None:
    raise _missing(path, name, sorted(features))
  types = {'bytes_list': tf.string, 'int64_list': tf.int64, 'float_list': tf.float32}
  return tf.io.FixedLenFeature([], types[kind])


def _bad_example(path, first, records, features) -> ValueError:
  """Finds the record that `parse_example` refuses."""
  for number, record in enumerate(records, first):
    try:
      tf.io.parse_single_example(record, features)
    except tf.errors.InvalidArgumentError as error:
      wanted = ', '.join(f'{name} ({feature.dtype.name})' for name, feature in features.items())
      return ValueError(
        f'{where(path, number)}: expected one value each of {wanted}, found: '
        f'{error.message}; write all records with the features of the first'
      )
  return ValueError(f'{path}: rows from {first} cannot be parsed; write the file again')
