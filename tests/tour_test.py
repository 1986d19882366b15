"""The notebook docs/tour.ipynb, cell by cell, on the quickstart's runs."""

import contextlib
import io
import json
import os
import pathlib

from absl.testing import absltest

from b2d import runs

_ROOT = pathlib.Path(__file__).parents[1]
_QUICKSTART = pathlib.Path(os.environ.get('B2D_QUICKSTART_DIR', _ROOT / 'runs' / 'quickstart')).absolute()


class TourTest(absltest.TestCase):
  @absltest.skipUnless(runs.finished(str(_QUICKSTART / 'evaluation')), 'needs the runs of `make quickstart`')
  def test_every_cell_runs(self):
    self.addCleanup(os.chdir, os.getcwd())
    folder = pathlib.Path(self.create_tempdir().full_path)
    (folder / 'runs').mkdir()
    (folder / 'runs' / 'quickstart').symlink_to(_QUICKSTART)
    for package in ('b2d', 'export', 'flags', 'serving'):  # For the server's process.
      (folder / package).symlink_to(_ROOT / package)
    os.chdir(folder)
    cells = json.loads((_ROOT / 'docs' / 'tour.ipynb').read_text(encoding='utf-8'))['cells']
    names: dict = {}
    said = []
    for cell in cells:
      if cell['cell_type'] == 'code':
        with contextlib.redirect_stdout(io.StringIO()) as out:
          exec(''.join(cell['source']), names)
        said.append(out.getvalue())
    self.assertRegex(said[1], r'teacher \[0.*\]\nstudent \[0')
    self.assertIn('cushion', said[3])
    self.assertEqual([line[:2] for line in said[5].splitlines()], ['0.'] * 3)


if __name__ == '__main__':
  absltest.main()
