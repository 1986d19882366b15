"""uvicorn as the local test server needs it: patient with answers, impatient with slow clients."""

import contextlib
import socket

import h11
from starlette import applications
import uvicorn
from uvicorn.protocols.http import h11_impl

_KEEP_ALIVE_SECS = 50  # libevent's HTTP_READ_TIMEOUT: so long does the server keep an idle connection.


class RestServer(uvicorn.Server):
  """Leaves the signals to its caller, which has the gRPC server to stop too."""

  def capture_signals(self):
    return contextlib.nullcontext()


def make(application: applications.Starlette, client_timeout_secs: float) -> RestServer:
  """A server, not started yet: `await make(…).serve(sockets=[bind(…)])`.

  Args:
    application: what it serves.
    client_timeout_secs: the time in which a request's head must have come.
  """

  class Protocol(_Protocol):
    head_timeout_secs = client_timeout_secs

  return RestServer(
    uvicorn.Config(
      application,
      http=Protocol,
      ws='none',
      lifespan='off',
      log_config=None,
      access_log=False,
      server_header=False,
      timeout_keep_alive=_KEEP_ALIVE_SECS,
      timeout_graceful_shutdown=1,
    )
  )


def bind(host: str, port: int, flag: str) -> socket.socket:
  """A socket that is bound and does not listen yet: until the models are loaded, clients are to be refused.

  Args:
    host: its address.
    port: its port.
    flag: the flag that chose the port, for the error.

  Raises:
    ValueError: the address is taken, or none of this machine.
  """
  bound = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
  bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    bound.bind((host, port))
    return bound
  except (OSError, OverflowError) as error:
    bound.close()
    raise ValueError(f'{host}:{port} is not free to listen on; set --{flag}: {error}') from None


class _Protocol(h11_impl.H11Protocol):
  """Closes a connection on which a request's head does not come in time; uvicorn waits for ever.

  And answers a client that has sent all and closed its sending half, where uvicorn hangs up.
  """

  head_timeout_secs = 10.0
  _timer = None

  def connection_made(self, transport):
    super().connection_made(transport)
    self._watch()

  def data_received(self, data):
    super().data_received(data)
    self._watch()

  def eof_received(self):
    if self.conn.their_state not in (h11.DONE, h11.MUST_CLOSE):
      return False  # No request is whole: the transport closes.
    self.cycle.keep_alive = False
    return True

  def connection_lost(self, exc):
    self._stop_watch()
    super().connection_lost(exc)

  def _watch(self):
    if self.conn.their_state is not h11.IDLE:
      self._stop_watch()
    elif not self._timer:
      self._timer = self.loop.call_later(self.head_timeout_secs, self.transport.close)

  def _stop_watch(self):
    if self._timer:
      self._timer.cancel()
      self._timer = None
