"""A client of TensorFlow Serving or of the stand-in: scores titles for a query, best first.

    python -m serving.query --query='cordless drill' --titles '20V drill' 'garden hose'

In an application (over REST this needs nothing beyond Python; importing it defines no flags, hence
argparse):

    from serving import query
    ranked = query.rank('cordless drill', ['20V drill', 'garden hose'], model_name='student')
"""

import argparse
from collections.abc import Mapping, Sequence
import dataclasses
import http.client
import importlib
import json
import sys
import time
import urllib.parse


@dataclasses.dataclass(frozen=True)
class Scored:
  """A text and its score; `logit` is unscaled, `probability` in [0, 1]."""

  text: str
  probability: float
  logit: float


class RestClient:
  """Predict over REST, on one connection that stays open. Not thread-safe.

  Args:
    address: 'host:port'.
    timeout_secs: how long to wait for an answer.
  """

  def __init__(self, address: str, timeout_secs: float = 10):
    self._connection = http.client.HTTPConnection(address, timeout=timeout_secs)

  def predict(
      self, model_name: str, columns: Mapping[str, Sequence[str]]) -> dict[str, list[float]]:
    """Scores rows.

    Args:
      model_name: the model's name.
      columns: input name → texts [N].

    Returns:
      Output name → values [N].

    Raises:
      ValueError: the server refused the request; its message says why.
      OSError: the server cannot be reached or did not answer in time.
    """
    path = f'/v1/models/{urllib.parse.quote(model_name, safe="")}:predict'
    body = json.dumps({'inputs': {name: list(texts) for name, texts in columns.items()}})
    try:
      self._connection.request('POST', path, body)
      response = self._connection.getresponse()
      answer = json.loads(response.read())
    except http.client.HTTPException as error:
      self._connection.close()
      raise OSError(f'{self._connection.host}: not an HTTP answer: {error!r}') from None
    except OSError:
      self._connection.close()
      raise
    if response.status != 200:
      raise ValueError(f'{model_name}: HTTP {response.status}: {answer["error"]}')
    return answer['outputs']


def connect(address: str, *, grpc: bool = False, timeout_secs: float = 10):
  """A client with RestClient's interface, over gRPC if `grpc`."""
  if grpc:
    # Only now: the gRPC stubs import TensorFlow, which REST's clients must not need.
    return importlib.import_module('serving.grpc_client').GrpcClient(address, timeout_secs)
  return RestClient(address, timeout_secs)


def rank(query: str | None, texts: Sequence[str], *, model_name: str = 'default',
         address: str = 'localhost:8501', grpc: bool = False,
         timeout_secs: float = 10) -> list[Scored]:
  """Scores texts and sorts them, best first.

  Args:
    query: pairs each of `texts`, as titles; None for a model of single texts.
    texts: the titles or texts.
    model_name: the model's name.
    address: 'host:port', for gRPC also 'unix:path'.
    grpc: whether `address` speaks gRPC instead of REST.
    timeout_secs: how long to wait for an answer.

  Returns:
    As many as `texts`.

  Raises:
    ValueError: the server refused the request.
    OSError: the server cannot be reached or did not answer in time.
  """
  if query is None:
    columns = {'text': texts}
  else:
    columns = {'query': [query] * len(texts), 'title': texts}
  outputs = connect(address, grpc=grpc, timeout_secs=timeout_secs).predict(model_name, columns)
  scored = map(Scored, texts, outputs['probability'], outputs['logit'])
  return sorted(scored, key=lambda item: item.probability, reverse=True)


def _arguments():
  parser = argparse.ArgumentParser(
      prog='python -m serving.query', description='Scores texts, best first.')
  parser.add_argument('--query', help='the query whose titles are ranked')
  parser.add_argument('--titles', nargs='+', action='extend', help='titles; - reads lines of stdin')
  parser.add_argument('--texts', nargs='+', action='extend', help='for a model of single texts')
  parser.add_argument(
      '--address', default='localhost:8501', help='host:port, for gRPC also unix:path')
  parser.add_argument('--grpc', action='store_true', help='--address speaks gRPC')
  parser.add_argument('--model_name', default='default')
  parser.add_argument('--timeout_secs', type=float, default=10)
  arguments = parser.parse_args()
  if bool(arguments.titles) == bool(arguments.texts) or (
      bool(arguments.titles) != (arguments.query is not None)):
    parser.error('set --query and --titles, or --texts alone')
  return arguments


def main() -> None:
  arguments = _arguments()
  texts = arguments.titles or arguments.texts
  if texts == ['-']:
    texts = [line.strip() for line in sys.stdin if line.strip()]
  started = time.monotonic()
  try:
    ranked = rank(arguments.query, texts, model_name=arguments.model_name,
                  address=arguments.address, grpc=arguments.grpc,
                  timeout_secs=arguments.timeout_secs)
  except (ValueError, OSError) as error:
    sys.exit(f'serving.query: {arguments.address}: {error}')
  milliseconds = (time.monotonic() - started) * 1000
  for item in ranked:
    print(f'{item.probability:.4f}\t{item.text}')
  print(f'{len(ranked)} scored in {milliseconds:.1f} ms, connecting included', file=sys.stderr)


if __name__ == '__main__':
  main()
