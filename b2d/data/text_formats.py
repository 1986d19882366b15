"""Files of lines → blocks of cells: TSV, CSV, plain lines, JSON Lines.

Lines end at LF or CR LF and nowhere else. Cells of columns that nobody asked for are not looked at, whatever
they hold.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import csv
import functools
import io
import json
from typing import Any
from typing import BinaryIO

import numpy as np

from b2d.data import blocks

_MAX_CELL = 1 << 22  # Characters: a quote that is open for longer was never closed.
_CSV_REMEDIES = {
  'expected after': (
    'a comma or the end of the line after a closing quote',
    "double the quotes inside a cell (Spark: .option('escape', '\"'))",
  ),
  'new-line character': ('no carriage return outside quotes', 'quote the cell'),
  'unexpected end': ('a closing quote', 'close it, or double a quote that belongs to the text'),
  'field larger': (f'a cell of at most {_MAX_CELL} characters', 'close its quote, or double one that belongs to it'),
}

Row = tuple[int, Any]  # Its number and its cells.


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
  yield from _blocks(((number, (line,)) for number, line in enumerate(_lines(path, stream), 1)), [0], reject)


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
  lines = _lines(path, stream)
  records: Iterator[Row]
  if quoting == 'csv':
    records = _quoted(lines, '\t' if is_tsv else ',', is_tsv, reject)
  else:
    records = enumerate((line.split('\t') for line in lines), 1)
  _, names = next(records, (0, None))
  if names is None:
    return
  names = [_header(path, name) for name in names]
  if not is_tsv:
    _check_delimiter(path, names)
  if is_tsv and quoting != 'csv' and columns[0] not in names and any(name.startswith('"') for name in names):
    raise ValueError(f'{path}:1: expected column names, found {", ".join(names)}, quoted; set --tsv_quoting=csv')
  if is_tsv and len(names) == 1 and ',' in names[0] and columns[0] not in names:
    raise ValueError(f'{path}:1: expected a header with tabs, found commas; rename the file to .csv')
  blocks.check_names(path, columns, names)
  good = _of_header(records, len(names), is_tsv, reject)
  if quoting == 'check':
    good = _unquoted(good, reject)
  yield from _blocks(good, [names.index(column) for column in columns], reject)


def read_json(path: str, stream: BinaryIO, columns: Sequence[str], reject: blocks.Reject) -> Iterator[blocks.Block]:
  """Reads one JSON object a line; 'a.b' is the key b of the object under a. Numbers are read as they are written."""
  decode = functools.partial(
    json.loads, parse_int=str, parse_float=str, parse_constant=lambda name: None if name == 'NaN' else name
  )
  rows = (
    (number, _fields(number, line, columns, decode, reject))
    for number, line in enumerate(_lines(path, stream), 1)
    if line.strip()
  )
  yield from _blocks((row for row in rows if row[1] is not None), range(len(columns)), reject)


def _lines(path: str, stream: BinaryIO) -> Iterator[str]:
  """Lines without their ends; bytes that are not UTF-8 become lone surrogates."""
  text = io.TextIOWrapper(stream, encoding='utf-8-sig', errors='surrogateescape', newline='\n')
  for number, line in enumerate(text):
    if not number and line.startswith(('\udcff\udcfe', '\udcfe\udcff')):
      raise ValueError(f'{path}:1: expected UTF-8, found UTF-16; convert the file with iconv -f utf-16 -t utf-8')
    yield line.removesuffix('\n').removesuffix('\r')


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


def _encode(numbers: Sequence[int], cells: Sequence[str | None], reject: blocks.Reject) -> np.ndarray:
  """object [n] of bytes and None."""
  encoded = np.empty(len(cells), dtype=object)
  try:
    encoded[:] = [None if cell is None else cell.encode() for cell in cells]
  except UnicodeEncodeError:
    for index, cell in enumerate(cells):
      try:
        encoded[index] = None if cell is None else cell.encode()
      except UnicodeEncodeError as error:
        reject(numbers[index], _not_utf8(error))
  return encoded


def _not_utf8(error: UnicodeEncodeError) -> str:
  found = bytes(ord(character) & 0xFF for character in error.object[error.start : error.end])
  return f'expected UTF-8, found the bytes {found!r}; convert the file, e.g. with iconv -f latin1 -t utf-8'


def _header(path: str, name: str) -> str:
  try:
    name.encode()
  except UnicodeEncodeError as error:
    raise ValueError(f'{path}:1: {_not_utf8(error)}') from error
  return name


def _check_delimiter(path: str, names: Sequence[str]) -> None:
  """A header without commas but with tabs or semicolons is that of another format."""
  if len(names) == 1 and '\t' in names[0]:
    raise ValueError(
      f'{path}:1: expected a header with commas, found tabs; rename the file to .tsv, and set --tsv_quoting=csv if its '
      'cells are quoted'
    )
  if len(names) == 1 and ';' in names[0]:
    raise ValueError(
      f'{path}:1: expected a header with commas, found semicolons; write the file with commas, or with tabs as .tsv'
    )


def _of_header(records: Iterable[Row], expected: int, is_tsv: bool, reject: blocks.Reject) -> Iterator[Row]:
  """The records that have as many cells as the header; blank ones are skipped."""
  for number, cells in records:
    if len(cells) == expected:
      yield number, cells
    elif cells and cells != ['']:
      parted = 'tabs' if is_tsv else 'commas'
      reject(
        number,
        f'expected {expected} columns as in the header, found {len(cells)}; correct the row: {parted} part the cells, '
        + ('set --tsv_quoting=csv if they are quoted' if is_tsv else 'quote those that hold some'),
      )


def _unquoted(records: Iterable[Row], reject: blocks.Reject) -> Iterator[Row]:
  """Rejects cells as csv.writer, pandas and Excel quote them: "27"" monitor". A quote alone is text."""
  for number, cells in records:
    for cell in cells:
      if cell[:1] == '"' and cell[-1:] == '"' and '""' in cell[1:-1] and '"' not in cell[1:-1].replace('""', ''):
        reject(
          number,
          f'expected cells without quoting, found {cell}, which looks quoted; set --tsv_quoting=csv if a program wrote '
          'the file so, or --tsv_quoting=none if the quotes belong to the text',
        )
        break
    else:
      yield number, cells


def _quoted(lines: Iterator[str], delimiter: str, by_line: bool, reject: blocks.Reject) -> Iterator[Row]:
  """Records by RFC 4180; after one that breaks it, reading goes on at the line that follows its first.

  Yields:
    The number, its first line with `by_line`, else that of the record, the header being 0; and the cells.
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
      row += 1
      _reject_record(line if by_line else row, str(error), delimiter, reject)
      again.extend(taken[:0:-1])
      line += 1
      taken.clear()


def _reject_record(number: int, message: str, delimiter: str, reject: blocks.Reject) -> None:
  expected, remedy = next((value for key, value in _CSV_REMEDIES.items() if key in message), ('CSV', 'correct the row'))
  if delimiter == '\t':
    expected = expected.replace('comma', 'tab')
  reject(number, f'expected {expected}, found: {message}; {remedy}')


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
  cells = []
  for column in columns:
    try:
      cells.append(_cell(values, column))
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
