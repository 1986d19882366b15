"""One driver works in a folder: it holds lease.json there and renews it; a second one is told who works there.

The lease of a driver that has died expires: at once where its process can be seen to be gone, else when it has not been
renewed while it was watched. It is watched, not dated: the clocks of two machines may be an hour apart.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import json
import os
import socket
import threading
import time
from typing import Any
import uuid

from absl import logging
import tensorflow as tf

from b2d import runs

NAME = 'lease.json'
_RENEW_SECS = 5.0
_EXPIRE_SECS = 20.0
_SETTLE_SECS = 0.2  # In which another one that started at the same moment has written its own.


@contextlib.contextmanager
def hold(folder: str) -> Iterator[Callable[[], None]]:
  """Holds the folder until the context is left, or the process ends.

  Yields:
    A function that raises ValueError if another driver has taken the folder meanwhile.

  Raises:
    ValueError: another driver works in the folder.
  """
  path = os.path.join(folder, NAME)
  mine = {'host': _host(), 'pid': os.getpid(), 'nonce': uuid.uuid4().hex}
  _wait_for_expiry(folder, path)

  def renew() -> None:
    runs.write_text(path, json.dumps(mine | {'time': time.strftime('%F %T %z'), 'beat': uuid.uuid4().hex}) + '\n')

  def check() -> None:
    found = _read(path)
    if found.get('nonce') != mine['nonce']:
      raise ValueError(_taken(folder, found))

  renew()
  time.sleep(_SETTLE_SECS)
  check()
  ended = threading.Event()

  def keep() -> None:
    while not ended.wait(_RENEW_SECS):
      try:
        check()
        renew()
      except ValueError:
        return  # `check` tells the driver.
      except (OSError, tf.errors.OpError) as error:
        logging.warning('%s: could not be renewed: %s', path, error)

  thread = threading.Thread(target=keep, daemon=True)
  thread.start()
  try:
    yield check
  finally:
    ended.set()
    thread.join()
    if _read(path).get('nonce') == mine['nonce']:
      tf.io.gfile.remove(path)


def _wait_for_expiry(folder: str, path: str) -> None:
  """Returns when no living driver holds the lease; raises ValueError if one does."""
  found = _read(path)
  deadline = time.monotonic() + _EXPIRE_SECS
  while found and not (found.get('host') == _host() and _is_gone(found.get('pid', 0))):
    if time.monotonic() > deadline:
      return
    time.sleep(_RENEW_SECS / 10)
    now = _read(path)
    if now and now != found:
      raise ValueError(_taken(folder, now))
    found = now


def _read(path: str) -> dict[str, Any]:
  """What the lease says; nothing where there is none, or not a whole one."""
  try:
    return runs.read_json(path)
  except (ValueError, OSError, tf.errors.OpError):
    return {}


def _taken(folder: str, found: dict[str, Any]) -> str:
  holder = f'process {found.get("pid")} on {found.get("host")} works there (seen {found.get("time")})'
  return (
    f'{folder}: expected to work there alone, found that {holder if found else "the lease was removed"}; wait for it, '
    'end it, or choose another --output_dir'
  )


def _host() -> str:
  """Host and, where there is one, the name space of its process ids: two containers may be alike in both else."""
  with contextlib.suppress(OSError):
    return f'{socket.gethostname()} {os.readlink("/proc/self/ns/pid")}'
  return socket.gethostname()


def _is_gone(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return True
  except OSError:
    return False
  return False
