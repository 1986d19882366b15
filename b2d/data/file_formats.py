"""Files of any supported format → blocks of cells, streamed.

A format is known by the name: .tsv (one header line, no quoting unless asked for), .csv (RFC 4180), .txt (one text a
line, no header), .jsonl, .ndjson, .json (one object a line), .parquet, .tfrecord (tf.Example); each also .gz, and all
but TFRecord also .bz2, .zst and .xz. Shard suffixes (-00000-of-00010) are ignored. Every cell is text, as a CSV file
would have it: what the columns mean is left to `rows`, so no type is guessed.
"""

import codecs
from collections.abc import Iterator
from collections.abc import Sequence
import functools
import io
import lzma
from typing import Any
from typing import BinaryIO
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from b2d.data import blocks
from b2d.data import text_formats
from b2d.data import typed_formats

_COMPRESSIONS = {'gz': 'gzip', 'bz2': 'bz2', 'zst': 'zstd'}


class Span(NamedTuple):
  """Consecutive rows that can be read without those before them: lines from byte to byte, or row groups of Parquet."""

  start: int
  stop: int
  before: int  # Lines, or rows, before it.


def spans(path: str, max_bytes: int, tsv_quoting: str = 'check') -> list[Span | None]:
  """Parts of a file of about `max_bytes`, in order; [None] where it is smaller, or can only be read from its start.

  Raises:
    ValueError: the name has no format that is known, or what is named Parquet is none.
  """
  file_format, compression = _split_name(path)
  length = tf.io.gfile.stat(path).length
  quoted = file_format == 'csv' or file_format == 'tsv' and tsv_quoting == 'csv'
  if length <= max_bytes or compression or quoted or file_format == 'tfrecord':
    return [None]
  found: list[Span | None] = []
  if file_format == 'parquet':
    metadata = open_parquet(path).metadata
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    step = max(1, len(sizes) * max_bytes // length)
    for start in range(0, len(sizes), step):
      found.append(Span(start, min(start + step, len(sizes)), sum(sizes[:start])))
    return found
  with RawFile(path) as file:
    start, before = (len(file.readline()), 1) if file_format == 'tsv' else (0, 0)
    size = max_bytes
    while start < length:
      file.seek(start)
      text = file.read(size)
      num_bytes = len(text) if start + size >= length else text.rfind(b'\n') + 1
      if not num_bytes:  # A longer line.
        size *= 2
        continue
      found.append(Span(start, start + num_bytes, before))
      start, before = start + num_bytes, before + text.count(b'\n', 0, num_bytes)
      size = max_bytes
  return found


def read(
  path: str, columns: Sequence[str], reject: blocks.Reject, tsv_quoting: str = 'check', span: Span | None = None
) -> Iterator[blocks.Block]:
  """Streams the named columns of a file; files of plain lines have one, whatever its name.

  Args:
    path: of the file; one of 0 bytes has no rows.
    columns: names, each once in the file.
    reject: called for each row that cannot be read; the row is then left out, or the caller's to leave out.
    tsv_quoting: see `text_formats.read_delimited`.
    span: the rows to read, one of `spans`; None: all.

  Raises:
    ValueError: bad input, with file, line (or row), what was expected and found, and the remedy.
  """
  file_format, compression = _split_name(path)
  if tf.io.gfile.stat(path).length == 0:
    return
  try:
    if file_format == 'tfrecord':
      yield from typed_formats.read_tfrecord(path, compression, columns, reject)
    elif span and file_format == 'parquet':
      with _open(path, '') as stream:
        groups = range(span.start, span.stop)
        yield from typed_formats.read_parquet(path, stream, columns, reject, groups, span.before)
    elif span:
      shift = span.before - (file_format == 'tsv')  # Whose header stands before the lines.
      reader, stream = _reader(file_format, '', tsv_quoting), _lines(path, span, file_format)
      for block in reader(path, stream, columns, lambda number, reason: reject(number + shift, reason)):
        yield block._replace(numbers=block.numbers + shift)
    else:
      with _open(path, compression) as stream:
        yield from _reader(file_format, compression, tsv_quoting)(path, stream, columns, reject)
  except (pa.ArrowInvalid, tf.errors.OpError, OSError, EOFError, lzma.LZMAError) as error:
    message = getattr(error, 'message', str(error)).strip().replace('\n', ' ')
    kind = f'compressed {file_format}' if compression else file_format
    raise ValueError(f'{path}: expected a whole {kind} file, found: {message}; copy or write the file again') from error


def num_rows(path: str, column: str, tsv_quoting: str = 'check') -> int:
  """Counts the rows, bad ones included: Parquet from its metadata, else by one streaming pass over a column."""
  if _split_name(path) == ('parquet', '') and tf.io.gfile.stat(path).length:
    return open_parquet(path).metadata.num_rows
  found = read(path, [column], lambda number, reason: None, tsv_quoting)
  return sum(len(block.numbers) for block in found)


def open_parquet(path: str, **options: bool) -> pq.ParquetFile:
  """Opens an uncompressed Parquet file, with options of `pq.ParquetFile`.

  Raises:
    ValueError: it is empty, cut off, or something else.
  """
  try:
    return pq.ParquetFile(_open(path, ''), **options)
  except (pa.ArrowException, OSError) as error:
    raise ValueError(f'{path}: expected a Parquet file, found: {error}; write it again') from error


def is_plain_lines(path: str) -> bool:
  """Whether the file holds one text a line and no named columns."""
  return _split_name(path)[0] == 'txt'


class RawFile(io.RawIOBase):
  """What pyarrow asks of a file and `GFile` lacks."""

  def __init__(self, path: str, mode: str = 'rb'):
    self._file, self._mode = tf.io.gfile.GFile(path, mode), mode

  def readable(self) -> bool:
    return self._mode == 'rb'

  def writable(self) -> bool:
    return self._mode == 'wb'

  def seekable(self) -> bool:
    return True

  def read(self, size: int = -1) -> bytes:
    return self._file.read(size)

  def write(self, content: Any) -> int:
    self._file.write(bytes(content))
    return len(content)

  def seek(self, offset: int, whence: int = 0) -> int:
    self._file.seek(offset, whence)
    return self._file.tell()

  def tell(self) -> int:
    return self._file.tell()

  def close(self) -> None:
    self._file.close()
    super().close()


def _split_name(path: str) -> tuple[str, str]:
  """Format and compression ('' for none)."""
  match = blocks.NAME.search(path)
  if not match:
    raise ValueError(
      f'{path}: expected a file named .tsv, .csv, .txt, .jsonl, .parquet or .tfrecord (and '
      '.gz, .bz2, .zst or .xz behind it if compressed); rename it'
    )
  return match[1].rstrip('s'), match[3] or ''


def _open(path: str, compression: str) -> BinaryIO | pa.NativeFile:
  raw: Any = RawFile(path)
  if compression == 'xz':
    return lzma.open(raw)
  raw = pa.PythonFile(raw, mode='r')
  return pa.CompressedInputStream(raw, _COMPRESSIONS[compression]) if compression else raw


def _lines(path: str, span: Span, file_format: str) -> BinaryIO:
  """The lines of a span, behind the file's header, or behind a byte order mark: of two the reader drops but one."""
  with RawFile(path) as file:
    begin = file.readline() if file_format == 'tsv' else codecs.BOM_UTF8 if span.start else b''
    file.seek(span.start)
    return io.BytesIO(begin + file.read(span.stop - span.start))


def _reader(file_format: str, compression: str, tsv_quoting: str):
  if file_format == 'parquet':
    return typed_formats.read_compressed_parquet if compression else typed_formats.read_parquet
  if file_format in ('tsv', 'csv'):
    is_tsv = file_format == 'tsv'
    return functools.partial(text_formats.read_delimited, is_tsv=is_tsv, quoting=tsv_quoting if is_tsv else 'csv')
  return text_formats.read_txt if file_format == 'txt' else text_formats.read_json
