"""A run folder: its configuration, the flagfile that repeats it, its result.

config.json   the resolved configuration
run.flags     `python -m b2d.<step> --flagfile=run.flags` repeats the run
metrics.json  the result; its presence says that the run is finished
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import csv
import io
import json
import os
import sys
from typing import Any

from absl import app
from absl import logging
import tensorflow as tf

from b2d import config

_SECONDARY = {
  'num_workers',
  'output_dir',  # They change where and how fast, not what comes out.
  'rules',
  'seeds',
  'soft_labels_sets',
  'temperatures',  # A sweep may grow; each of its runs has its own record.
}


@contextlib.contextmanager
def atomic_path(path: str) -> Iterator[str]:
  """Yields a temporary path beside `path`, renamed to it on success and removed on failure."""
  temporary = f'{path}.tmp-{os.getpid()}'
  try:
    yield temporary
    tf.io.gfile.rename(temporary, path, overwrite=True)
  finally:
    if tf.io.gfile.exists(temporary):
      tf.io.gfile.remove(temporary)


def write_text(path: str, text: str) -> None:
  """Writes a file under a temporary name, then renames it."""
  with atomic_path(path) as temporary, tf.io.gfile.GFile(temporary, 'w') as file:
    file.write(text)


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


def start(run_config: config.Config, step: str) -> str:
  """Opens (or reopens) the run folder `run_config.output_dir` and records the configuration there.

  Args:
    run_config: the configuration of the step.
    step: name of the step, e.g. 'finetune'.

  Returns:
    The folder.

  Raises:
    ValueError: no folder is named, or it holds a run of another configuration.
  """
  folder = run_config.output_dir
  if not folder:
    raise ValueError('set --output_dir')
  tf.io.gfile.makedirs(folder)
  path = os.path.join(folder, 'config.json')
  flat = config.to_flat(run_config)
  stored = read_json(path) if tf.io.gfile.exists(path) else None
  if stored is not None:
    before = config.to_flat(type(run_config).from_dict(stored['config'])) if stored.get('step') == step else {}
    changed = sorted(
      name for name, value in flat.items() if name not in _SECONDARY and before.get(name, value) != value
    )
    if not before or changed:
      what = f'another {", ".join("--" + name for name in changed)}' if changed else f'the step {stored.get("step")!r}'
      raise ValueError(f'{folder}: holds a run of {what}; remove it or choose another --output_dir')
  record = {'step': step, 'config': json.loads(run_config.to_json())}
  if stored != record:
    write_text(os.path.join(folder, 'run.flags'), _flagfile(flat))
    write_text(path, json.dumps(record, indent=2) + '\n')
  return folder


def _flagfile(flat: dict[str, Any]) -> str:
  """The flags, one a line, as absl reads them: items of a list are quoted where they hold a comma or a quote."""
  lines = []
  for name, value in flat.items():
    if isinstance(value, tuple):
      quoted = io.StringIO()
      csv.writer(quoted, lineterminator='').writerow(value)
      value = quoted.getvalue()
    line = f'--{name}={value}'
    if line.splitlines() != [line.strip()]:
      raise ValueError(f'{line!r}: expected one line without white space at its end; a flagfile could not repeat it')
    lines.append(line + '\n')
  return ''.join(lines)


def step_of(folder: str) -> str | None:
  """The step whose run lies in `folder`, by its record.

  Raises:
    ValueError: the folder holds no run.
  """
  return read_json(os.path.join(folder, 'config.json')).get('step')


def load_config(folder: str, config_class: type, step: str) -> Any:
  """The configuration that `start` recorded in `folder`.

  Raises:
    ValueError: the folder holds no run of that step.
  """
  stored = read_json(os.path.join(folder, 'config.json'))
  if stored.get('step') != step:
    raise ValueError(f'{folder}: expected a run of b2d.{step}, found one of b2d.{stored.get("step")}')
  return config_class.from_dict(stored['config'])


def write_metrics(folder: str, metrics: dict[str, Any]) -> None:
  write_text(os.path.join(folder, 'metrics.json'), json.dumps(metrics, indent=2) + '\n')


def once(
  run_config: config.Config, step: str, work: Callable[[Any], dict[str, Any]], *, recheck: bool = False
) -> dict[str, Any]:
  """Does the work of a step and writes its result, unless the run folder has the result already.

  Args:
    run_config: the configuration of the step.
    step: name of the step, as for `start`.
    work: configuration → result. It calls `start` itself, when it has looked at its input: a slip leaves no folder.
    recheck: whether a finished run is gone over again, its result unchanged: for work that finds everything made and
      refuses input that has changed since.

  Returns:
    What metrics.json holds.

  Raises:
    ValueError: the folder holds a run of another configuration, or what `work` raises.
  """
  folder = run_config.output_dir
  if folder and finished(folder):
    start(run_config, step)
    logging.info('%s: finished before, nothing to do', folder)
    if recheck:
      work(run_config)
    return read_json(os.path.join(folder, 'metrics.json'))
  result = work(run_config)
  write_metrics(folder, result)
  return result


def newer(folder: str, inputs: Iterable[str]) -> list[str]:
  """Those of the run folders `inputs` that were finished after the run in `folder`, if that is finished."""

  def finished_at(path):
    return tf.io.gfile.stat(os.path.join(path, 'metrics.json')).mtime_nsec if finished(path) else 0

  return [path for path in inputs if 0 < finished_at(folder) < finished_at(path)]


def summary(folder: str, result: dict[str, Any]) -> str:
  """The line that a binary prints: the folder and the result's numbers."""
  return f'{folder}: ' + ', '.join(
    f'{name} {value:.4g}' if isinstance(value, float) else f'{name} {value}' for name, value in result.items()
  )


def finished(folder: str) -> bool:
  """Whether the run in `folder` has written its result."""
  return tf.io.gfile.exists(os.path.join(folder, 'metrics.json'))


def run(main: Callable[[list[str]], None]) -> None:
  """`app.run` for the binaries: a user's slip is one line on stderr and exit code 1, no traceback."""

  def guarded(argv):
    try:
      main(argv)
    except (app.UsageError, ValueError, OSError, tf.errors.OpError) as error:
      message = error.message if isinstance(error, tf.errors.OpError) else str(error)
      if os.environ.get('B2D_DEBUG'):
        raise
      print(f'error: {message}', file=sys.stderr)
      sys.exit(1)

  # TensorFlow reports the microseconds of a callback with every checkpoint.
  logging.get_absl_logger().addFilter(lambda record: record.filename != 'functional_saver.py')
  app.run(guarded)
