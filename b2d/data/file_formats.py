"""Files of any supported format → blocks of cells, streamed.

A format is known by the name: .tsv (one header line, no quoting unless asked for), .csv (RFC 4180), .txt (one text a
line, no header), .jsonl, .ndjson, .json (one object a line), .parquet, .tfrecord (tf.Example); each also .gz, and all
but TFRecord also .bz2, .zst and .xz. Shard suffixes (-00000-of-00010) are ignored. Every cell is text, as a CSV file
would have it: what the columns mean is left to `rows`, so no type is guessed.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import functools
import io
import lzma
from typing import Any
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from b2d.data import blocks
from b2d.data import text_formats
from b2d.data import typed_formats

_COMPRESSIONS = {'gz': 'gzip', 'bz2': 'bz2', 'zst': 'zstd'}


def read(
  path: str, columns: Sequence[str], reject: blocks.Reject, tsv_quoting: str = 'check'
) -> Iterator[blocks.Block]:
  """Streams the named columns of a file; files of plain lines have one, whatever its name.

  Args:
    path: of the file; one of 0 bytes has no rows.
    columns: names, each once in the file.
    reject: called for each row that cannot be read; the row is then left out, or the caller's to leave out.
    tsv_quoting: see `text_formats.read_delimited`.

  Raises:
    ValueError: bad input, with file, line (or row), what was expected and found, and the remedy.
  """
  file_format, compression = _split_name(path)
  if tf.io.gfile.stat(path).length == 0:
    return
  try:
    if file_format == 'tfrecord':
      yield from typed_formats.read_tfrecord(path, compression, columns, reject)
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
  """Format and compression ('' for none)."""
  match = blocks.NAME.search(path)
  if not match:
    raise ValueError(
      f'{path}: expected a file named .tsv, .csv, .txt, .jsonl, .parquet or .tfrecord (and '
      '.gz, .bz2, .zst or .xz behind it if compressed); rename it'
    )
  return match[1].rstrip('s'), match[3] or ''


def _open(path: str, compression: str) -> BinaryIO | pa.NativeFile:
  raw: Any = _RawFile(path)
  if compression == 'xz':
    return lzma.open(raw)
  raw = pa.PythonFile(raw, mode='r')
  return pa.CompressedInputStream(raw, _COMPRESSIONS[compression]) if compression else raw


def _reader(file_format: str, compression: str, tsv_quoting: str):
  if file_format == 'parquet':
    return typed_formats.read_compressed_parquet if compression else typed_formats.read_parquet
  if file_format in ('tsv', 'csv'):
    is_tsv = file_format == 'tsv'
    return functools.partial(text_formats.read_delimited, is_tsv=is_tsv, quoting=tsv_quoting if is_tsv else 'csv')
  return text_formats.read_txt if file_format == 'txt' else text_formats.read_json
