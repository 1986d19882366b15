"""The parent's side of the model process: calls into it, and starts it anew when it dies.

A model that takes its process down (a kernel's crash, the system's out-of-memory killer) costs the
calls in flight, answered UNAVAILABLE, and the seconds of a restart; the server stays.
"""

import asyncio
from concurrent import futures
import itertools
import multiprocessing
import os
import threading
import time

from absl import flags
from absl import logging
import grpc

from serving.local_server import options as options_lib
from serving.local_server import status

_MAX_RESTART_PAUSE_SECS = 30


class ModelProcess:
  """The model process. Thread-safe.

  Args:
    options: its settings.
    config: the models, a serialised ModelServerConfig.
    max_concurrent: how many calls are under way at most; one more is UNAVAILABLE.

  Raises:
    StatusError: the models cannot be loaded.
  """

  def __init__(self, options: options_lib.Options, config: bytes, max_concurrent: int):
    self._options = options
    self._config = config
    self._slots = threading.BoundedSemaphore(max_concurrent)
    self._threads = futures.ThreadPoolExecutor(max_concurrent, 'call')
    self._call_ids = itertools.count()
    self._lock = threading.Lock()  # guards the pipe's sending end, _pending and _ready
    self._pending: dict[int, futures.Future] = {}
    self._ready = False
    self._closing = False
    try:
      problem = self._start(restarted=False)
    except EOFError:
      problem = status.StatusError(grpc.StatusCode.UNAVAILABLE, 'the model process died while it loaded the models')
    if problem:
      self.close()
      raise problem
    threading.Thread(target=self._supervise, name='supervisor', daemon=True).start()

  async def call(self, method: str, *arguments, timeout_secs: float | None = None) -> bytes:
    """Makes a call in the model process.

    Args:
      method: of `calls.Calls`.
      *arguments: its arguments.
      timeout_secs: what the client allows, if it says; at most the server's own limit counts.

    Returns:
      The answer.

    Raises:
      StatusError: the call's own, UNAVAILABLE or DEADLINE_EXCEEDED.
    """
    if not self._slots.acquire(blocking=False):
      raise status.StatusError(
        grpc.StatusCode.UNAVAILABLE, 'The batch scheduling queue to which this task was submitted is full'
      )
    limit_secs = min(self._options.timeout_secs, timeout_secs or self._options.timeout_secs)
    future = self._threads.submit(self._call, method, arguments, time.monotonic() + limit_secs)
    # Not when the client goes away, but when the thread is free again.
    future.add_done_callback(lambda _: self._slots.release())
    return await asyncio.wrap_future(future)

  async def reload(self, request: bytes, timeout_secs: float | None = None) -> bytes:
    """HandleReloadConfigRequest, serialised; a new process will load those models, too."""
    self._config = await self.call('reload', request, timeout_secs=timeout_secs)
    return b''  # An empty ReloadConfigResponse.

  def close(self) -> None:
    """Ends the model process."""
    self._closing = True
    self._process.terminate()

  def _call(self, method, arguments, deadline):
    future: futures.Future = futures.Future()
    call_id = next(self._call_ids)
    with self._lock:
      if not self._ready:
        raise status.StatusError(grpc.StatusCode.UNAVAILABLE, 'The model process is starting again.')
      self._pending[call_id] = future
      try:
        self._connection.send((call_id, method, arguments, deadline))
      except OSError:
        pass  # The process is gone: the supervisor will fail what is pending.
    try:
      return future.result(max(0, deadline - time.monotonic()))
    except futures.TimeoutError:
      raise status.StatusError(grpc.StatusCode.DEADLINE_EXCEEDED, 'The model did not answer in time.') from None

  def _start(self, restarted):
    """Starts the process and waits until it has loaded the models; returns what kept it from some."""
    context = multiprocessing.get_context('spawn')
    self._connection, theirs = context.Pipe()
    self._process = context.Process(
      target=_work, args=(logging.get_verbosity(), theirs, self._options, self._config, restarted), daemon=True
    )
    self._process.start()
    theirs.close()
    _, code, message = self._connection.recv()
    with self._lock:
      self._ready = True
    return status.from_number(code, message) if code else None

  def _supervise(self):
    while not self._closing:
      self._receive()
      with self._lock:
        self._ready = False
        pending, self._pending = self._pending, {}
      for future in pending.values():
        future.set_exception(status.StatusError(grpc.StatusCode.UNAVAILABLE, 'The model process died.'))
      if not self._closing:
        self._restart()

  def _receive(self):
    """Hands out the answers until the process dies."""
    while True:
      try:
        call_id, code, result = self._connection.recv()
      except (EOFError, OSError):
        return
      with self._lock:
        future = self._pending.pop(call_id)
      if code:
        future.set_exception(status.from_number(code, result))
      else:
        future.set_result(result)

  def _restart(self):
    for pause_secs in (min(2**n, _MAX_RESTART_PAUSE_SECS) for n in itertools.count()):
      self._process.join(1)
      logging.error('The model process died (exit code %s); starting it again', self._process.exitcode)
      try:
        problem = self._start(restarted=True)
      except (EOFError, OSError):
        time.sleep(pause_secs)
        continue
      if problem:
        logging.error('%s', problem.message)
      return


def _work(verbosity, *arguments):
  """The child's main."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's C++ calls it an error that there is no GPU.
  os.environ.setdefault('TF_USE_LEGACY_KERAS', '1')  # Keras 3 would import matplotlib, and more.
  flags.FLAGS.mark_as_parsed()  # Else absl's logging warns; its verbosity is all that is needed.
  logging.use_absl_handler()
  logging.set_verbosity(verbosity)
  # Only here: TensorFlow takes seconds to import, and the parent needs nothing of it.
  from serving.local_server import model_worker

  model_worker.main(*arguments)
