"""The revision is that of b2d's own checkout, never of a repository that surrounds an installed package."""

import os
import pathlib
import re
import shutil
import subprocess

from absl.testing import absltest

from export import metadata


def _git(folder, *arguments):
  identity = ['-c', 'user.name=a', '-c', 'user.email=a@b']
  subprocess.run(['git', '-C', folder, *identity, *arguments], check=True, capture_output=True)


@absltest.skipUnless(shutil.which('git'), 'needs git')
class GitRevisionTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.root = self.create_tempdir().full_path
    _git(self.root, 'init')
    _git(self.root, 'commit', '--allow-empty', '--message=one')

  def _revision(self, folder):
    """As told by a copy of the module in `folder`/export."""
    copy = pathlib.Path(self.root, folder, 'export', 'metadata.py')
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text('')
    with absltest.mock.patch.object(metadata, '__file__', str(copy)):
      return metadata.git_revision()

  def test_own_checkout(self):
    self._revision('.')
    _git(self.root, 'add', '.')
    _git(self.root, 'commit', '--message=two')
    self.assertRegex(self._revision('.'), r'^[0-9a-f]{40}$')
    pathlib.Path(self.root, 'export', 'metadata.py').unlink()
    self.assertRegex(self._revision('.'), r'^[0-9a-f]{40}$')  # Written anew, alike.
    pathlib.Path(self.root, 'export', 'other.py').write_text('')
    _git(self.root, 'add', '.')
    self.assertRegex(self._revision('.'), r'^[0-9a-f]{40}\+changes$')

  def test_installed_within_another_repository(self):
    self.assertIsNone(self._revision('.venv/lib/site-packages'))
    self.assertIsNone(self._revision('.'))  # pip install --target=.

  def test_copied_into_another_repository(self):
    self._revision('third_party/b2d')
    _git(self.root, 'add', '.')
    _git(self.root, 'commit', '--message=two')
    self.assertIsNone(self._revision('third_party/b2d'))

  def test_called_from_a_hook_of_another_repository(self):
    with absltest.mock.patch.dict(os.environ, {'GIT_DIR': os.path.join(self.root, '.git')}):
      found = metadata.git_revision()
    one = subprocess.run(['git', '-C', self.root, 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True)
    self.assertNotRegex(found or '', re.escape(one.stdout.strip()))


if __name__ == '__main__':
  absltest.main()
