"""Counts and latencies in Prometheus' text form, under TensorFlow Serving's names.

Only configured models have rows, so that requests for made-up names cannot fill the memory.
"""

import bisect
import collections
import threading

# 10 · 1.8^k µs: the server's buckets.
_BUCKETS = [10 * 1.8**k for k in range(33)]


class Metrics:
  """Request counts and latencies of the models. Thread-safe."""

  def __init__(self):
    self._lock = threading.Lock()
    self._counts: collections.Counter[tuple[str, str]] = collections.Counter()  # (model, status name)
    self._buckets: dict[tuple[str, str, str], list[int]] = collections.defaultdict(lambda: [0] * (len(_BUCKETS) + 1))
    self._sums: collections.defaultdict[tuple[str, str, str], float] = collections.defaultdict(
      float
    )  # (model, API, entrypoint), µs

  def record(self, model_name: str, api: str, entrypoint: str, status: str, latency_us: float) -> None:
    """Counts one request; only successful ones have a latency."""
    with self._lock:
      self._counts[model_name, status] += 1
      if status == 'OK':
        key = (model_name, api, entrypoint)
        self._buckets[key][bisect.bisect_left(_BUCKETS, latency_us)] += 1
        self._sums[key] += latency_us

  def page(self) -> str:
    """The metrics page."""
    with self._lock:
      return '\n'.join([*self._count_lines(), *self._latency_lines(), ''])

  def _count_lines(self):
    yield '# TYPE :tensorflow:serving:request_count counter'
    for (model, status), count in sorted(self._counts.items()):
      labels = f'model_name="{_escape(model)}",status="{status}"'
      yield f':tensorflow:serving:request_count{{{labels}}} {count}'

  def _latency_lines(self):
    name = ':tensorflow:serving:request_latency'
    yield f'# TYPE {name} histogram'
    for key, buckets in sorted(self._buckets.items()):
      model, api, entrypoint = key
      labels = f'model_name="{_escape(model)}",API="{api}",entrypoint="{entrypoint}"'
      total = 0
      for limit, count in zip([f'{bound:g}' for bound in _BUCKETS] + ['+Inf'], buckets):
        total += count
        yield f'{name}_bucket{{{labels},le="{limit}"}} {total}'
      yield f'{name}_sum{{{labels}}} {self._sums[key]:.0f}'
      yield f'{name}_count{{{labels}}} {total}'


def _escape(label):
  return label.replace('\\', r'\\').replace('"', r'\"').replace('\n', r'\n')
