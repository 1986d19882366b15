"""Starts the local test server as a process, for the serving tests."""

import contextlib
import pathlib
import signal
import socket
import subprocess
import sys
import time

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_START_TIMEOUT_SECS = 600  # two imports of TensorFlow, on a busy machine


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


class LocalServer:
  """A running `python -m serving.server`; `flags` as on its command line."""

  def __init__(self, flags: list[str], log_path: str):
    self.grpc_port, self.rest_port = free_port(), free_port()
    self.log_path = log_path
    with open(log_path, 'wb') as log:
      self.process = subprocess.Popen(
        [
          sys.executable,
          '-m',
          'serving.server',
          f'--port={self.grpc_port}',
          f'--rest_api_port={self.rest_port}',
          *flags,
        ],
        cwd=_ROOT,
        stderr=log,
      )
    self.grpc = f'127.0.0.1:{self.grpc_port}'
    self.rest = f'127.0.0.1:{self.rest_port}'
    self._wait()

  def log(self) -> str:
    return pathlib.Path(self.log_path).read_text(errors='replace')

  def children(self) -> list[int]:
    """The process ids of its children that run Python's spawn_main: the model process."""
    pids = []
    for task in pathlib.Path(f'/proc/{self.process.pid}/task').iterdir():
      pids += map(int, (task / 'children').read_text().split())
    return [pid for pid in pids if b'spawn_main' in pathlib.Path(f'/proc/{pid}/cmdline').read_bytes()]

  def stop(self) -> None:
    self.process.send_signal(signal.SIGTERM)
    try:
      self.process.wait(20)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()

  def _wait(self):
    deadline = time.monotonic() + _START_TIMEOUT_SECS
    while time.monotonic() < deadline and self.process.poll() is None:
      with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', self.rest_port), 1):
        return
      time.sleep(0.1)
    self.stop()
    raise RuntimeError(f'the local test server did not start:\n{self.log()}')
