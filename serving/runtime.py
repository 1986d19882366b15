"""The parent's side of the model process: calls into it, and starts it anew when it dies.

A model that takes its process down (a kernel's crash, the system's out-of-memory killer) costs the
calls in flight, answered UNAVAILABLE, and the seconds of a restart; the server stays.
"""

import concurrent.futures
import itertools
import multiprocessing
import queue
import threading
import time
from typing import Any
import weakref

from absl import logging
import grpc
import numpy as np
from tensorflow.core.protobuf import meta_graph_pb2

from serving import session_worker
from serving import status

_MAX_RESTART_PAUSE_SECS = 30
_START_TIMEOUT_SECS = 300


class Servable:
  """One loaded version of a model.

  Attributes:
    name: the model's name.
    version: its version.
    signatures: name → SignatureDef.
  """

  def __init__(self, runtime: 'Runtime', handle: int, name: str, version: int, signatures):
    self._runtime = runtime
    self._handle = handle
    self.name = name
    self.version = version
    self.signatures = signatures

  def run(self, feeds: dict[str, np.ndarray], fetches: tuple[str, ...],
          deadline: float) -> list[np.ndarray]:
    """Runs the graph.

    Args:
      feeds: tensor name → value.
      fetches: tensor names.
      deadline: on the clock of `time.monotonic`, in seconds.

    Returns:
      The fetched values, in order.

    Raises:
      StatusError: the graph's own error, DEADLINE_EXCEEDED or UNAVAILABLE.
    """
    return self._runtime.call('run', (self._handle, feeds, fetches, deadline), deadline)


class Runtime:
  """The model process. Thread-safe.

  Args:
    session_config: a serialised ConfigProto for every session.
    timeout_secs: the longest that one call into a graph may take.
  """

  def __init__(self, session_config: bytes, timeout_secs: float):
    self._arguments = (session_config, timeout_secs)
    self._handles = itertools.count(1)
    self._call_ids = itertools.count(1)
    self._paths = {}  # handle → path: what a new process has to load again
    self._released = queue.SimpleQueue()
    self._lock = threading.Lock()  # guards the pipe's sending end, _pending and _ready
    self._pending = {}
    self._connection = None
    self._closing = False
    self._ready = threading.Event()
    self._start()
    threading.Thread(target=self._supervise, name='runtime', daemon=True).start()
    self._ready.set()

  def load(self, name: str, version: int, path: str) -> Servable:
    """Loads a SavedModel; it is unloaded when nobody holds the Servable any more.

    Raises:
      StatusError: it cannot be loaded.
    """
    handle = next(self._handles)
    loaded = self.call('load', (handle, path), time.monotonic() + _START_TIMEOUT_SECS)
    self._paths[handle] = path
    signatures = {key: meta_graph_pb2.SignatureDef.FromString(value)
                  for key, value in loaded.items()}
    servable = Servable(self, handle, name, version, signatures)
    # Only a queue: a finaliser may run in any thread, also one that holds the pipe's lock.
    weakref.finalize(servable, self._released.put, handle)
    return servable

  def unload_released(self) -> None:
    """Unloads the models whose Servable is gone, so that calls under way finish first."""
    while self._ready.is_set() and not self._released.empty():
      handle = self._released.get()
      self._paths.pop(handle, None)
      self._send('unload', (handle,))

  def call(self, method: str, arguments: tuple[Any, ...], deadline: float) -> Any:
    """Calls session_worker's `method` and waits until `deadline`. Raises StatusError."""
    future = self._send(method, arguments)
    try:
      return future.result(max(0, deadline - time.monotonic()))
    except concurrent.futures.TimeoutError:
      raise status.StatusError(
          grpc.StatusCode.DEADLINE_EXCEEDED, 'The model did not answer in time.') from None

  def close(self) -> None:
    """Ends the model process."""
    self._closing = True
    self._process.terminate()

  def _send(self, method, arguments):
    future = concurrent.futures.Future()
    call_id = next(self._call_ids)
    with self._lock:
      if not self._ready.is_set():
        raise status.StatusError(
            grpc.StatusCode.UNAVAILABLE, 'The model process is starting again.')
      self._pending[call_id] = future
      try:
        self._connection.send((call_id, method, arguments))
      except OSError:
        pass  # The process is gone: the supervisor will fail what is pending.
    return future

  def _start(self):
    context = multiprocessing.get_context('spawn')
    self._connection, theirs = context.Pipe()
    self._process = context.Process(
        target=session_worker.main, args=(theirs, *self._arguments), daemon=True)
    self._process.start()
    theirs.close()

  def _supervise(self):
    while not self._closing:
      self._receive()
      self._fail_pending()
      if not self._closing:
        self._restart()

  def _receive(self):
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

  def _fail_pending(self):
    with self._lock:
      self._ready.clear()
      pending, self._pending = self._pending, {}
    for future in pending.values():
      future.set_exception(
          status.StatusError(grpc.StatusCode.UNAVAILABLE, 'The model process died.'))

  def _restart(self):
    for pause_secs in (min(2 ** n, _MAX_RESTART_PAUSE_SECS) for n in itertools.count()):
      self._process.join(1)
      logging.error('The model process died (exit code %s); starting it again',
                    self._process.exitcode)
      self._start()
      if self._load_again():
        self._ready.set()
        return
      time.sleep(pause_secs)

  def _load_again(self):
    try:
      for handle, path in list(self._paths.items()):
        self._connection.send((0, 'load', (handle, path)))
        _, code, message = self._connection.recv()
        if code:
          logging.error('%s could not be loaded again: %s', path, message)
      return True
    except (EOFError, OSError):
      return False
