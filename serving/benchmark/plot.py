"""Draws quality against microseconds, each model's name at its point; from the table of a report.

    python -m serving.benchmark.plot --table=runs/benchmark/report.md --auc=student=0.756,MiniLM-L6=0.767 \
        --picture=accuracy.png

Reads the first Markdown table that has the columns of `report.table`. Of each model one row is drawn: C++ if there is
one, and the fewest tokens. An encoder whose AUC is not named stands as a line at its microseconds.
"""

from collections.abc import Sequence
import pathlib

from absl import flags

from serving import binary
from serving.benchmark import picture

_TABLE = flags.DEFINE_string('table', None, 'Markdown file with the table of a report.')
_PICTURE = flags.DEFINE_string('picture', None, 'Picture to write: .png or .svg.')
_AUC = flags.DEFINE_list('auc', None, "name=AUC of the models to draw, by the table's names, or name=AUC=label.")


def read_table(text: str, origin: str) -> list[picture.Timing]:
  """The rows of the first table in a Markdown text that has the columns model, runtime, tokens and batch 1, µs.

  Raises:
    ValueError: there is none.
  """
  rows: list[list[str]] = []
  for line in text.splitlines():
    cells = [cell.strip() for cell in line.strip('|').split('|')]
    if line.startswith('| model | runtime | tokens | batch 1, µs |'):
      rows = [cells]
    elif rows and not line.startswith('|'):
      break
    elif rows:
      rows.append(cells)
  if not rows:
    raise ValueError(f'{origin}: expected a table that begins with | model | runtime | tokens | batch 1, µs |')
  return [
    picture.Timing(name, runtime, int(tokens) if tokens.isdigit() else None, float(median_us.replace(',', '')))
    for name, runtime, tokens, median_us, *_ in rows[2:]
  ]


def qualities(items: Sequence[str]) -> list[picture.Quality]:
  """Parses name=AUC or name=AUC=label; ValueError if one is neither."""
  found = []
  for item in items:
    name, auc, label = (*item.split('=', 2), '', '')[:3]
    try:
      found.append(picture.Quality(name, float(auc), label or name))
    except ValueError:
      raise ValueError(f'--auc: expected name=AUC or name=AUC=label, found {item}') from None
  return found


def main(words: list[str]) -> None:
  del words
  path = pathlib.Path(_TABLE.value)
  picture.draw(read_table(path.read_text(encoding='utf-8'), str(path)), qualities(_AUC.value), _PICTURE.value)


if __name__ == '__main__':
  flags.mark_flags_as_required(['table', 'picture', 'auc'])
  binary.run(main)
