"""The child process: all that needs TensorFlow. The parent's side is model_process.py.

It reads (call id, method of `calls.Calls`, arguments, deadline) from a pipe and writes (call id,
error code or 0, result or message), in the order in which the answers are ready. Before all answers
it writes one with the id None: the models are loaded, or why not.
"""

from concurrent import futures
import signal
import threading
import time

from absl import logging
import grpc
import tensorflow as tf
from tensorflow_serving.config import model_server_config_pb2

from serving.local_server import calls as calls_lib
from serving.local_server import options as options_lib
from serving.local_server import servable
from serving.local_server import status
from serving.local_server import versions

_NUM_THREADS = 8


class Worker:
  """Answers the calls of one pipe.

  Args:
    connection: the pipe's end.
    calls: has the methods.
  """

  def __init__(self, connection, calls: calls_lib.Calls):
    self._connection = connection
    self._calls = calls
    self._sending = threading.Lock()

  def send(self, *message) -> None:
    with self._sending:
      self._connection.send(message)

  def answer(self, call_id: int, method: str, arguments: tuple, deadline: float) -> None:
    """Makes the call, unless `deadline` (of `time.monotonic`) has passed, and sends its answer."""
    try:
      if time.monotonic() > deadline:
        raise status.StatusError(
          grpc.StatusCode.DEADLINE_EXCEEDED, 'The deadline passed while the request waited for a thread'
        )
      answer = (0, getattr(self._calls, method)(*arguments))
    except Exception as error:  # becomes the answer
      if not isinstance(error, status.StatusError):
        logging.exception('A call failed')
      error = status.from_exception(error)
      answer = (error.code.value[0], error.message)
    self.send(call_id, *answer)


def _poll(manager, poll_secs):
  while True:
    time.sleep(poll_secs)
    try:
      manager.poll()
    except Exception:  # the next look may do better
      logging.exception('Looking for new versions failed')


def main(connection, options: options_lib.Options, config: bytes, restarted: bool) -> None:
  """Loads the models of `config` (a ModelServerConfig); answers until the parent is gone."""
  tf.get_logger().setLevel('ERROR')  # It advises against sessions.
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
  manager = versions.Manager(options)
  worker = Worker(connection, calls_lib.Calls(manager, options))
  try:
    servable.session_config(options)
    manager.reload(model_server_config_pb2.ModelServerConfig.FromString(config), restarted=restarted)
    worker.send(None, 0, b'')
  except status.StatusError as error:
    worker.send(None, error.code.value[0], error.message)
  except ValueError as error:
    worker.send(None, grpc.StatusCode.INVALID_ARGUMENT.value[0], str(error))
    return
  threading.Thread(target=_poll, args=(manager, options.poll_secs), daemon=True).start()
  runs, reloads = futures.ThreadPoolExecutor(_NUM_THREADS), futures.ThreadPoolExecutor(1)
  while True:
    try:
      call_id, method, arguments, deadline = connection.recv()
    except EOFError:
      return
    # Loading may take long: it must not hold the threads of the runs.
    threads = reloads if method == 'reload' else runs
    threads.submit(worker.answer, call_id, method, arguments, deadline)
