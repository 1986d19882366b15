"""What README.md and docs/ say can be typed: every command parses, every link leads somewhere."""

import ast
import itertools
import os
import pathlib
import re
import shlex

from absl import app
from absl import flags
from absl.testing import absltest

from b2d import config
from flags import dataclass_flags

_ROOT = pathlib.Path(__file__).parents[1]
_PAGES = [_ROOT / 'README.md', _ROOT / 'CONTRIBUTING.md', *sorted((_ROOT / 'docs').rglob('*.md'))]
_COMMAND = re.compile(r'(["\']?)python -m ((?:b2d|export|serving|tests)\b[\w.]*)(.*)')
_CODE = re.compile(r'^(?: {4}|\t).*$|`([^`]+)`', re.M)
_OF_ABSL = {'flagfile', 'undefok', 'help', 'logtostderr', 'verbosity'}


def _text(page: pathlib.Path) -> str:
  """Of a page, with lines that a backslash continues joined."""
  return re.sub(r' *\\\n *', ' ', page.read_text(encoding='utf-8'))


def _commands(page: pathlib.Path):
  """(Module, words) of each command in code, indented or between backticks."""
  for code in _CODE.finditer(_text(page)):
    found = _COMMAND.search(re.sub(r'\s+', ' ', code[0].strip('`')))
    if found:
      quote, module, rest = found.groups()
      words = shlex.split(rest.partition(quote)[0] if quote else rest, comments=True)
      yield module, list(itertools.takewhile(lambda word: word not in ('|', '&&', '>'), words))


def _file(module: str) -> pathlib.Path:
  stem = _ROOT / module.replace('.', '/')
  return stem / '__main__.py' if stem.is_dir() else stem.with_suffix('.py')


def _config_class(path: pathlib.Path) -> type[config.Config] | None:
  """The configuration that a binary's last line runs, if it is one of those."""
  found = re.search(r'binary\.run\(config\.(\w+)', path.read_text(encoding='utf-8'))
  return getattr(config, found[1]) if found else None


def _defined(path: pathlib.Path) -> set[str]:
  """Names of the absl flags that a module of `serving`, and those of it that it imports, define."""
  tree, names = ast.parse(path.read_text(encoding='utf-8')), set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Call) and 'DEFINE_' in ast.unparse(node.func) and isinstance(node.args[0], ast.Constant):
      names.add(node.args[0].value)
    if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('serving'):
      for imported in node.names:
        file = _ROOT / f'{node.module}.{imported.name}'.replace('.', '/')
        names |= _defined(file.with_suffix('.py')) if file.with_suffix('.py').is_file() else set()
  return names


def _slugs(page: pathlib.Path) -> set[str]:
  """Anchors of the headings, as GitHub makes them."""
  headings = re.findall(r'^#+ (.*)$', page.read_text(encoding='utf-8'), re.M)
  return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


class DocsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.addCleanup(os.chdir, os.getcwd())
    os.chdir(_ROOT)  # Where flagfiles are named from.

  def test_commands_parse(self):
    wrong, count = [], 0
    for page in _PAGES:
      for module, words in _commands(page):
        problem = self._problem(module, words)
        count += 1
        if problem:
          wrong.append(f'{page.name}: python -m {module} {shlex.join(words)}: {problem}')
    self.assertEmpty(wrong)
    self.assertGreater(count, 30)

  def _problem(self, module: str, words: list[str]) -> str:
    """Why a command could not be typed; nothing of one that could."""
    path = _file(module)
    if not path.is_file():
      return 'no such module'
    whole = not any(word in ('…', '...', 'FLAGS') for word in words)
    given = [word for word in words if word.startswith('--') and word != '--help']
    stands_for = [word for word in given if re.search(r'…|\$', word) or word.endswith('label.flags')]
    config_class = _config_class(path)
    parser = dataclass_flags.Parser(config_class) if config_class else None
    known = _OF_ABSL | (set(parser.flag_values) if parser else _defined(path))
    names = {word: re.sub('^--|=.*', '', word) for word in given}
    unknown = [word for word, name in names.items() if not {name, name.removeprefix('no')} & known]
    if unknown or not parser:
      return f'unknown {unknown}' if unknown else ''
    try:
      parser.flag_values(['binary', *(word for word in given if word not in stands_for)])
      if whole and given and not stands_for:
        parser()
    except (flags.Error, app.UsageError) as error:
      return str(error)
    return ''

  def test_make_targets_are_there(self):
    makefile = (_ROOT / 'Makefile').read_text(encoding='utf-8')
    targets = {name for line in re.findall(r'^([\w ]+):(?!=)', makefile, re.M) for name in line.split()}
    named = {(page.name, name) for page in _PAGES for name in re.findall(r'(?:^    |`)make (\w+)', _text(page), re.M)}
    self.assertEmpty({(page, name) for page, name in named if name not in targets})

  def test_links_lead_somewhere(self):
    wrong = []
    for page in _PAGES:
      for link in re.findall(r'\]\(([^)\s]+)\)', _text(page)):
        if re.match(r'\w+:', link):
          continue
        path, _, anchor = link.partition('#')
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or anchor and anchor not in _slugs(target):
          wrong.append(f'{page.name}: {link}')
    self.assertEmpty(wrong)


if __name__ == '__main__':
  absltest.main()
