"""Load: p50, p95, p99 and throughput of a server at several concurrencies, as a Markdown table.

    python -m serving.load --model_name=student --rows=1,100 --concurrency=1,8

The clients are threads of one Python process, which shares the machine with the server if that is
here: the figures are those of client, transport and server together. Against the stand-in they say
nothing about TensorFlow Serving.
"""

from concurrent import futures
import itertools
import sys
import time

from absl import app
from absl import flags
import numpy as np

from serving import query

_ADDRESS = flags.DEFINE_string('address', 'localhost:8501', 'host:port, for gRPC also unix:path.')
_GRPC = flags.DEFINE_bool('grpc', False, 'Whether --address speaks gRPC instead of REST.')
_MODEL_NAME = flags.DEFINE_string('model_name', 'default', 'The model\'s name.')
_CONCURRENCY = flags.DEFINE_list('concurrency', ['1', '4', '16'], 'Clients at a time, in turn.')
_ROWS = flags.DEFINE_list('rows', ['1', '100'], 'Rows a request, in turn.')
_SECONDS = flags.DEFINE_float('seconds', 5, 'Time for each line of the table.')
_QUERY = flags.DEFINE_string('query', 'cordless drill', 'The query; empty for a model of texts.')
_TEXTS_FILE = flags.DEFINE_string('texts_file', '', 'Titles or texts to send, one a line.')


def measure(columns_of_request: list[dict[str, list[str]]], concurrency: int, seconds: float,
            connect) -> tuple[np.ndarray, float]:
  """Sends requests from `concurrency` clients, each waiting for its answer before the next.

  Args:
    columns_of_request: the requests, taken in turn.
    concurrency: the number of clients.
    seconds: for how long.
    connect: makes a client: a function of columns.

  Returns:
    Latencies in seconds, float [number of requests], and the time that they took in all.
  """
  deadline = time.monotonic() + seconds

  def client(offset):
    call, latencies = connect(), []
    for columns in itertools.cycle(columns_of_request[offset:] + columns_of_request[:offset]):
      started = time.monotonic()
      if started > deadline:
        return latencies
      call(columns)
      latencies.append(time.monotonic() - started)

  started = time.monotonic()
  with futures.ThreadPoolExecutor(concurrency) as clients:
    offsets = [index % len(columns_of_request) for index in range(concurrency)]
    latencies = sum(clients.map(client, offsets), [])
  return np.array(latencies), time.monotonic() - started


def _requests(texts, rows):
  """A request for each start in `texts`, up to 100 of them."""
  texts = texts * (rows // len(texts) + 2)
  for start in range(0, min(len(texts) - rows, 100)):
    chosen = texts[start:start + rows]
    yield {'query': [_QUERY.value] * rows, 'title': chosen} if _QUERY.value else {'text': chosen}


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    raise app.UsageError(f'Expected flags only, got {argv[1:]}.')
  texts = [f'{brand} {thing} {volts}V' for brand, thing, volts in itertools.product(
      ['acme', 'dewalt', 'northwind'], ['drill kit', 'hammer drill', 'garden hose'], [12, 18, 20])]
  if _TEXTS_FILE.value:
    with open(_TEXTS_FILE.value, encoding='utf-8') as lines:
      texts = [line.strip() for line in lines if line.strip()]

  def connect():
    client = query.connect(_ADDRESS.value, grpc=_GRPC.value)
    return lambda columns: client.predict(_MODEL_NAME.value, columns)

  print('| transport | rows | clients | requests/s | p50 ms | p95 ms | p99 ms |')
  print('|---|---|---|---|---|---|---|')
  try:
    for rows, concurrency in itertools.product(map(int, _ROWS.value), map(int, _CONCURRENCY.value)):
      requests = list(_requests(texts, rows))
      connect()(requests[0])
      latencies, seconds = measure(requests, concurrency, _SECONDS.value, connect)
      p50, p95, p99 = np.percentile(latencies * 1000, [50, 95, 99])
      print(f'| {"gRPC" if _GRPC.value else "REST"} | {rows} | {concurrency} '
            f'| {len(latencies) / seconds:.0f} | {p50:.2f} | {p95:.2f} | {p99:.2f} |', flush=True)
  except (ValueError, OSError) as error:
    sys.exit(f'serving.load: {_ADDRESS.value}: {error}')


if __name__ == '__main__':
  app.run(main)
