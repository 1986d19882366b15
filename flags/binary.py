"""The frame of all binaries: flags of a configuration in, the step's summary line out.

    if __name__ == '__main__':
      binary.run(config.Distill)

A slip that a user can mend is one line on stderr and exit code 1, no traceback (B2D_DEBUG=1 shows it). TensorFlow is
left to the step: --help and a mistyped flag answer at once.
"""

from collections.abc import Callable
import glob
import os
import sys
from typing import Any

from absl import app
from absl import flags
from absl import logging

import b2d
from b2d import config
from b2d import huge_pages
from flags import dataclass_flags

_HELP = {'--help', '-help', '-h', '--helpshort', '--helpfull'}
_INTERRUPTED = 130  # As a shell tells it.


def summary(run_config: Any, result: dict[str, Any]) -> str:
  """The folder and the result's numbers, in a line."""
  return f'{run_config.output_dir}: ' + ', '.join(
    f'{name} {value:.4g}' if isinstance(value, float) else f'{name} {value}'
    for name, value in result.items()
    if not isinstance(value, dict | list)
  )


def run(
  config_class: type,
  step: Callable[[Any], Any] = b2d.run,
  show: Callable[[Any, Any], str] = summary,
  exit_code: Callable[[Any], int] = lambda result: 0,
) -> None:
  """Runs a binary and ends the process.

  Args:
    config_class: configuration, whose fields are the flags.
    step: configuration → result.
    show: configuration and result → what is printed on stdout.
    exit_code: result → that of the process.
  """
  parser = dataclass_flags.Parser(config_class)
  flags.FLAGS.append_flag_values(parser.flag_values)
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's C++ calls it an error that there is no GPU.
  logging.get_absl_handler().addFilter(_is_worth_saying)

  def prepare(run_config: Any) -> None:
    _require_inputs(run_config)
    huge_pages.use()

  guarded(lambda argv: main(argv, parser, step, show, exit_code, prepare), parser.help())


def _is_worth_saying(record: Any) -> bool:
  """Drops what libraries say of themselves, such as the microseconds of every checkpoint; their warnings stay.

  But for the one on retracing: TensorFlow counts the students of a sweep, each traced once, as one function.
  """
  if 'site-packages' not in record.pathname:
    return True
  warns = record.levelno >= logging.converter.absl_to_standard(logging.WARNING)
  return warns and 'tf.function retracing' not in record.getMessage()


def main(
  argv: list[str],
  parser: dataclass_flags.Parser,
  step: Callable,
  show: Callable,
  exit_code: Callable[[Any], int] = lambda result: 0,
  prepare: Callable[[Any], None] = lambda run_config: None,
) -> int:
  """`run` without the process around it: the command line's words that are no flags are refused.

  Args, besides those of `run`: `argv`, the words; `parser` of the flags; `prepare`, called before the step.

  Raises:
    app.UsageError: words left over, or flags that contradict each other.
  """
  if argv[1:]:
    raise app.UsageError(
      f'expected flags alone, found also {" ".join(map(repr, argv[1:]))}; several files are one flag without spaces, '
      "--files=a.tsv,b.tsv, and a pattern is quoted, --files='part-*.tsv'"
    )
  run_config = parser()
  prepare(run_config)
  result = step(run_config)
  print(show(run_config, result).rstrip('\n'))
  return exit_code(result)


def _require_inputs(run_config: Any) -> None:
  """Tells at once of a local path that is not there; the step, which looks more closely, imports TensorFlow first.

  Raises:
    ValueError: an input is missing, and the run has not been begun: one that was may no longer need it.
  """
  output_dir = getattr(run_config, 'output_dir', '')
  if output_dir and os.path.exists(os.path.join(output_dir, 'config.json')):
    return
  for name, path in config.inputs(run_config):
    if path.startswith('package:') or '://' in path or os.path.exists(path):
      continue
    if not glob.glob(path) and not glob.glob(glob.escape(path) + '.*'):  # The prefix of a checkpoint.
      raise ValueError(
        f'--{name}={path}: expected a file, a pattern of files or a folder, found none; correct the path, or run first '
        'what makes it'
      )


def guarded(main: Callable[[list[str]], int | None], help: str = '') -> None:
  """`app.run` that tells what a user can mend in one line."""

  def parse(argv: list[str]) -> list[str]:
    if _HELP & set(argv[1:]):
      print(f'{sys.modules["__main__"].__doc__ or ""}{help}', end='')
      sys.exit(0)
    return _telling(flags.FLAGS, argv)

  app.run(lambda argv: _telling(main, argv), flags_parser=parse)


def _telling(function: Callable, argv: list[str]) -> Any:
  try:
    return function(argv)
  except KeyboardInterrupt:
    sys.exit(_INTERRUPTED)
  except Exception as error:
    message = _message(error)
    if message is None or os.environ.get('B2D_DEBUG'):
      raise
    print(f'error: {message}', file=sys.stderr)
    sys.exit(1)


def _message(error: Exception) -> str | None:
  """What to tell of an error that the user can mend; None of a bug."""
  tensorflow = sys.modules.get('tensorflow')  # Without it there are no errors of its own.
  if tensorflow and isinstance(error, tensorflow.errors.OpError):
    return error.message
  if isinstance(error, flags.Error | app.UsageError | ValueError | OSError):
    return str(error)
  return None
