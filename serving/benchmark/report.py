"""The benchmark's results as one Markdown table."""

from collections.abc import Sequence

from b2d.measures import markdown
from serving.benchmark import picture

# What every ratio divides: name, runtime and tokens of the row.
REFERENCES = {'BERT-Base': ('BERT-Base', 'C++', 32), 'TinyBERT-4L': ('TinyBERT-4L-312', 'C++', 32)}
MAX_OTHERS_CORES = 0.1

_COLUMNS = [
  'model',
  'runtime',
  'tokens',
  'batch 1, µs',
  'p99, µs',
  'bare loop: p99, µs',
  *(f'× {n}' for n in REFERENCES),
  'batch 8, µs',
  'batch 64, µs',
  '1 query, 100 titles, µs',
  'the same by rank, µs',
  'batch 512, µs',
  'rows/s at 512',
  '2 threads: calls/s at 1',
  '2 threads: rows/s at 512',
  'load + first call, s',
  'resident MB',
  'disk MB',
]


def cell(result: dict, workload: str, threads: int, figure_name: str) -> float | None:
  """Returns one figure of a result, None where it was not measured."""
  for found in result['cells']:
    if (found['workload'], found['threads']) == (workload, threads):
      return found.get(figure_name)
  return None


def _number(value) -> str:
  if value is None:
    return '–'
  return f'{value:,.0f}' if abs(value) >= 100 else f'{value:.3g}'


def ratio(results: Sequence[dict], result: dict, reference: str) -> float | None:
  """Returns how many times the reference's batch-1 median is the result's, both of one thread."""
  mine = cell(result, '1', 1, 'median_us')
  for other in results:
    if (other['name'], other['runtime'], other['tokens']) == REFERENCES[reference]:
      theirs = cell(other, '1', 1, 'median_us')
      return theirs / mine if theirs and mine else None
  return None


def busy(results: Sequence[dict]) -> str:
  """Returns a warning if other processes used the processor meanwhile, else nothing."""
  worst = max(results, key=lambda result: result['others_cores'])
  if worst['others_cores'] < MAX_OTHERS_CORES:
    return ''
  return (
    f'**The machine was busy: quote none of this.** Others used up to '
    f'{worst["others_cores"]:.2f} cores ({worst["name"]}, {worst["runtime"]}).\n\n'
  )


def table(results: Sequence[dict]) -> str:
  """Returns the results as a Markdown table, one row each; docs/benchmark.md explains it."""
  lines = []
  for result in results:
    figures = [
      cell(result, '1', 1, 'median_us'),
      cell(result, '1', 1, 'p99_us'),
      cell(result, '1', 1, 'spin_p99_us'),
      *(ratio(results, result, reference) for reference in REFERENCES),
      *(cell(result, rows, 1, 'median_us') for rows in ('8', '64', '1x100', 'rank100', '512')),
      cell(result, '512', 1, 'rows_per_sec'),
      cell(result, '1', 2, 'calls_per_sec'),
      cell(result, '512', 2, 'rows_per_sec'),
      result['load_secs'] + result['first_call_secs'],
      result['resident_mb'],
      result['disk_mb'],
    ]
    words = [result['name'], result['runtime'], str(result['tokens'] or 'all')]
    lines.append(words + [_number(value) for value in figures])
  return markdown.table(_COLUMNS, lines, num_words=3)


def timings(results: Sequence[dict]) -> list[picture.Timing]:
  """The batch-1 medians of one thread, as a picture draws them."""
  medians = [(result, cell(result, '1', 1, 'median_us')) for result in results]
  return [picture.Timing(r['name'], r['runtime'], r['tokens'], us) for r, us in medians if us is not None]
