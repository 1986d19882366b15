"""A client of TensorFlow Serving or of the local test server: scores titles for a query, best first.

    from serving import client; ranked = client.rank('cordless drill', ['20V drill', 'garden hose'])

Over REST this needs nothing beyond Python; over gRPC it imports TensorFlow, as the stubs need it.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import http.client
import importlib
import json
import urllib.parse

MODEL_NAME = 'student'  # As `export` names it.


@dataclasses.dataclass(frozen=True)
class Scored:
  """A text and its score; `logit` is unscaled, `probability` in [0, 1].

  Of more than two classes they are those of the most probable one, `class_index`; of two it is None.
  """

  text: str
  probability: float
  logit: float
  class_index: int | None = None


class RestClient:
  """Predict over REST, on one connection that stays open. Not thread-safe.

  Args:
    address: 'host:port'.
    timeout_secs: how long to wait for an answer.

  Raises:
    ValueError: the address is none.
  """

  def __init__(self, address: str, timeout_secs: float = 10):
    self._address = address
    try:
      self._connection = http.client.HTTPConnection(address, timeout=timeout_secs)
    except http.client.InvalidURL as error:
      raise ValueError(f'{address}: expected host:port: {error}') from None

  def predict(
    self, model_name: str, columns: Mapping[str, Sequence[str]], signature_name: str = 'serving_default'
  ) -> dict[str, list[float]]:
    """Scores rows.

    Args:
      model_name: the model's name.
      columns: input name → texts [N]; of 'rank' the query's [1].
      signature_name: the model's signature to call.

    Returns:
      Output name → values [N].

    Raises:
      ValueError: the server refused the request; its message says why.
      OSError: the server cannot be reached or did not answer in time.
    """
    path = f'/v1/models/{urllib.parse.quote(model_name, safe="")}:predict'
    inputs = {name: list(texts) for name, texts in columns.items()}
    body = json.dumps({'signature_name': signature_name, 'inputs': inputs})
    try:
      response, content = self._post(path, body)
      answer = json.loads(content)
    except (http.client.HTTPException, OSError, json.JSONDecodeError) as error:
      self._connection.close()
      raise OSError(f'{self._address}: expected an answer over HTTP, got {error!r}; does a server run there?') from None
    if response.status != 200:
      raise ValueError(f'{model_name}: HTTP {response.status}: {answer["error"]}')
    return answer['outputs']

  def _post(self, path, body):
    """The response and its content. A server closes an idle connection: then once more, on a new one."""
    used = self._connection.sock is not None
    try:
      return self._exchange(path, body)
    except (http.client.RemoteDisconnected, ConnectionError):
      self._connection.close()
      if not used:
        raise
    return self._exchange(path, body)

  def _exchange(self, path, body):
    self._connection.request('POST', path, body)
    response = self._connection.getresponse()
    return response, response.read()


def connect(address: str | None = None, *, grpc: bool = False, timeout_secs: float = 10):
  """A client with RestClient's interface; over gRPC if `grpc`. Arguments as of `rank`."""
  address = address or ('localhost:8500' if grpc else 'localhost:8501')
  if grpc:
    # Only now: REST's clients must not need TensorFlow.
    return importlib.import_module('serving.grpc_client').GrpcClient(address, timeout_secs)
  return RestClient(address, timeout_secs)


def rank(
  query: str | None,
  texts: Sequence[str],
  *,
  model_name: str = MODEL_NAME,
  address: str | None = None,
  grpc: bool = False,
  timeout_secs: float = 10,
) -> list[Scored]:
  """Scores texts and sorts them, best first; with more than two classes, the surest first.

  Titles are sent with their query once, to the signature `rank`. Where that is refused - a teacher has none, and a
  server that merges requests (--enable_batching) cannot run it - they are sent as pairs.

  Args:
    query: pairs each of `texts`, as titles; None for a model of single texts.
    texts: the titles or texts.
    model_name: the model's name.
    address: 'host:port', for gRPC also 'unix:path'; None for the server's usual port here.
    grpc: whether `address` speaks gRPC instead of REST.
    timeout_secs: how long to wait for an answer.

  Returns:
    As many as `texts`.

  Raises:
    ValueError: the server refused the request.
    OSError: the server cannot be reached or did not answer in time.
  """
  client = connect(address, grpc=grpc, timeout_secs=timeout_secs)
  if query is None:
    outputs = client.predict(model_name, {'text': texts})
  else:
    outputs = _score_titles(client, model_name, query, texts)
  scored = map(_scored, texts, outputs['probability'], outputs['logit'])
  return sorted(scored, key=lambda item: item.probability, reverse=True)


def _score_titles(client, model_name, query, titles):
  try:
    return client.predict(model_name, {'query': [query], 'title': titles}, 'rank')
  except ValueError:
    return client.predict(model_name, {'query': [query] * len(titles), 'title': titles})


def _scored(text, probability, logit):
  if not isinstance(probability, list):
    return Scored(text, probability, logit)
  best = max(range(len(probability)), key=probability.__getitem__)
  return Scored(text, probability[best], logit[best], best)
