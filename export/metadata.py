"""What is written down with a SavedModel: where it comes from, what it needs."""

import hashlib
import os
import subprocess

import tensorflow as tf

from b2d import config

_GONE = 'not there any more'
_HEAD_BYTES = 1 << 20


def training_data(run: config.Distill | config.Finetune) -> dict[str, str]:
  """A fingerprint for each source that a run was trained on, as far as it still lies where it was.

  Of a folder of soft labels: SHA-256 of its manifest and of its shards' names and sizes. Of other
  files, which may be huge: SHA-256 of their size and first megabyte.

  Returns:
    {folder, file pattern or file: fingerprint, or 'not there any more'}.
  """
  found = {}
  for folder in getattr(run, 'soft_labels', ()):
    manifest = os.path.join(folder, 'manifest.json')
    shards = tf.io.gfile.glob(os.path.join(folder, '*.parquet'))
    found[folder] = _fingerprint([manifest], shards) if tf.io.gfile.exists(manifest) else _GONE
  for pattern in run.train_files:
    files = sorted(tf.io.gfile.glob(pattern))
    found[pattern] = _fingerprint(files, files) if files else _GONE
  return found


def _fingerprint(read: list[str], sized: list[str]) -> str:
  """SHA-256 of the heads of files, and of names and sizes of files."""
  digest = hashlib.sha256()
  for path in read:
    with tf.io.gfile.GFile(path, 'rb') as file:
      digest.update(file.read(_HEAD_BYTES))
  for path in sorted(sized):
    digest.update(f'{os.path.basename(path)} {tf.io.gfile.stat(path).length}\n'.encode())
  return digest.hexdigest()


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
