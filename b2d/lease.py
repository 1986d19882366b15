"""One process works in a folder: it holds lease.json there and renews it; a second one is told who works there.

Of a run that a scheduler gives out in tasks, one process works at each, under a lease of its own, while no process
holds the whole folder and all count the same tasks.

The lease of a driver that has died expires: at once where its process can be seen to be gone, else when it has not been
renewed while it was watched. It is watched, not dated: the clocks of two machines may be an hour apart.
"""

from collections.abc import Iterable
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

NAME = 'lease.json'
_RENEW_SECS = 5.0
_EXPIRE_SECS = 20.0
# In which, and in twice the time that writing takes, another one that came at the same moment has written its own.
_SETTLE_SECS = 0.2

_held: dict[str, tuple[str, str]] = {}  # Folder → path and nonce of the lease that this process holds there.


@contextlib.contextmanager
def hold(folder: str, task: str = '', in_turn: bool = False) -> Iterator[None]:
  """Holds the folder until the context is left, or the process ends.

  Args:
    folder: an existing folder.
    task: 'N-of-M', what of the folder is held, where others may hold other tasks of M; '': all of it.
    in_turn: waits for who else holds all of it instead of refusing, as a task does; those who hold a task may go on.

  Raises:
    ValueError: another process works in the folder.
  """
  whole = os.path.join(folder, NAME)
  path = os.path.join(folder, f'lease-{task}.json') if task else whole
  nonce = uuid.uuid4().hex
  while True:
    try:
      dead = _wait_for_expiry(folder, {path, whole} | (set() if in_turn else _other_tasks(folder, task)))
      started = time.monotonic()
      _write(path, nonce)
      time.sleep(_SETTLE_SECS + 2 * (time.monotonic() - started))
      _check(folder, path, nonce)
      for other in () if in_turn else _other_tasks(folder, task):
        if (found := _read(other)) and found != dead.get(other):  # It came at the same moment and may not have seen it.
          tf.io.gfile.remove(path)
          raise ValueError(_taken(folder, found))
      break
    except ValueError as error:
      if not (in_turn or task and _read(whole)):
        raise
      logging.log_every_n_seconds(logging.INFO, 'waiting: %s', 60, error)
      time.sleep(_RENEW_SECS / 10)
  with _renewed(folder, path, nonce):
    yield


def check(folder: str) -> None:
  """Raises ValueError if another process has taken the folder that this one holds."""
  if folder in _held:
    _check(folder, *_held[folder])


def _check(folder: str, path: str, nonce: str) -> None:
  found = _read(path)
  if found.get('nonce') != nonce:
    raise ValueError(_taken(folder, found))


def _write(path: str, nonce: str) -> None:
  beat = {'time': time.strftime('%F %T %z'), 'beat': uuid.uuid4().hex}
  temporary = f'{path}.{beat["beat"]}'
  with tf.io.gfile.GFile(temporary, 'w') as file:
    file.write(json.dumps({'host': _host(), 'pid': os.getpid(), 'nonce': nonce} | beat) + '\n')
  tf.io.gfile.rename(temporary, path, overwrite=True)


@contextlib.contextmanager
def _renewed(folder: str, path: str, nonce: str) -> Iterator[None]:
  """Renews a lease, and removes it at the end."""
  ended = threading.Event()

  def keep() -> None:
    while not ended.wait(_RENEW_SECS):
      try:
        _check(folder, path, nonce)
        _write(path, nonce)
      except ValueError:
        return  # `check` tells the driver.
      except (OSError, tf.errors.OpError) as error:
        logging.warning('%s: could not be renewed: %s', path, error)

  thread = threading.Thread(target=keep, daemon=True)
  thread.start()
  _held[folder] = path, nonce
  try:
    yield
  finally:
    del _held[folder]
    ended.set()
    thread.join()
    if _read(path).get('nonce') == nonce:
      tf.io.gfile.remove(path)


def _other_tasks(folder: str, task: str) -> set[str]:
  """The leases of tasks that nobody who holds this one may work beside; '' being all of the folder."""
  paths = set(tf.io.gfile.glob(os.path.join(folder, 'lease-*.json')))
  return {path for path in paths if not task or path.rpartition('-of-')[2] != f'{task.rpartition("-of-")[2]}.json'}


def _wait_for_expiry(folder: str, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
  """Returns what the leases say when no living process holds one; raises ValueError if one does."""
  found = {path: _read(path) for path in paths}
  deadline = time.monotonic() + _EXPIRE_SECS
  while time.monotonic() <= deadline and any(
    lease and not (lease.get('host') == _host() and _is_gone(lease.get('pid', 0))) for lease in found.values()
  ):
    time.sleep(_RENEW_SECS / 10)
    for path, before in found.items():
      now = _read(path)
      if now and now != before:
        raise ValueError(_taken(folder, now))
      found[path] = now
  return found


def _read(path: str) -> dict[str, Any]:
  """What the lease says; nothing where there is none, or not a whole one. That it could not be read says neither."""
  try:
    with tf.io.gfile.GFile(path) as file:
      return json.loads(file.read())
  except (ValueError, tf.errors.NotFoundError):
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
