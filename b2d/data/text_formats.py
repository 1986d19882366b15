"""Files of lines → blocks of cells: TSV, CSV, plain lines, JSON Lines.

Lines end at LF or CR LF and nowhere else. Cells of columns that nobody asked for are not looked at, whatever
they hold.
"""

import codecs
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import csv
import functools
import itertools
import json
import re
from typing import Any
from typing import BinaryIO
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from b2d.data import blocks

_CHUNK_BYTES = 1 << 20  # Read at a time.
_MAX_CELL = 1 << 22  # Characters: a quote that is open for longer was never closed.
_MAX_BROKEN_LINES = 50  # Of a quoted cell that is looked for where none should be: further apart quotes are text.
_DELIMITERS = {',': 'commas', '\t': 'tabs', ';': 'semicolons'}
_CSV_REMEDIES = {
  'expected after': (
    'a comma or the end of the line after a closing quote',
    "double the quotes inside a cell (Spark: .option('escape', '\"'))",
  ),
  'new-line character': ('no carriage return outside quotes', 'quote the cell'),
  'unexpected end': ('a closing quote', 'close it, or double a quote that belongs to the text'),
  'field larger': (f'a cell of at most {_MAX_CELL} characters', 'close its quote, or double one that belongs to it'),
}
_SURROGATES = re.compile('[\ud800-\udfff]')
_HALF_A_CHARACTER = re.compile(r'\\u[dD][89a-fA-F]')  # As JSON escapes it.

Row = tuple[int, Any]  # Its number and its cells.


class _Lines(NamedTuple):
  """Consecutive lines."""

  numbers: np.ndarray  # int64 [n], from 1.
  texts: pa.BinaryArray  # [n], without their ends.


def read_txt(path: str, stream: BinaryIO, columns: Sequence[str], reject: blocks.Reject) -> Iterator[blocks.Block]:
  """Reads one text a line.

  Raises:
    ValueError: other than one column is asked for.
  """
  if len(columns) != 1:
    raise ValueError(
      f'{path}: expected one column, a text a line, was asked for {", ".join(columns)}; give --text_columns one name '
      'and clear --id_column and --label_column, or use a .tsv file'
    )
  for numbers, texts in _lines(path, stream):
    yield blocks.Block(numbers, [blocks.strings(numbers, texts, reject)])


def read_delimited(
  path: str, stream: BinaryIO, columns: Sequence[str], reject: blocks.Reject, *, is_tsv: bool, quoting: str
) -> Iterator[blocks.Block]:
  """Reads a header line and rows of cells.

  Blank lines are skipped, save in a TSV of one column, where they are empty texts.

  Args:
    path: for messages.
    stream: of bytes.
    columns: the ones to read.
    reject: called for each bad row.
    is_tsv: whether tabs part the cells, and not commas.
    quoting: 'csv' by RFC 4180; for TSV also 'none', and 'check': as none, but a cell that looks quoted is bad.

  Raises:
    ValueError: the header has not the columns.
  """
  if quoting != 'csv':
    yield from _read_unquoted(path, stream, columns, reject, quoting == 'check')
    return
  lines = _decoded(path, stream)
  head = next(lines, None)
  if head is None:
    return
  delimiter = '\t' if is_tsv else ','
  records = _quoted(itertools.chain([head], lines), delimiter, is_tsv, reject)
  try:
    _, names = next(records)
  except csv.Error as error:
    _check_format(path, head, is_tsv)
    raise ValueError(f'{path}:1: {_broken(str(error), delimiter)}') from error
  places = _places(path, head, names, columns, is_tsv=is_tsv, quoting=quoting)
  yield from _blocks(_of_header(records, len(names), is_tsv, reject), places, reject)


def _read_unquoted(path, stream, columns, reject, check_quotes) -> Iterator[blocks.Block]:
  """Of a TSV the cells between the tabs."""
  width, places = 0, []
  for numbers, lines in _lines(path, stream):
    if not width:
      head = _decode(lines[0].as_py())
      names = head.split('\t')
      width, places = len(names), _places(path, head, names, columns, is_tsv=True, quoting='none')
      numbers, lines = numbers[1:], lines[1:]
    cells = pc.split_pattern(lines, '\t')
    lengths = pc.list_value_length(cells).to_numpy()
    good = lengths == width
    for index in np.flatnonzero(~good & (pc.binary_length(lines).to_numpy() > 0)):
      reject(int(numbers[index]), _wrong_length(width, lengths[index], is_tsv=True))
    if not good.all():
      numbers, cells = numbers[good], cells.filter(pa.array(good))
    cells = cells.flatten()
    if check_quotes:
      _check_unquoted(np.repeat(numbers, width), cells, reject)
      if width == 1:  # In a broken cell of several columns the number of cells tells.
        _check_unbroken(numbers, cells, reject)
    chosen = [cells.take(pa.array(np.arange(place, len(cells), width))) for place in places]
    yield blocks.Block(numbers, [blocks.strings(numbers, column, reject) for column in chosen])


def read_json(path: str, stream: BinaryIO, columns: Sequence[str], reject: blocks.Reject) -> Iterator[blocks.Block]:
  """Reads one JSON object a line; 'a.b' is the key b of the object under a. Numbers are read as they are written."""
  decode = functools.partial(
    json.loads, parse_int=str, parse_float=str, parse_constant=lambda name: None if name == 'NaN' else name
  )
  rows = (
    (number, _fields(number, line, columns, decode, reject))
    for number, line in enumerate(_decoded(path, stream), 1)
    if line.strip()
  )
  yield from _blocks((row for row in rows if row[1] is not None), range(len(columns)), reject)


def _lines(path: str, stream: BinaryIO) -> Iterator[_Lines]:
  """All lines, some of them at a time."""
  first, rest, more = 1, b'', b'\n'
  while more:
    # Twice as much as before where a line has not ended yet: a long one would be copied at every chunk.
    more = stream.read(max(_CHUNK_BYTES, len(rest)))
    text = rest + more
    length = text.rfind(b'\n') + 1 if more else len(text)  # The last line may have no end.
    whole, rest = text[:length], text[length:]
    if first == 1:
      if whole.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f'{path}:1: expected UTF-8, found UTF-16; convert the file with iconv -f utf-16 -t utf-8')
      whole = whole.removeprefix(codecs.BOM_UTF8)
    if whole:
      whole = whole.removesuffix(b'\n')
      if b'\r' in whole:  # Looking for both takes 0.2 µs a line, for one next to nothing.
        whole = whole.replace(b'\r\n', b'\n').removesuffix(b'\r')
      texts = pc.split_pattern(pa.array([whole]), '\n').values
      yield _Lines(np.arange(first, first + len(texts)), texts)
      first += len(texts)


def _decoded(path: str, stream: BinaryIO) -> Iterator[str]:
  """All lines; bytes that are not UTF-8 become lone surrogates."""
  for _, texts in _lines(path, stream):
    yield from map(_decode, texts.to_pylist())


def _decode(line: bytes) -> str:
  return line.decode('utf-8', 'surrogateescape')


def _blocks(rows: Iterable[Row], places: Sequence[int], reject: blocks.Reject) -> Iterator[blocks.Block]:
  """The cells at `places` of the rows, by columns."""
  numbers: list[int] = []
  columns: list[list[str | None]] = [[] for _ in places]
  adders = [(place, column.append) for place, column in zip(places, columns)]
  for number, cells in rows:  # Holding the rows themselves would keep the garbage collector busy.
    numbers.append(number)
    for place, add in adders:
      add(cells[place])
    if len(numbers) == blocks.ROWS:
      yield blocks.Block(np.array(numbers), [_encode(numbers, column, reject) for column in columns])
      numbers.clear()
      for column in columns:
        column.clear()
  if numbers:
    yield blocks.Block(np.array(numbers), [_encode(numbers, column, reject) for column in columns])


def _encode(numbers: Sequence[int], cells: Sequence[str | None], reject: blocks.Reject) -> pa.StringArray:
  """A row with a cell that has lone surrogates is rejected, and gets a null."""
  try:
    return pa.array(cells, pa.string())
  except UnicodeEncodeError:
    return pa.array([_encodable(*each, reject) for each in zip(numbers, cells)], pa.string())


def _encodable(number: int, cell: str | None, reject: blocks.Reject) -> str | None:
  try:
    (cell or '').encode()
    return cell
  except UnicodeEncodeError as error:
    reject(number, blocks.not_utf8(_surrogates(error)))
    return None


def _surrogates(error: UnicodeEncodeError) -> bytes:
  """The bytes that they stand for."""
  return bytes(ord(character) & 0xFF for character in error.object[error.start : error.end])


def _places(
  path: str, head: str, names: Sequence[str], columns: Sequence[str], *, is_tsv: bool, quoting: str
) -> list[int]:
  """Where in a header the columns stand; `head` is its first line as it is.

  Raises:
    ValueError: not each of them does, once; or the header is that of another format.
  """
  for name in names:
    try:
      name.encode()
    except UnicodeEncodeError as error:
      raise ValueError(f'{path}:1: {blocks.not_utf8(_surrogates(error))}') from error
  is_quoted = not is_tsv or quoting == 'csv'
  if not all(column in names for column in columns) or '\r' in head and not is_quoted:
    _check_format(path, head, is_tsv)
  if not is_quoted and columns[0] not in names and any(name.startswith('"') for name in names):
    raise ValueError(f'{path}:1: expected column names, found {", ".join(names)}, quoted; set --tsv_quoting=csv')
  blocks.check_names(path, columns, names)
  return [names.index(column) for column in columns]


def _check_format(path: str, head: str, is_tsv: bool) -> None:
  """Says of a header that cannot be read whether its line ends, or most of its delimiters, are those of another format.

  Raises:
    ValueError: they are.
  """
  if '\r' in head:
    raise ValueError(
      f"{path}:1: expected lines that end at LF or CR LF, found CR alone; convert them, e.g. with tr '\\r' '\\n'"
    )
  expected = '\t' if is_tsv else ','
  found = max((expected, *'\t,;'), key=head.count)  # Of as many the expected one.
  if found != expected:
    remedies = {
      ',': 'rename the file to .csv',
      '\t': 'rename the file to .tsv, and set --tsv_quoting=csv if its cells are quoted',
      ';': 'write the file with commas, or with tabs as .tsv',
    }
    raise ValueError(
      f'{path}:1: expected a header with {_DELIMITERS[expected]}, found {_DELIMITERS[found]}; {remedies[found]}'
    )


def _of_header(records: Iterable[Row], expected: int, is_tsv: bool, reject: blocks.Reject) -> Iterator[Row]:
  """The records that have as many cells as the header; blank ones are skipped."""
  for number, cells in records:
    if len(cells) == expected:
      yield number, cells
    elif cells and cells != ['']:
      reject(number, _wrong_length(expected, len(cells), is_tsv))


def _wrong_length(expected: int, found: int, is_tsv: bool) -> str:
  parted = 'tabs' if is_tsv else 'commas'
  return (
    f'expected {expected} columns as in the header, found {found}; correct the row: {parted} part the cells, '
    + ('set --tsv_quoting=csv if they are quoted' if is_tsv else 'quote those that hold some')
  )  # fmt: skip


def _check_unquoted(numbers: np.ndarray, cells: pa.BinaryArray, reject: blocks.Reject) -> None:
  """Rejects cells as csv.writer, pandas and Excel quote them: "27"" monitor". A quote alone is text."""
  for index in np.flatnonzero(pc.and_(pc.starts_with(cells, '"'), pc.ends_with(cells, '"'))):
    cell = _decode(cells[index].as_py())
    if '""' in cell[1:-1] and _is_quoted(cell):
      reject(int(numbers[index]), _looks_quoted(cell))


def _check_unbroken(numbers: np.ndarray, lines: pa.BinaryArray, reject: blocks.Reject) -> None:
  """Rejects the lines of a quoted cell that holds line ends: from one with an odd number of quotes to the next such."""
  begun = np.flatnonzero(pc.starts_with(lines, '"'))
  last = -1
  for first in begun[_odd_quotes(lines.take(pa.array(begun)))].tolist():
    ends = np.flatnonzero(_odd_quotes(lines[first + 1 : first + _MAX_BROKEN_LINES]))
    if first <= last or not len(ends):
      continue
    cell = _decode(b'\n'.join(lines[first : first + 2 + int(ends[0])].to_pylist()))
    if cell.endswith('"') and _is_quoted(cell):
      last = first + 1 + int(ends[0])
      reason = _looks_quoted(cell.replace('\n', '\\n'))
      for number in numbers[first : last + 1].tolist():
        reject(number, reason)


def _odd_quotes(lines: pa.BinaryArray) -> np.ndarray:
  return pc.count_substring(lines, '"').to_numpy() % 2 == 1


def _is_quoted(cell: str) -> bool:
  """Whether in a cell between quotes all others are doubled."""
  return '"' not in cell[1:-1].replace('""', '')


def _looks_quoted(cell: str) -> str:
  return (
    f'expected cells without quoting, found {cell}, which looks quoted; set --tsv_quoting=csv if a program wrote '
    'the file so, or --tsv_quoting=none if the quotes belong to the text'
  )


def _quoted(lines: Iterator[str], delimiter: str, by_line: bool, reject: blocks.Reject) -> Iterator[Row]:
  """Records by RFC 4180; after one that breaks it, reading goes on at the line that follows its first.

  Yields:
    The number, its first line with `by_line`, else that of the record, the header being 0; and the cells.

  Raises:
    csv.Error: the header breaks it.
  """
  csv.field_size_limit(_MAX_CELL)
  taken: list[str] = []  # The lines of this record.
  again: list[str] = []  # Lines to be read once more, last one first.

  def feed():
    while (line := again.pop() if again else next(lines, None)) is not None:
      taken.append(line)
      yield line + '\n'

  line, row = 1, -1
  while True:
    try:
      for cells in csv.reader(feed(), delimiter=delimiter, strict=True):
        row += bool(cells)
        yield line if by_line else row, cells
        line += len(taken)
        taken.clear()
      return
    except csv.Error as error:
      if row < 0:  # Without a header no row can be read.
        raise
      row += 1
      reject(line if by_line else row, _broken(str(error), delimiter))
      again.extend(taken[:0:-1])
      line += 1
      taken.clear()


def _broken(message: str, delimiter: str) -> str:
  """What is wrong with a record, by the message of the csv module."""
  expected, remedy = next((value for key, value in _CSV_REMEDIES.items() if key in message), ('CSV', 'correct the row'))
  if delimiter == '\t':
    expected = expected.replace('comma', 'tab')
  return f'expected {expected}, found: {message}; {remedy}'


def _fields(
  number: int, line: str, columns: Sequence[str], decode: Callable[[str], Any], reject: blocks.Reject
) -> list[str | None] | None:
  """The cells of a JSON object; None where it was rejected."""
  try:
    values = decode(line)
  except (json.JSONDecodeError, RecursionError) as error:
    reject(number, f'expected a JSON object a line, found: {error}; write one a line, e.g. with jq -c')
    return None
  if not isinstance(values, dict):
    reject(number, f"expected a JSON object a line, found {line[:40]}; write one a line, e.g. with jq -c '.[]'")
    return None
  may_be_cut = _HALF_A_CHARACTER.search(line)  # Escapes of both halves are whole by now.
  cells = []
  for column in columns:
    try:
      cells.append(_cell(values, column))
      # Bytes that are not UTF-8 are lone surrogates in the line, too.
      if may_be_cut and (halves := set(_SURROGATES.findall(cells[-1] or '')) - set(line)):
        half = ascii(min(halves)).strip("'")
        reject(number, f'expected text in {column!r}, found {half}, half of a character; drop or mend the row')
        return None
    except KeyError:
      reject(number, f'expected the key {column!r}, found {", ".join(map(repr, values))}; add it or drop the line')
      return None
    except TypeError:
      reject(number, f'expected a string or a number in {column!r}, found an object or a list; name a key inside it')
      return None
  return cells


def _cell(values: dict[str, Any], name: str) -> str | None:
  if name not in values:
    head, _, rest = name.partition('.')
    if not rest or not isinstance(values.get(head), dict):
      raise KeyError(name)
    return _cell(values[head], rest)
  value = values[name]
  if isinstance(value, bool):
    return str(value)
  if not (value is None or isinstance(value, str)):
    raise TypeError(name)
  return value
