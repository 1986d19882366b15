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
_MODEL = r'(?i:/v1/models/)(?P<name>[^/:]+)' r'(?:(?i:/versions/)(?P<version>\d+)|(?i:/labels/)(?P<label>[^/:]+))?'
_POST = re.compile(_MODEL + r':(?P<method>(?i:classify|regress|predict))')
_GET = re.compile(_MODEL + r'(?P<metadata>(?i:/metadata))?')
_METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
_MAX_INT64 = (1 << 63) - 1


def make_app(
  models: model_process.ModelProcess, max_body_bytes: int, body_timeout_secs: float, metrics_path: str | None
) -> applications.Starlette:
  """The REST application.

  Args:
    models: runs the requests.
    max_body_bytes: the longest body, also after gunzip; a longer one is answered 413.
    body_timeout_secs: the time in which a body must have come, else 408.
    metrics_path: where the Prometheus page is; None for none.
  """
  front = _Front(models, max_body_bytes, body_timeout_secs)
  routes = [routing.Route('/', front.page, methods=['GET'])]
  if metrics_path:
    routes.append(routing.Route(metrics_path, front.metrics, methods=['GET']))
  routes.append(routing.Route('/{path:path}', front.answer, methods=_METHODS))
  return applications.Starlette(
    routes=routes,
    exception_handlers={
      status.StatusError: lambda _, error: _error(error.http_status, error.message),
      exceptions.HTTPException: lambda _, error: _error(error.status_code, error.detail),
      Exception: lambda *_: _error(500, 'Internal error of the local test server; see its log.'),
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

  async def metrics(self, _):
    return responses.PlainTextResponse(await self._models.call('metrics'))

  async def answer(self, request: requests.Request):
    path = request.scope['raw_path'].decode('latin-1')
    pattern = {'POST': _POST, 'GET': _GET}.get(request.method)
    match = pattern and pattern.fullmatch(path)
    if not match:
      raise exceptions.HTTPException(404, f'Malformed request: {request.method} {path}')
    spec = _spec(match).SerializeToString()
    if request.method == 'POST':
      api, body = match['method'].capitalize(), await self._body(request)
    else:
      api, body = 'GetModelMetadata' if match['metadata'] else 'GetModelStatus', b''
    content = await self._models.call('rest', api, spec, body)
    return responses.Response(content, media_type='application/json')

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
    if request.headers.get('content-encoding', '').lower() == 'gzip':
      return self._gunzip(body)
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
    return inflated


def _error(http_status, message):
  return responses.JSONResponse({'error': message[: status.MAX_MESSAGE_CHARS]}, http_status)


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
