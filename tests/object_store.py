"""Google Cloud Storage on this machine, with an empty bucket, for the time of one command that uses paths on gs://.

    pip install gcp-storage-emulator
    python -m tests.object_store env REMOTE_PATHS=gs://bucket/test python -m pytest -q tests/remote_paths_test.py
    python -m tests.object_store bash      # And in that shell any step, with paths such as gs://bucket/labels.

TensorFlow knows one address of the store, googleapis.com, and reaches it here by a proxy that answers in its place.
"""

import functools
from http import server as http_server
import logging
import os
import ssl
import subprocess
import sys
import tempfile
import threading

from gcp_storage_emulator import server
from gcp_storage_emulator import storage
from gcp_storage_emulator.handlers import buckets

_CERTIFICATE = (
  'openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=googleapis.com '
  '-addext subjectAltName=DNS:*.googleapis.com -keyout key.pem -out cert.pem'
).split()


class _Request(server.Request):
  """A request as TensorFlow sends it: an empty upload has no body."""

  @property
  def data(self):
    return super().data or (b'' if 'uploadType' in self.query else None)


class _Handler(server.RequestHandler):
  """Requests within the tunnel that the client has a proxy open."""

  protocol_version = 'HTTP/1.1'
  disable_nagle_algorithm = True
  lock = threading.Lock()  # The emulator is made for one thread.

  def __init__(self, context: ssl.SSLContext, *args):
    self._context = context
    super().__init__(*args)

  def do_CONNECT(self):
    self.send_response_only(200)
    self.end_headers()
    self.request = self._context.wrap_socket(self.request, server_side=True)
    self.setup()
    self.close_connection = False

  def parse_request(self):
    parsed = super().parse_request()
    if parsed and 'Transfer-Encoding' in self.headers:  # TensorFlow sends both; the chunks count.
      del self.headers['Content-Length']
    return parsed

  def send_header(self, keyword, value):
    super().send_header(keyword, value.replace('http://', 'https://', 1) if keyword == 'Location' else value)


class _Proxy(http_server.ThreadingHTTPServer):
  def handle_error(self, request, client_address):
    if not isinstance(sys.exception(), ConnectionError):  # A client that was killed is no error.
      super().handle_error(request, client_address)


def _in_turn(handle):
  def locked(router, method):
    with _Handler.lock:
      handle(router, method)

  return locked


def main(command: list[str]) -> int:
  """Runs the command with a store; returns its exit code."""
  logging.disable()  # The emulator warns of each file that is not there.
  server.Request = _Request
  server.Router.handle = _in_turn(server.Router.handle)
  store = storage.Storage(use_memory_fs=True)
  buckets.create_bucket('bucket', store)
  with tempfile.TemporaryDirectory() as folder:
    subprocess.run(_CERTIFICATE, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f'{folder}/cert.pem', f'{folder}/key.pem')
    with _Proxy(('127.0.0.1', 0), functools.partial(_Handler, context, store)) as proxy:
      threading.Thread(target=proxy.serve_forever, daemon=True).start()
      there = {
        'https_proxy': f'http://127.0.0.1:{proxy.server_port}',
        'CURL_CA_BUNDLE': f'{folder}/cert.pem',
        'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'any',
        'GCS_STAT_CACHE_MAX_AGE': '0',  # As b2d sets it, for what imports TensorFlow before b2d.
      }
      return subprocess.run(command, env=os.environ | there, check=False).returncode


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
