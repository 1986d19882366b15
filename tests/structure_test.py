"""The architecture holds: dependencies go one way, one Keras, and BUILD leaves nothing out.

Reads the sources with `ast` and runs BUILD as the Python that it almost is; imports no module of
the project.
"""

import ast
import functools
import pathlib
import re
import sys

from absl.testing import absltest

_ROOT = pathlib.Path(__file__).parent.parent
_PACKAGES = ('b2d', 'export', 'flags', 'serving')
_TENSORFLOW = re.compile(r'(tensorflow(_\w+)?|tf_keras|official)\b')


def _paths(*folders):
  """Python files under the folders, relative to the root."""
  return sorted(str(path.relative_to(_ROOT)) for folder in folders for path in (_ROOT / folder).rglob('*.py'))


@functools.cache
def _tree(path):
  return ast.parse((_ROOT / path).read_text(encoding='utf-8'), filename=path)


@functools.cache
def _imports(path):
  """Dotted names a file imports, anywhere in it: `from b2d.data import rows` gives 'b2d.data.rows'."""
  names = set()
  for node in ast.walk(_tree(path)):
    if isinstance(node, ast.Import):
      names.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      names.update(f'{"." * node.level}{node.module or ""}.{alias.name}' for alias in node.names)
  return names


def _file(name):
  """The file of a module or package of the project, or None."""
  stem = name.replace('.', '/')
  return next((path for path in (stem + '.py', stem + '/__init__.py') if (_ROOT / path).is_file()), None)


def _closure(path):
  """All dotted names that a file imports, itself or through modules of the project."""
  names, todo = set(), [path]
  while todo:
    new = _imports(todo.pop()) - names
    names |= new
    todo += [file for file in map(_file, new) if file]
  return names


def _package(name):
  return name.partition('.')[0]


def _is_binary(path):
  """Whether a file ends in `if __name__ == '__main__':`."""
  return any(
    isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in _tree(path).body[-1:]
  )


_BINARIES = {path for path in _paths(*_PACKAGES) if _is_binary(path)}
_VERBS = {path[:-3].replace('/', '.') for path in _BINARIES}


def _is_noun_of_b2d_or_absl(name):
  return _package(name) in ('b2d', 'absl') and name not in _VERBS | {'absl.flags'}


def _glob(include, exclude=()):
  found, excluded = ({path for pattern in patterns for path in _ROOT.glob(pattern)} for patterns in (include, exclude))
  return sorted(str(path.relative_to(_ROOT)) for path in found - excluded if path.is_file())


def _targets():
  """The targets of BUILD: {(rule, name): attributes}."""
  targets = {}

  def rule(kind):
    def add(name, **attributes):
      targets[kind, name] = attributes

    return add

  scope = {kind: rule(kind) for kind in ('py_binary', 'py_library', 'py_test')}
  exec(
    (_ROOT / 'BUILD').read_text(encoding='utf-8'),
    scope | {'glob': _glob, 'load': lambda *names: None, 'package': lambda **attributes: None},
  )
  return targets


class DependenciesTest(absltest.TestCase):
  def _assert_imports(self, paths, allowed):
    """Asserts `allowed(dotted name)` of all that the files import of the project and of absl."""
    self.assertEmpty(
      [
        f'{path} imports {name}'
        for path in paths
        for name in sorted(_imports(path))
        if _package(name) in {*_PACKAGES, 'absl', 'tests'} and not allowed(name)
      ]
    )

  def test_nouns_of_b2d_know_no_flags(self):
    self._assert_imports(set(_paths('b2d')) - _BINARIES, _is_noun_of_b2d_or_absl)

  def test_export_stands_on_b2d(self):
    self._assert_imports(
      set(_paths('export')) - _BINARIES,
      # The server's configuration files are written by export and read by serving: one module knows them.
      lambda name: _package(name) == 'export' or name == 'serving.server_config' or _is_noun_of_b2d_or_absl(name),
    )

  def test_binaries_stand_on_flags_and_library(self):
    self._assert_imports(
      [path for path in _paths('b2d') if path in _BINARIES],
      lambda name: _package(name) in ('b2d', 'flags', 'absl') and name not in _VERBS,
    )
    self._assert_imports(
      [path for path in _paths('export') if path in _BINARIES],
      lambda name: _package(name) in ('b2d', 'export', 'flags', 'absl') and name not in _VERBS,
    )

  def test_flags_stand_on_configuration(self):
    self._assert_imports(
      _paths('flags'), lambda name: _package(name) in ('flags', 'absl') or _is_noun_of_b2d_or_absl(name)
    )
    known = sys.stdlib_module_names | {'absl', 'b2d', 'flags'}
    self.assertEmpty(
      [f'{path} imports {name}' for path in _paths('flags') for name in _imports(path) if _package(name) not in known]
    )

  def test_serving_stands_alone(self):
    benchmark = set(_paths('serving/benchmark'))
    self._assert_imports(set(_paths('serving')) - benchmark, lambda name: _package(name) in ('serving', 'absl'))

  def test_benchmark_stands_on_b2d(self):
    self._assert_imports(
      _paths('serving/benchmark'),
      lambda name: _package(name) == 'serving' or _is_noun_of_b2d_or_absl(name) or name == 'absl.flags',
    )

  def test_one_keras(self):
    """Keras 3 trains only the head around an encoder of tf-models-official, silently."""
    wrong = []
    for path in _paths(*_PACKAGES, 'tests'):
      wrong += [f'{path} imports {name}' for name in _imports(path) if re.match(r'(tensorflow\.)?keras\b', name)]
      wrong += [
        f'{path}:{node.lineno}: {node.value.id}.keras'
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr == 'keras'
        and isinstance(node.value, ast.Name)
        and node.value.id in ('tf', 'tensorflow')
      ]
    self.assertEmpty(wrong, 'import tf_keras')

  def test_data_come_through_flags(self):
    self.assertEmpty(
      [
        path
        for path in _glob([f'{package}/**/*' for package in _PACKAGES])
        if '__pycache__' not in path and b'../shared' in (_ROOT / path).read_bytes()
      ],
      'a flag or B2D_DATA_DIR names the folder',
    )


class BuildTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.targets = _targets()

  def _sources(self, target):
    """Sources of a target and of the libraries that it depends on."""
    attributes = self.targets[target]
    return set(attributes['srcs']).union(
      *(self._sources(('py_library', dep[1:])) for dep in attributes.get('deps', []))
    )

  def test_every_module_is_in_one_library(self):
    listed = [
      path
      for (rule, name), attributes in self.targets.items()
      if rule == 'py_library' and name != 'testing'
      for path in attributes['srcs']
    ]
    self.assertCountEqual(listed, _paths(*_PACKAGES))

  def test_every_binary_and_test_has_its_target(self):
    for rule, paths in (('py_binary', _BINARIES), ('py_test', _glob(['tests/**/*_test.py']))):
      self.assertCountEqual(
        [name for kind, name in self.targets if kind == rule], [path[:-3] for path in paths], 'see BINARIES in BUILD'
      )
      for path in paths:
        self.assertEqual(self.targets[rule, path[:-3]]['srcs'], [path])

  def test_targets_depend_on_what_they_import(self):
    for target, attributes in self.targets.items():
      for path in attributes['srcs']:
        imported = {file for file in map(_file, _imports(path)) if file}
        self.assertEmpty(imported - self._sources(target), f'{target}: {path} imports more')

  def test_tests_that_import_tensorflow_say_so(self):
    for path in _glob(['tests/**/*_test.py']):
      heavy = sorted(name for name in _closure(path) if _TENSORFLOW.match(name))
      self.assertEqual(
        self.targets['py_test', path[:-3]]['tags'],
        ['tensorflow'] if heavy else [],
        f'{path} imports {heavy}; see LIGHT_TESTS in BUILD',
      )


if __name__ == '__main__':
  absltest.main()
