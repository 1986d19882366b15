"""Runs a binary: what a user can mend is one line on stderr and exit code 1, no traceback."""

from collections.abc import Callable
import sys

from absl import app
from absl import flags

from serving.local_server import status


def run(main: Callable[[list[str]], None], *, known_only: bool = False) -> None:
  """`app.run` for the binaries.

  Args:
    main: gets the words that are no flags, without the program's.
    known_only: whether `main` gets unknown flags, too, instead of their ending the program.
  """

  def guarded(argv):
    try:
      main(argv[1:])
    except (app.UsageError, ValueError, OSError, status.StatusError) as error:
      sys.exit(f'error: {error}')
    except KeyboardInterrupt:
      sys.exit(130)  # As a shell tells it.

  def parse(argv):
    try:
      return flags.FLAGS(argv, known_only=known_only)
    except flags.Error as error:
      sys.exit(f'error: {error}')

  app.run(guarded, flags_parser=parse)
