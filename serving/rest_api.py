"""REST as TensorFlow Serving speaks it, the metrics page, and a page to try the models on.

What the server does not have: limits on a body's size and on the time in which it must have come.
"""

import asyncio
import base64
import hashlib
import html
import json
import pathlib
import re
import urllib.parse
import zlib

from absl import logging
from google.protobuf import json_format
from starlette import applications
from starlette import requests
from starlette import responses
from starlette import routing
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from serving import engine as engine_lib
from serving import example_inference
from serving import inference
from serving import json_tensor
from serving import status

_PAGE_FILE = pathlib.Path(__file__).with_name('page.html')
_MODEL = (r'(?i:/v1/models/)(?P<name>[^/:]+)'
          r'(?:(?i:/versions/)(?P<version>\d+)|(?i:/labels/)(?P<label>[^/:]+))?')
_POST = re.compile(_MODEL + r':(?P<method>(?i:classify|regress|predict))')
_GET = re.compile(_MODEL + r'(?P<metadata>(?i:/metadata))?')
_METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
_MAX_INT64 = (1 << 63) - 1


def make_app(engine: engine_lib.Engine, max_body_bytes: int, body_timeout_secs: float,
             metrics_path: str | None) -> applications.Starlette:
  """The REST application.

  Args:
    engine: runs the requests.
    max_body_bytes: the longest body, also after gunzip; a longer one is answered 413.
    body_timeout_secs: the time in which a body must have come, else 408.
    metrics_path: where the Prometheus page is; None for none.
  """
  front = _Front(engine, max_body_bytes, body_timeout_secs)
  routes = [routing.Route('/', front.page, methods=['GET'])]
  if metrics_path:
    routes.append(routing.Route(metrics_path, front.metrics, methods=['GET']))
  routes.append(routing.Route('/{path:path}', front.answer, methods=_METHODS))
  return applications.Starlette(routes=routes)


class _Front:
  """The handlers."""

  def __init__(self, engine, max_body_bytes, body_timeout_secs):
    self._engine = engine
    self._max_body_bytes = max_body_bytes
    self._body_timeout_secs = body_timeout_secs
    self._page = _PAGE_FILE.read_text(encoding='utf-8')
    script = re.search('<script>(.*)</script>', self._page, re.DOTALL).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    self._page_policy = (f"default-src 'none'; connect-src 'self'; script-src 'sha256-{digest}'; "
                         "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
                         "frame-ancestors 'none'")

  async def page(self, _):
    manager = self._engine.manager
    models = []
    for servable in filter(None, map(manager.latest, manager.names())):
      signature = servable.signatures.get(inference.DEFAULT_SIGNATURE)
      if signature:
        models.append({'name': servable.name, 'inputs': sorted(signature.inputs)})
    content = self._page.replace('MODELS', html.escape(json.dumps(models)))
    return responses.HTMLResponse(content, headers={
        'Content-Security-Policy': self._page_policy, 'X-Content-Type-Options': 'nosniff'})

  async def metrics(self, _):
    return responses.PlainTextResponse(self._engine.metrics.page())

  async def answer(self, request: requests.Request):
    path = request.scope['raw_path'].decode('latin-1')
    try:
      pattern = {'POST': _POST, 'GET': _GET}.get(request.method)
      match = pattern and pattern.fullmatch(path)
      if not match:
        raise _HttpError(404, f'Malformed request: {request.method} {path}')
      spec = _spec(match)
      if request.method == 'GET':
        content = await self._get(spec, bool(match['metadata']))
      else:
        content = await self._post(spec, match['method'].lower(), await self._body(request))
      return responses.Response(content, media_type='application/json')
    except status.StatusError as error:
      return responses.JSONResponse({'error': error.message}, error.http_status)
    except _HttpError as error:
      return responses.JSONResponse({'error': str(error)}, error.http_status)
    except Exception:  # pylint: disable=broad-exception-caught  # answered, without its text
      logging.exception('%s %r failed', request.method, path)
      return responses.JSONResponse({'error': 'Internal error of the stand-in server'}, 500)

  async def _get(self, spec, metadata):
    def handle(_):
      if not metadata:
        return _to_json(self._engine.manager.status(spec))
      request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=['signature_def'])
      answer = inference.metadata(self._engine.manager.lookup(spec), request)
      signatures = get_model_metadata_pb2.SignatureDefMap()
      answer.metadata['signature_def'].Unpack(signatures)
      return (b'{"model_spec":' + _to_json(answer.model_spec) +
              b',"metadata":{"signature_def":' + _to_json(signatures) + b'}}')
    api = 'GetModelMetadata' if metadata else 'GetModelStatus'
    return await self._engine.submit(handle, spec.name, api, 'REST')

  async def _post(self, spec, method, body):
    handlers = {'predict': self._predict, 'classify': self._classify, 'regress': self._regress}
    def handle(deadline):
      try:
        return json_tensor.dump(handlers[method](spec, json_tensor.parse(body), deadline))
      except RecursionError:
        raise status.invalid_argument('JSON Parse error: nested too deeply') from None
    return await self._engine.submit(handle, spec.name, method.capitalize(), 'REST')

  def _predict(self, spec, document, deadline):
    servable = self._engine.manager.lookup(spec)
    name = document.get('signature_name') or inference.DEFAULT_SIGNATURE
    if name not in servable.signatures:
      raise status.invalid_argument(
          f'Serving signature name: "{name}" not found in signature def')
    infos = servable.signatures[name].inputs
    if not infos:
      raise status.invalid_argument(f'Failed to get input map for signature: {name}')
    request = predict_pb2.PredictRequest(model_spec=spec)
    request.model_spec.signature_name = name
    rows = json_tensor.fill_predict(document, infos, request)
    response = inference.predict(servable, request, self._engine.limits, deadline)
    return json_tensor.predict_answer(response, rows)

  def _classify(self, spec, document, deadline):
    request = classification_pb2.ClassificationRequest(model_spec=spec)
    response = self._infer(request, document, example_inference.classify, deadline)
    return json_tensor.classify_answer(response)

  def _regress(self, spec, document, deadline):
    request = regression_pb2.RegressionRequest(model_spec=spec)
    response = self._infer(request, document, example_inference.regress, deadline)
    return json_tensor.regress_answer(response)

  def _infer(self, request, document, call, deadline):
    request.model_spec.signature_name = document.get('signature_name', '')
    json_tensor.fill_examples(document, request)
    servable = self._engine.manager.lookup(request.model_spec)
    return call(servable, request, self._engine.limits, deadline)

  async def _body(self, request):
    try:
      async with asyncio.timeout(self._body_timeout_secs):
        body = bytearray()
        async for chunk in request.stream():
          body += chunk
          self._check_size(len(body))
    except TimeoutError:
      raise _HttpError(408, 'The body did not come in time') from None
    except requests.ClientDisconnect:
      raise _HttpError(499, 'The client went away') from None
    if request.headers.get('content-encoding', '').lower() == 'gzip':
      return self._gunzip(body)
    return bytes(body)

  def _check_size(self, size):
    if size > self._max_body_bytes:
      raise _HttpError(413, f'The body is larger than {self._max_body_bytes} bytes, the limit set '
                            'by --max_body_bytes')

  def _gunzip(self, body):
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
      inflated = inflater.decompress(body, self._max_body_bytes + 1)
    except zlib.error:
      raise status.invalid_argument('The body is not in the gzip format') from None
    self._check_size(len(inflated))
    return inflated


class _HttpError(Exception):
  """An answer without a counterpart among the status codes."""

  def __init__(self, http_status: int, message: str):
    super().__init__(message[:status.MAX_MESSAGE_CHARS])
    self.http_status = http_status


def _spec(match):
  spec = model_pb2.ModelSpec(name=_unquote(match['name']))
  if match['version']:
    if int(match['version']) > _MAX_INT64:
      raise status.invalid_argument(f'Failed to convert version: {match["version"]} to numeric.')
    spec.version.value = int(match['version'])
  elif match['label']:
    spec.version_label = _unquote(match['label'])
  return spec


def _unquote(part):
  return urllib.parse.unquote(part, errors='replace')


def _to_json(message):
  return json_format.MessageToJson(
      message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True).encode()
