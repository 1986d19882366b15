"""The child process that runs SavedModels, each in a `tf.compat.v1.Session` as in the C++ server.

It reads (call id, method, arguments) from a pipe and writes (call id, error code or 0, result or
message), in the order in which the answers are ready. What to feed, what to fetch and whom to
answer is the parent's business: runtime.py.
"""

import concurrent.futures
import signal
import threading
import time

import tensorflow as tf
import tensorflow_text  # pylint: disable=unused-import  # registers the ops that stock servers link
from tensorflow.core.protobuf import config_pb2

_NUM_THREADS = 8
_INTERNAL = 13


class _LoadedModel:
  """A session over one SavedModel, and its prepared calls: one for each choice of fetches."""

  def __init__(self, path: str, session_config: bytes, timeout_secs: float):
    graph = tf.Graph()
    self._session = tf.compat.v1.Session(
        graph=graph, config=config_pb2.ConfigProto.FromString(session_config))
    with graph.as_default():
      loaded = tf.compat.v1.saved_model.loader.load(self._session, ['serve'], path)
    self.signatures = {
        name: signature.SerializeToString() for name, signature in loaded.signature_def.items()}
    self._run_options = config_pb2.RunOptions(timeout_in_ms=int(timeout_secs * 1000))
    self._callables = {}

  def run(self, feeds, fetches):
    # Not Session.run: in Python that compares a feed's shape with the signature's, and would hide
    # what a request of the wrong rank does to the graph in the C++ server. It takes longer, too.
    key = (tuple(feeds), fetches)
    if key not in self._callables:
      options = config_pb2.CallableOptions(
          feed=feeds, fetch=fetches, run_options=self._run_options)
      make_callable = self._session._make_callable_from_options  # pylint: disable=protected-access
      self._callables[key] = make_callable(options)
    return self._callables[key](*feeds.values())


class _Worker:
  """Answers the calls of one pipe."""

  def __init__(self, connection, session_config, timeout_secs):
    self._connection = connection
    self._session_config = session_config
    self._timeout_secs = timeout_secs
    self._sending = threading.Lock()
    self._models = {}

  def load(self, handle, path):
    model = _LoadedModel(path, self._session_config, self._timeout_secs)
    self._models[handle] = model
    return model.signatures

  def unload(self, handle):
    self._models.pop(handle, None)

  def run(self, handle, feeds, fetches, deadline):
    if time.monotonic() > deadline:
      raise tf.errors.DeadlineExceededError(
          None, None, 'Deadline passed while waiting for a thread')
    return self._models[handle].run(feeds, fetches)

  def answer(self, call_id, method, arguments):
    try:
      answer = (call_id, 0, getattr(self, method)(*arguments))
    except tf.errors.OpError as error:
      answer = (call_id, error.error_code, error.message)
    except Exception as error:  # pylint: disable=broad-exception-caught  # becomes the answer
      answer = (call_id, _INTERNAL, f'{type(error).__name__}: {error}')
    with self._sending:
      self._connection.send(answer)


def main(connection, session_config: bytes, timeout_secs: float) -> None:
  """Answers until the parent closes its end of the pipe or is gone."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
  worker = _Worker(connection, session_config, timeout_secs)
  runs = concurrent.futures.ThreadPoolExecutor(_NUM_THREADS)
  loads = concurrent.futures.ThreadPoolExecutor(1)
  while True:
    try:
      call_id, method, arguments = connection.recv()
    except EOFError:
      return
    (runs if method == 'run' else loads).submit(worker.answer, call_id, method, arguments)
