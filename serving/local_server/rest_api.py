"""REST as TensorFlow Serving speaks it, the metrics page, and a page to try the models on.

What the server does not have: limits on a body's size and on the time in which it must have come.
"""

import asyncio
import base64
import hashlib
import html
import pathlib
import re
import urllib.parse
import zlib

from starlette import applications
from starlette import exceptions
from starlette import requests
from starlette import responses
from starlette import routing
from tensorflow_serving.apis import model_pb2

from serving.local_server import model_process
from serving.local_server import status

_PAGE_FILE = pathlib.Path(__file__).with_name('page.html')
# http_rest_api_util.cc, kPredictionApiRegex and kModelStatusApiRegex. As there, letters' case is no matter until
# the method is looked at.
_MODEL = r'(?i:/v1/models/)(?P<name>[^/:]+)' r'(?:(?i:/versions/)(?P<version>\d+)|(?i:/labels/)(?P<label>[^/:]+))?'
_POST = re.compile(_MODEL + r':(?P<method>classify|regress|predict)')
_GET = re.compile(_MODEL + r'(?P<resource>(?i:/metadata))?')
_METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
_MAX_INT64 = (1 << 63) - 1
# http_rest_api_util.cc, AddCORSHeaders.
_CORS_HEADERS = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Methods': 'POST, GET',
  'Access-Control-Allow-Headers': 'Content-Type',
}


def make_app(
  models: model_process.ModelProcess,
  max_body_bytes: int,
  body_timeout_secs: float,
  metrics_path: str | None,
  *,
  cors: bool = False,
) -> applications.Starlette:
  """The REST application.

  Args:
    models: runs the requests.
    max_body_bytes: the longest body, also after gunzip; a longer one is answered 413.
    body_timeout_secs: the time in which a body must have come, else 408.
    metrics_path: where the Prometheus page is; None for none.
    cors: whether pages of other origins may call.
  """
  front = _Front(models, max_body_bytes, body_timeout_secs)
  headers = _CORS_HEADERS if cors else {}

  def error(http_status, message):
    return responses.JSONResponse({'error': message}, http_status, headers)

  routes = [routing.Route('/', front.page, methods=['GET'])]
  if metrics_path:
    routes.append(routing.Route(metrics_path, front.metrics, methods=['GET']))

  async def answer(request):
    if cors and request.method == 'OPTIONS':
      return responses.Response(headers=headers)
    return responses.Response(await front.answer(request), headers=headers, media_type='application/json')

  routes.append(routing.Route('/{path:path}', answer, methods=_METHODS))
  return applications.Starlette(
    routes=routes,
    exception_handlers={
      status.StatusError: lambda _, raised: error(raised.http_status, raised.message),
      exceptions.HTTPException: lambda _, raised: error(raised.status_code, raised.detail),
      Exception: lambda *_: error(500, 'Internal error of the local test server; see its log.'),
    },
  )


class _Front:
  """The handlers."""

  def __init__(self, models, max_body_bytes, body_timeout_secs):
    self._models = models
    self._max_body_bytes = max_body_bytes
    self._body_timeout_secs = body_timeout_secs
    self._page = _PAGE_FILE.read_text(encoding='utf-8')
    script = re.findall('<script>(.*)</script>', self._page, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    self._page_policy = (
      f"default-src 'none'; connect-src 'self'; script-src 'sha256-{digest}'; "
      "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
      "frame-ancestors 'none'"
    )

  async def page(self, _):
    models = await self._models.call('models')
    content = self._page.replace('MODELS', html.escape(models.decode()))
    return responses.HTMLResponse(
      content, headers={'Content-Security-Policy': self._page_policy, 'X-Content-Type-Options': 'nosniff'}
    )

  async def metrics(self, request):
    if request.url.query:  # http_server.cc, ProcessPrometheusRequest: the query string is part of the path.
      path = f'{request.url.path}?{request.url.query}'
      return responses.PlainTextResponse(f'Unexpected path: {path}. Should be {request.url.path}', 400)
    return responses.PlainTextResponse(await self._models.call('metrics'))

  async def answer(self, request: requests.Request) -> bytes:
    """The body of the answer to a call."""
    path = request.scope['raw_path'].decode('latin-1')
    if request.scope['query_string']:
      path += '?' + request.scope['query_string'].decode('latin-1')
    pattern = {'POST': _POST, 'GET': _GET}.get(request.method)
    match = pattern and pattern.fullmatch(path)
    if not match:
      known = path.lower().startswith('/v1/')
      raise exceptions.HTTPException(400 if known else 404, f'Malformed request: {request.method} {path}')
    spec = _spec(match).SerializeToString()
    if request.method == 'POST':
      api, body = match['method'].capitalize(), await self._body(request)
    else:
      api, body = 'GetModelMetadata' if match['resource'] == '/metadata' else 'GetModelStatus', b''
    return await self._models.call('rest', api, spec, body)

  async def _body(self, request):
    body = bytearray()
    try:
      async with asyncio.timeout(self._body_timeout_secs):
        async for chunk in request.stream():
          body += chunk
          self._check_size(len(body))
    except TimeoutError:
      raise exceptions.HTTPException(408, 'The body did not come in time') from None
    except requests.ClientDisconnect:
      raise exceptions.HTTPException(499, 'The client went away') from None
    if 'gzip' in request.headers.get('content-encoding', ''):  # evhttp_request.cc, NeedUncompressGzipContent.
      return await asyncio.to_thread(self._gunzip, body)
    return bytes(body)

  def _check_size(self, size):
    if size > self._max_body_bytes:
      raise exceptions.HTTPException(
        413, f'The body is larger than {self._max_body_bytes} bytes, the limit set by --max_body_bytes'
      )

  def _gunzip(self, body):
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
      inflated = inflater.decompress(body, self._max_body_bytes + 1)
    except zlib.error:
      raise status.invalid_argument('The body is not in the gzip format') from None
    self._check_size(len(inflated))
    if not inflater.eof:
      raise status.invalid_argument('The gzip body ends too early')
    return inflated


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
