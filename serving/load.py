"""Load: p50, p95, p99 and throughput of a server at several concurrencies, as a Markdown table.

    python -m serving.load --rows=1,100 --concurrency=1,4,16

The clients are threads of one Python process, which shares the machine with the server if that is
here: the figures are those of client, transport and server together. Against the local test server they say
nothing about TensorFlow Serving.
"""

import itertools

from absl import app
from absl import flags
import numpy as np

from serving import binary
from serving import client
from serving.benchmark import timing

_ADDRESS = flags.DEFINE_string(
  'address', None, 'host:port, for gRPC also unix:path. Left out: localhost:8501, for gRPC localhost:8500.'
)
_GRPC = flags.DEFINE_bool('grpc', False, '--address speaks gRPC.')
_MODEL_NAME = flags.DEFINE_string('model_name', client.MODEL_NAME, 'The name under which the model is served.')
_ROWS = flags.DEFINE_list('rows', ['1', '100'], 'Rows a request, in turn.')
_CONCURRENCY = flags.DEFINE_list('concurrency', ['1', '4', '16'], 'Clients at a time, in turn.')
_SECONDS = flags.DEFINE_float('seconds', 5, 'Time for each line of the table.', lower_bound=0.01)
_QUERY = flags.DEFINE_string('query', 'cordless drill', 'Pairs each of the texts; empty for a model of texts.')

_TEXTS = [
  f'{brand} {thing} {volts}V'
  for brand, thing, volts in itertools.product(
    ['acme', 'northwind'], ['drill kit', 'hammer drill', 'garden hose', 'wall anchor', 'paint roller'], [12, 18, 20]
  )
]


def _requests(rows):
  """Requests of `rows` rows, each with other texts."""
  texts = _TEXTS * (rows // len(_TEXTS) + 2)
  for start in range(len(_TEXTS)):
    chosen = texts[start : start + rows]
    yield {'query': [_QUERY.value] * rows, 'title': chosen} if _QUERY.value else {'text': chosen}


def _numbers(flag):
  if not flag.value or not all(value.isdecimal() and int(value) for value in flag.value):
    raise app.UsageError(f'--{flag.name}={",".join(flag.value)}: expected numbers from 1, with commas between')
  return map(int, flag.value)


def _connect():
  connection = client.connect(_ADDRESS.value, grpc=_GRPC.value)
  return lambda columns: connection.predict(_MODEL_NAME.value, columns)


def main(words: list[str]) -> None:
  if words:
    raise app.UsageError(f'expected flags only, got {words}')
  runs = list(itertools.product(_numbers(_ROWS), _numbers(_CONCURRENCY)))
  print('| transport | rows | clients | requests/s | p50 ms | p95 ms | p99 ms |')
  print('|---|---|---|---|---|---|---|')
  for rows, concurrency in runs:
    requests = list(_requests(rows))
    _connect()(requests[0])
    # Each client begins with another request.
    streams = [itertools.islice(itertools.cycle(requests), offset, None) for offset in range(concurrency)]
    latencies, seconds = timing.call_at_once([(_connect(), stream) for stream in streams], _SECONDS.value)
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]) * 1000
    print(
      f'| {"gRPC" if _GRPC.value else "REST"} | {rows} | {concurrency} | {len(latencies) / seconds:.0f} '
      f'| {p50:.2f} | {p95:.2f} | {p99:.2f} |',
      flush=True,
    )


if __name__ == '__main__':
  binary.run(main)
