"""A run folder: its configuration, the flagfile that repeats it, what it was made from, its result.

config.json     the resolved configuration
run.flags       `python -m b2d.<step> --flagfile=run.flags` repeats the run
made_from.json  the contents of its inputs, see `record`
metrics.json    the result; its presence says that the run is finished
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import csv
import dataclasses
import io
import json
import os
import socket
from typing import Any
import uuid

from absl import logging
import tensorflow as tf

from b2d import config
from b2d import lease
from b2d import record

# What a folder holds in which nothing is done yet; `inputs` without a plan, in a run of b2d.label.
_NOTHING_DONE = {'config.json', 'run.flags', 'made_from.json', 'inputs', 'rejected.jsonl', 'shards.jsonl', lease.NAME}
MADE_FROM = 'made_from.json'
PLAN = 'plan.json'  # Of a folder of shards: written when the rows of its input files have been copied.


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
  """Yields a temporary path beside `path`, renamed to it on success and removed on failure."""
  # Two containers may both be process 1.
  temporary = f'{path}.tmp-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}'
  try:
    yield temporary
    tf.io.gfile.rename(temporary, path, overwrite=True)
  finally:
    if tf.io.gfile.exists(temporary):
      tf.io.gfile.remove(temporary)


def write_text(path: str, text: str) -> None:
  """Writes a file under a temporary name, then renames it."""
  write_bytes(path, text.encode('utf-8'))


def write_bytes(path: str, content: bytes) -> None:
  """Writes a file under a temporary name, then renames it."""
  with atomic_path(path) as temporary, tf.io.gfile.GFile(temporary, 'wb') as file:
    file.write(content)


def read_json(path: str) -> dict[str, Any]:
  """Reads a JSON object.

  Raises:
    ValueError: the file is missing or is not JSON; the message names it.
  """
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{path}: no such file; is {os.path.dirname(path)!r} a finished run folder?')
  with tf.io.gfile.GFile(path) as file:
    try:
      return json.loads(file.read())
    except json.JSONDecodeError as error:
      raise ValueError(f'{path}: not JSON ({error})') from error


def start(run_config: Any) -> str:
  """Opens (or reopens) the run folder `run_config.output_dir` and records the configuration there.

  Returns:
    The folder.

  Raises:
    ValueError: no folder is named, or it holds a run of another configuration.
  """
  folder, step = run_config.output_dir, run_config.step
  if not folder:
    raise ValueError('set --output_dir')
  path = os.path.join(folder, 'config.json')
  stored = read_json(path) if tf.io.gfile.exists(path) else None
  if stored is not None:
    before = config.to_flat(type(run_config).from_dict(stored['config'])) if stored.get('step') == step else {}
    changed = sorted(
      field.name
      for field, value in config.flat_fields(run_config)
      if field.metadata['role'] != 'free' and before.get(field.name, value) != value
    )
    if not before or changed:
      what = f'another {", ".join("--" + name for name in changed)}' if changed else f'the step {stored.get("step")!r}'
      raise ValueError(f'{folder}: holds a run of {what}; remove it or choose another --output_dir')
  if stored is not None and finished(folder):  # What is made of the run holds it to its record, however this is spelt.
    run_config = dataclasses.replace(run_config, output_dir=stored['config']['output_dir'])
  found = {'step': step, 'config': json.loads(run_config.to_json())}
  if stored != found:
    flagfile = _flagfile(run_config)
    tf.io.gfile.makedirs(folder)
    write_text(os.path.join(folder, 'run.flags'), flagfile)
    write_text(path, json.dumps(found, indent=2) + '\n')
  return folder


def _flagfile(run_config: config.Config) -> str:
  """The flags, one a line, as absl reads them: items of a list are quoted where they hold a comma or a quote."""
  lines = []
  for field, value in config.flat_fields(run_config):
    if field.metadata['repeated']:
      lines += [f'--{field.name}={item}' for item in value]
      continue
    if isinstance(value, tuple):
      quoted = io.StringIO()
      csv.writer(quoted, lineterminator='').writerow(value)
      value = quoted.getvalue()
    lines.append(f'--{field.name}={value}')
  for line in lines:
    if line.splitlines() != [line.strip()]:
      raise ValueError(f'{line!r}: expected one line without white space at its end; a flagfile could not repeat it')
  return ''.join(line + '\n' for line in lines)


def step_of(folder: str) -> str | None:
  """The step whose run lies in `folder`, by its record.

  Raises:
    ValueError: the folder holds no run.
  """
  return read_json(os.path.join(folder, 'config.json')).get('step')


def load_config(folder: str, config_class: type[config.Config]) -> Any:
  """The configuration that `start` recorded in `folder`.

  Raises:
    ValueError: the folder holds no run of that step.
  """
  stored = read_json(os.path.join(folder, 'config.json'))
  if stored.get('step') != config_class.step:
    raise ValueError(f'{folder}: expected a run of b2d.{config_class.step}, found one of b2d.{stored.get("step")}')
  return config_class.from_dict(stored['config'])


def config_of(folder: str, *config_classes: type[config.Config]) -> Any:
  """The configuration recorded in `folder`, where it is one of these; None of another step, or without a run.

  Raises:
    ValueError: the record cannot be read.
  """
  if not tf.io.gfile.exists(os.path.join(folder, 'config.json')):
    return None
  step = step_of(folder)
  return next((load_config(folder, known) for known in config_classes if known.step == step), None)


def write_metrics(folder: str, metrics: dict[str, Any]) -> None:
  write_text(os.path.join(folder, 'metrics.json'), json.dumps(metrics, indent=2) + '\n')


def once(
  run_config: Any, work: Callable[[Any], dict[str, Any] | None], *, remake: bool = False, in_turn: bool = False
) -> Any:
  """Does the work of a step and writes its result, unless the run folder has the result already.

  One process at a time works in a run folder, see `lease`; `lease.check` tells the work whether it still is the one.

  Args:
    run_config: the configuration of the step; its `output_dir` is the run folder.
    work: configuration → result, or None if more is to be done before there is one. It finds the folder opened. If it
      refuses its input before it has written anything, the folder goes again, so that the corrected command finds none
      of another configuration.
    remake: what becomes of a run whose inputs have changed: made again (True) or refused.
    in_turn: what if another process works in the folder: wait (True) or refuse.

  Returns:
    What metrics.json holds.

  Raises:
    ValueError: the folder holds a run of another configuration or of other inputs, another process works there, or what
      `work` raises.
  """
  new = not tf.io.gfile.exists(os.path.join(run_config.output_dir, 'config.json'))
  folder = start(run_config)
  if finished(folder):
    changed = _changed_inputs(run_config, needs_all=remake)
    if not changed:
      logging.info('%s: finished before, nothing to do', folder)
      return read_json(os.path.join(folder, 'metrics.json'))
    if not remake:
      raise ValueError(changed)
    logging.info('%s: made again: %s', folder, changed)
    tf.io.gfile.remove(os.path.join(folder, 'metrics.json'))
  with lease.hold(folder, in_turn=in_turn):
    if finished(folder):  # By another process, meanwhile.
      return read_json(os.path.join(folder, 'metrics.json'))
    try:
      check_inputs(run_config, anew=remake)
      result = work(run_config)
    except (ValueError, OSError, tf.errors.OpError):
      if new and {name.rstrip('/') for name in tf.io.gfile.listdir(folder)} <= _NOTHING_DONE:
        lease.check(folder)  # Another process's by now, it stays.
        tf.io.gfile.rmtree(folder)
      raise
    if result is not None:
      write_metrics(folder, result)
  return result


def check_inputs(run_config: Any, *, anew: bool = False) -> None:
  """Writes down what the inputs hold, or compares them with what was written down.

  Args:
    run_config: the configuration of the step.
    anew: whether what was written down counts no more.

  Raises:
    ValueError: they hold something else now.
  """
  path, path_of_plan = (os.path.join(run_config.output_dir, name) for name in (MADE_FROM, PLAN))
  if anew or not tf.io.gfile.exists(path):
    write_text(path, json.dumps(record.read(run_config, {}), indent=1) + '\n')
  elif changed := _changed_inputs(run_config, needs_all=not tf.io.gfile.exists(path_of_plan)):
    raise ValueError(changed)


def _changed_inputs(run_config: Any, *, needs_all: bool) -> str:
  """What of the inputs is not as it was written down, and what to do; '' if all is.

  Args:
    run_config: the configuration of the step.
    needs_all: whether a file that is gone counts, if what names it still names others: of these alone the result would
      be another one.
  """
  folder = run_config.output_dir
  before = read_json(os.path.join(folder, MADE_FROM))
  now = record.read(run_config, before)
  if changed := record.changed(before, now):
    path = changed[0]
    what, remedy = ('has changed', 'restore it') if path in before else ('has come', 'take it away')
  elif needs_all and before.keys() > now.keys() and all(record.files_of(path) for _, path in config.inputs(run_config)):
    path, what, remedy = min(before.keys() - now.keys()), 'has gone', 'restore it'
  else:
    return ''
  return f'{path}: {what} since {folder} was begun; {remedy}, or remove that folder or choose another --output_dir'


def finished(folder: str) -> bool:
  """Whether the run in `folder` has written its result."""
  return tf.io.gfile.exists(os.path.join(folder, 'metrics.json'))
