"""Runs a binary: what a user can mend is one line on stderr and exit code 1, no traceback."""

from collections.abc import Callable
import sys

from absl import app

from serving.local_server import status


def run(main: Callable[[list[str]], None]) -> None:
  """`app.run` for the binaries; `main` gets the words that are no flags, without the program's."""

  def guarded(argv):
    try:
      main(argv[1:])
    except (app.UsageError, ValueError, OSError, status.StatusError) as error:
      sys.exit(f'error: {error}')
    except KeyboardInterrupt:
      sys.exit(130)  # As a shell tells it.

  app.run(guarded)
