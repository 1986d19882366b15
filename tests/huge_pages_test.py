"""Huge pages: a process begins anew once."""

import os
import sys
from unittest import mock

from absl.testing import absltest

from b2d import huge_pages


class HugePagesTest(absltest.TestCase):
  def test_the_process_begins_anew_once(self):
    with mock.patch.dict(os.environ), mock.patch.object(os, 'execve') as execve:
      os.environ.pop('GLIBC_TUNABLES', None)
      huge_pages.use()
      program, arguments, environment = execve.call_args.args
      self.assertEqual((program, arguments), (sys.executable, sys.orig_argv))
      os.environ['GLIBC_TUNABLES'] = environment['GLIBC_TUNABLES']
      huge_pages.use()
      os.environ['GLIBC_TUNABLES'] = ''  # As one sets it who wants none.
      huge_pages.use()
    execve.assert_called_once()


if __name__ == '__main__':
  absltest.main()
