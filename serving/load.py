"""Load: p50, p95, p99 and throughput of a server at several concurrencies, as a Markdown table.

    python -m serving.load --model_name=student --rows=1,100 --concurrency=1,8

The clients are threads of one Python process, which shares the machine with the server if that is
here: the figures are those of client, transport and server together. Against the stand-in they say
nothing about TensorFlow Serving.
"""

import argparse
from concurrent import futures
import itertools
import sys
import time

import numpy as np

from serving import query

_THINGS = ['drill kit', 'hammer drill', 'garden hose', 'wall anchor', 'paint roller']


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


def _requests(query_text, texts, rows):
  """Up to 100 requests of `rows` rows, each with other texts."""
  texts = texts * (rows // len(texts) + 2)
  for start in range(min(len(texts) - rows, 100)):
    chosen = texts[start:start + rows]
    yield {'query': [query_text] * rows, 'title': chosen} if query_text else {'text': chosen}


def _arguments():
  parser = argparse.ArgumentParser(prog='python -m serving.load', description='Measures a server.')
  parser.add_argument(
      '--address', default='localhost:8501', help='host:port, for gRPC also unix:path')
  parser.add_argument('--grpc', action='store_true', help='--address speaks gRPC')
  parser.add_argument('--model_name', default='default')
  parser.add_argument('--rows', default='1,100', help='rows a request, in turn')
  parser.add_argument('--concurrency', default='1,4,16', help='clients at a time, in turn')
  parser.add_argument('--seconds', type=float, default=5, help='time for each line of the table')
  parser.add_argument('--query', default='cordless drill', help='empty for a model of texts')
  parser.add_argument('--texts_file', help='titles or texts to send, one a line')
  return parser.parse_args()


def _texts(file):
  if not file:
    return [f'{brand} {thing} {volts}V' for brand, thing, volts in itertools.product(
        ['acme', 'northwind'], _THINGS, [12, 18, 20])]
  with open(file, encoding='utf-8') as lines:
    return [line.strip() for line in lines if line.strip()]


def main() -> None:
  arguments = _arguments()

  def connect():
    client = query.connect(arguments.address, grpc=arguments.grpc)
    return lambda columns: client.predict(arguments.model_name, columns)

  print('| transport | rows | clients | requests/s | p50 ms | p95 ms | p99 ms |')
  print('|---|---|---|---|---|---|---|')
  transport = 'gRPC' if arguments.grpc else 'REST'
  try:
    texts = _texts(arguments.texts_file)
    for rows, concurrency in itertools.product(
        map(int, arguments.rows.split(',')), map(int, arguments.concurrency.split(','))):
      requests = list(_requests(arguments.query, texts, rows))
      connect()(requests[0])
      latencies, seconds = measure(requests, concurrency, arguments.seconds, connect)
      p50, p95, p99 = np.percentile(latencies * 1000, [50, 95, 99])
      print(f'| {transport} | {rows} | {concurrency} | {len(latencies) / seconds:.0f} '
            f'| {p50:.2f} | {p95:.2f} | {p99:.2f} |', flush=True)
  except (ValueError, OSError) as error:
    sys.exit(f'serving.load: {arguments.address}: {error}')


if __name__ == '__main__':
  main()
