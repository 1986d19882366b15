"""What a step was made from: the contents of every file that its configuration names as an input.

    made_from.json in a run folder   {path: {'bytes', 'modified_nsec', 'sha256'}}

Of a folder that is an input only what decides a result counts: its manifest, which has the digests of its shards; of a
run the weights and what describes them; of a folder of exported versions the latest one.
"""

from concurrent import futures
import hashlib
import os
import time
from typing import Any

import tensorflow as tf

from b2d import config

Record = dict[str, dict[str, Any]]

_CHUNK_BYTES = 8 << 20
_RACY_NSEC = 2 * 10**9  # Seconds are what times of change count: one so new may change again and not show it.
_THREADS = 4  # Hashing and reading leave Python's lock alone.
# What a run leaves beside its result.
_BYWORK = ('events', 'checkpoints', 'inputs', 'temperature', 'metrics.json', 'made_from.json', 'run.flags')


def read(run_config: config.Config, before: Record) -> Record:
  """The record of the inputs as they are now.

  Args:
    run_config: the configuration of the step.
    before: an earlier record: a file of the same size and time of change is not read again.

  Raises:
    ValueError: an input is the folder of a run that is not finished.
  """
  paths = sorted({path for _, value in config.inputs(run_config) for path in files_of(value)})
  with futures.ThreadPoolExecutor(_THREADS) as threads:
    return dict(zip(paths, threads.map(lambda path: _file_record(path, before.get(path)), paths)))


def changed(before: Record, now: Record) -> list[str]:
  """What was in the inputs before and has other contents now, or is new; files that are gone don't count."""
  return [path for path, file in now.items() if path not in before or before[path]['sha256'] != file['sha256']]


def files_of(value: str) -> list[str]:
  """The files that decide what an input gives; none where there is no such input.

  Args:
    value: a file, a pattern of files, a folder, or the prefix of a TensorFlow checkpoint.

  Raises:
    ValueError: the folder of a run that is not finished.
  """
  if tf.io.gfile.isdir(value):
    return sorted(_files_of_folder(value))
  if tf.io.gfile.exists(value):
    return [value]
  checkpoint = tf.io.gfile.glob(value + '.index') + tf.io.gfile.glob(value + '.data-*')
  return sorted(path for path in tf.io.gfile.glob(value) + checkpoint if not tf.io.gfile.isdir(path))


def sha256(path: str) -> str:
  """Hexadecimal digest of a file's contents."""
  digest = hashlib.sha256()
  with tf.io.gfile.GFile(path, 'rb') as file:
    while chunk := file.read(_CHUNK_BYTES):
      digest.update(chunk)
  return digest.hexdigest()


def saved_model_versions(folder: str) -> list[int]:
  """The numbered versions of a SavedModel in the folder, ascending."""
  names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
  return sorted(int(name.rstrip('/')) for name in names if name.rstrip('/').isdecimal())


def saved_model_folder(folder: str) -> str:
  """`folder`, or its highest version, where saved_model.pb lies; '' if nowhere."""
  for candidate in [folder] + [os.path.join(folder, str(number)) for number in saved_model_versions(folder)[-1:]]:
    if tf.io.gfile.exists(os.path.join(candidate, 'saved_model.pb')):
      return candidate
  return ''


def _file_record(path: str, before: dict[str, Any] | None) -> dict[str, Any]:
  status = tf.io.gfile.stat(path)
  found = {'bytes': status.length, 'modified_nsec': status.mtime_nsec}
  if before and all(before[name] == value for name, value in found.items()):
    return before
  if time.time_ns() - status.mtime_nsec < _RACY_NSEC:
    found['modified_nsec'] = None
  return found | {'sha256': sha256(path)}


def _files_of_folder(folder: str) -> list[str]:
  names = [name.rstrip('/') for name in tf.io.gfile.listdir(folder)]
  if 'manifest.json' in names:
    return [os.path.join(folder, 'manifest.json')]
  if 'run.flags' in names and 'metrics.json' not in names:
    raise ValueError(f'{folder}: expected a finished run, found one that is not; repeat its command')
  if 'run.flags' not in names and 'saved_model.pb' not in names:
    names = [str(version) for version in saved_model_versions(folder)[-1:]] or names
  files = []
  for path in (os.path.join(folder, name) for name in names if name not in _BYWORK):
    files += _files_of_folder(path) if tf.io.gfile.isdir(path) else [path]
  return files
