"""What is written down with a SavedModel: where it comes from, what it needs."""

import os
import subprocess


def git_revision() -> str | None:
  """Revision of the checkout of b2d that this code lies in, with '+changes' where it is edited.

  None for an installed package, whatever repository surrounds it, and for a copy within another repository.
  """
  own = _git('rev-parse', '--show-prefix') == 'export/' and _git('ls-files', 'metadata.py') == 'metadata.py'
  return _git('describe', '--always', '--abbrev=40', '--dirty=+changes', '--exclude=*') if own else None


def _git(*arguments: str) -> str | None:
  """What git says in the folder of this file, None if it fails."""
  # Without the GIT_DIR that a hook of another repository sets.
  environment = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')}
  try:
    done = subprocess.run(
      ['git', '-C', os.path.dirname(os.path.abspath(__file__)), *arguments],
      capture_output=True,
      text=True,
      check=False,
      env=environment,
    )
  except OSError:
    return None
  return done.stdout.strip() if done.returncode == 0 else None
