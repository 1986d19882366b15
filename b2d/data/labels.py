"""Cells of a label column → class indices or targets: numbers, names, True and False; blank is unlabelled."""

import numpy as np

from b2d import config
from b2d.data import blocks

_BOOLEANS = {'true': 1.0, 'false': 0.0}


def targets(row_numbers: np.ndarray, cells: np.ndarray, schema: config.Schema, reject: blocks.Reject) -> np.ndarray:
  """Labels by what the schema says of them.

  Args:
    row_numbers: int [n], for `reject`.
    cells: object [n], bytes or None.
    schema: the classes, or the range of grades.
    reject: called for a cell that is no label.

  Returns:
    float32 [n]: class indices, or grades rescaled to [0, 1]; NaN where the cell is blank.
  """
  low, high = schema.label_range or (0, schema.num_classes - 1)
  known = schema.label_values
  found = np.array([_named(cell, known) for cell in cells]) if known else numbers(cells)
  wrong = ~((found >= low) & (found <= high))  # NaN is wrong too.
  if not schema.label_range:
    wrong |= found != np.floor(found)
  for index in np.flatnonzero(wrong):
    if cells[index] is None or not cells[index].strip():
      found[index] = np.nan
    else:
      reject(int(row_numbers[index]), _message(schema, low, high, shown(cells[index])))
  return ((found - low) / (high - low) if schema.label_range else found).astype(np.float32)


def numbers(cells: np.ndarray) -> np.ndarray:
  """float64 [n]; true is 1, false 0, NaN where a cell is no number."""
  try:
    return cells.astype(np.float64)
  except (ValueError, TypeError):
    return np.array([_number(cell) for cell in cells])


def shown(cell: bytes | None) -> str:
  """A cell as messages quote it."""
  return 'null' if cell is None else repr(cell.decode('utf-8', 'replace'))


def _number(cell: bytes | None) -> float:
  try:
    return float(cell or b'')
  except ValueError:
    return _named(cell, _BOOLEANS)


def _named(cell: bytes | None, known: dict[str, float]) -> float:
  return known.get((cell or b'').decode('utf-8', 'replace').strip().casefold(), np.nan)


def _message(schema: config.Schema, low: float, high: float, found: str) -> str:
  flag = 'classes' if schema.classes else 'grades'
  if schema.label_values:
    names = ', '.join(list(schema.label_values)[:20])
    return f'expected one of {names} in {schema.label_column!r}, found {found}; correct it or set --{flag}'
  expected, remedy = (
    ('a grade', 'set --label_range, or --grades if they have names')
    if schema.label_range
    else ('a class', 'set --num_classes, --classes if they have names, or --label_range if it is a grade')
  )
  return (
    f'expected {expected} from {low:g} to {high:g} in {schema.label_column!r}, found {found}; correct it or {remedy}'
  )
