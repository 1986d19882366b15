"""Times a Python callable as `harness.cc` times a SavedModel: same requests, same figures."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import gzip
import itertools
import random
import re
import time

Columns = dict[str, list[str]]
Call = Callable[[Columns], object]


def read_texts(path: str, names: Sequence[str] | None = None, max_rows: int | None = None) -> Columns:
  """Reads columns of a TSV with a header line.

  Args:
    path: the file, compressed if it ends in `.gz`.
    names: two columns, to become `query` and `title`, or one, to become `text`; None: all columns.
    max_rows: rows to draw at random (neighbours share queries); None: all, in the file's order.

  Returns:
    Texts by column.

  Raises:
    ValueError: a column is missing, a row has too few or too many, or there are no rows.
  """
  opened = gzip.open if path.endswith('.gz') else open
  with opened(path, 'rt', encoding='utf-8', newline='\n') as file:
    header, *rows = [line.rstrip('\r\n').split('\t') for line in file] or [[]]
  for number, row in enumerate(rows, 2):
    if len(row) != len(header):
      raise ValueError(f'{path}:{number}: expected {len(header)} columns, found {len(row)}')
  if not rows or len(names or header) > 2 or not set(names or ()) <= set(header):
    raise ValueError(
      f'{path}: expected rows with one or two columns {names or ""}, found '
      f'{len(rows)} with {header}; set --text_columns=query,title or one name'
    )
  if max_rows:
    random.Random(1).shuffle(rows)
  renamed = header if not names else ['text'] if len(names) == 1 else ['query', 'title']
  return {new: [row[header.index(name)] for row in rows[:max_rows]] for new, name in zip(renamed, names or header)}


def requests(texts: Columns, workload: str, start: int = 0) -> Iterator[Columns]:
  """Yields requests without end, each with the rows after those of the one before.

  Args:
    texts: where from.
    workload: '8' for 8 rows; '1x100' for 100 rows that all have the first one's query; 'rank100' for
      100 titles and that query once, as the signature `rank` takes it.
    start: the first row.
  """
  num_rows, size = len(next(iter(texts.values()))), rows_of(workload)
  for first in itertools.count(start, size):
    request = {name: [column[(first + i) % num_rows] for i in range(size)] for name, column in texts.items()}
    if 'x' in workload:
      request['query'] = request['query'][:1] * size
    if workload.startswith('rank'):
      request['query'] = request['query'][:1]
    yield request


def rows_of(workload: str) -> int:
  """Returns how many rows a request has."""
  return int(re.findall(r'\d+$', workload)[0])


def call_for(call: Call, stream: Iterator[Columns], seconds: float) -> list[float]:
  """Calls for `seconds`, at least once; returns the seconds that each call took."""
  latencies: list[float] = []
  deadline = time.perf_counter() + seconds
  while not latencies or time.perf_counter() < deadline:
    request = next(stream)
    start = time.perf_counter()
    call(request)
    latencies.append(time.perf_counter() - start)
  return latencies


def call_at_once(clients: Sequence[tuple[Call, Iterator[Columns]]], seconds: float) -> tuple[list[float], float]:
  """Calls from as many threads as there are clients, each waiting for its answer before the next call.

  Args:
    clients: what each calls, and its requests.
    seconds: for how long.

  Returns:
    The seconds that each call took, ascending, and those that all took together.
  """
  start = time.perf_counter()
  with futures.ThreadPoolExecutor(len(clients)) as threads:
    by_client = threads.map(lambda client: call_for(client[0], client[1], seconds), clients)
    latencies = sorted(itertools.chain.from_iterable(by_client))
  return latencies, time.perf_counter() - start


def measure(call: Call, texts: Columns, workload: str, num_threads: int, seconds: float) -> dict:
  """Returns one cell of `harness.run`'s result. Threads share `call`; each has its own rows."""
  clients = [(call, requests(texts, workload, start=7919 * i)) for i in range(num_threads)]
  latencies, took_secs = call_at_once(clients, seconds)
  calls_per_sec = len(latencies) / took_secs
  rows, calls = rows_of(workload), len(latencies)
  return {
    'workload': workload,
    'rows': rows,
    'threads': num_threads,
    'calls': calls,
    'median_us': latencies[calls // 2] * 1e6,
    'p99_us': latencies[calls * 99 // 100] * 1e6,
    'min_us': latencies[0] * 1e6,
    'calls_per_sec': calls_per_sec,
    'rows_per_sec': calls_per_sec * rows,
  }


def profile(
  load: Callable[[], Call],
  texts: Columns,
  workloads: Sequence[str],
  threads: Sequence[int],
  seconds: float,
  max_call_secs: float,
) -> dict:
  """Loads, calls once, then measures every workload; see `harness.run` for the rest."""
  start = time.perf_counter()
  call = load()
  load_secs = time.perf_counter() - start
  (first_call_secs,) = call_for(call, requests(texts, '1'), 0)
  resident_mb, cells = _memory_mb('VmRSS'), []
  for num_threads in threads:
    secs_per_row = 0
    for workload in sorted(workloads, key=rows_of):
      expected_secs = secs_per_row * rows_of(workload)
      # Rows of one query need one; the signature `rank` is the harness's to call.
      without = ('x' in workload and 'query' not in texts) or workload.startswith('rank')
      if expected_secs > max_call_secs or without:
        continue
      if expected_secs < seconds:
        call_for(call, requests(texts, workload), seconds / 5)  # warm-up
      cells.append(measure(call, texts, workload, num_threads, seconds))
      secs_per_row = cells[-1]['median_us'] / 1e6 / rows_of(workload)
  return {
    'load_secs': load_secs,
    'first_call_secs': first_call_secs,
    'resident_mb': resident_mb,
    'peak_resident_mb': _memory_mb('VmHWM'),
    'cells': cells,
  }


def _memory_mb(field: str) -> float:
  # Not resource.ru_maxrss: that starts from the peak of the process that forked this one.
  with open('/proc/self/status', encoding='utf-8') as file:
    return int(re.findall(rf'{field}:\s+(\d+)', file.read())[0]) / 1024
