"""Recipes: the steps from labelled rows to an evaluated SavedModel, as data.

A recipe is a folder of flagfiles and of recipe.toml, which holds a table for each step, in their order:

    [student]                                # The step's folder below that of the runs.
    step = 'b2d.distill'                     # Its binary.
    flagfiles = ['schema', 'distill']        # schema.flags, then distill.flags.
    soft_labels = ['{run}/soft_labels']      # Every other key is a flag; the items of a list are joined by commas.

`{data}` is the folder of the data, `{run}` that of the runs, `{recipe}` the name of the recipe. After a first line
`like = 'homedepot'` the steps and flagfiles are those of the folder homedepot beside this one; what a table says or a
flagfile that lies here goes before.
"""

import glob
import os
import shlex
import subprocess
import sys
import tomllib
from typing import Any

_FILE = 'recipe.toml'


def steps(folder: str, data_dir: str, output_dir: str) -> list[list[str]]:
  """The command line of every step, in order.

  Args:
    folder: of the recipe.
    data_dir: folder of the data.
    output_dir: folder of the runs.

  Returns:
    For each step its binary, e.g. 'b2d.finetune', and its flags.

  Raises:
    ValueError: there is no such recipe, or it cannot be read; the message names the file.
  """
  folders, own, base = [os.path.normpath(folder)], _read(folder), {}
  if 'like' in own:
    folders.append(os.path.join(os.path.dirname(folders[0]), str(own.pop('like'))))
    base = _read(folders[1])
  tables = _merged(base, own, os.path.join(folder, _FILE))
  names = {'data': data_dir, 'run': output_dir, 'recipe': os.path.basename(folders[0])}
  return [_arguments(folders, name, table, names) for name, table in tables.items()]


def _read(folder: str) -> dict[str, Any]:
  """What recipe.toml holds."""
  path = os.path.join(folder, _FILE)
  if not os.path.isfile(path):
    known = sorted(glob.glob(os.path.join(glob.escape(os.path.dirname(folder)), '*', _FILE)))
    names = [os.path.basename(os.path.dirname(file)) for file in known]
    raise ValueError(f'{path}: no such recipe; beside it lie: {", ".join(names) or "none"}')
  with open(path, 'rb') as file:
    try:
      return tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
      raise ValueError(f'{path}: {error}') from error


def _merged(base: dict[str, Any], own: dict[str, Any], path: str) -> dict[str, dict[str, Any]]:
  """The tables of one recipe over those of the one that it is like."""
  wrong = [name for name, table in [*base.items(), *own.items()] if not isinstance(table, dict)]
  if wrong:
    raise ValueError(f'{path}: expected one table for each step, found the key {wrong[0]!r}')
  return base | {name: base.get(name, {}) | table for name, table in own.items()}


def _arguments(folders: list[str], name: str, table: dict[str, Any], names: dict[str, str]) -> list[str]:
  where = f'{os.path.join(folders[0], _FILE)}: [{name}]'
  values = {'output_dir': os.path.join('{run}', name)} | table
  if 'step' not in values:
    raise ValueError(f"{where}: expected the binary, as in step = 'b2d.distill', found {', '.join(table) or 'nothing'}")
  arguments = [str(values.pop('step'))]
  for flagfile in values.pop('flagfiles', ()):
    paths = [os.path.join(folder, f'{flagfile}.flags') for folder in folders]
    found = next((path for path in paths if os.path.isfile(path)), None)
    if found is None:
      raise ValueError(f'{where}: no flagfile {" or ".join(paths)}')
    arguments.append(f'--flagfile={found}')
  for flag, value in values.items():
    text = ','.join(map(str, value)) if isinstance(value, list) else str(value)
    try:
      arguments.append(f'--{flag}={text.format(**names)}')
    except (KeyError, IndexError, ValueError) as error:
      raise ValueError(f'{where}: {flag}: expected {{data}}, {{run}} or {{recipe}} in braces, found {text}') from error
  return arguments


def python() -> str:
  """The path of this Python, to be pasted into a shell in this folder."""
  path = os.path.relpath(sys.executable)
  return sys.executable if path.startswith(os.pardir) else path


def command(arguments: list[str]) -> str:
  """The command of a step, to be pasted into a shell in this folder."""
  return ' \\\n    '.join([shlex.join([python(), '-m', arguments[0]]), *map(shlex.quote, arguments[1:])])


def run(arguments: list[str]) -> None:
  """Prints the command of a step to stderr, and runs it.

  Raises:
    ValueError: the step failed (it has said why).
  """
  print(f'\n$ {command(arguments)}', file=sys.stderr, flush=True)
  status = subprocess.run([sys.executable, '-m', *arguments], check=False).returncode
  if status:
    how = f'ended with exit code {status}; mend what it says and' if status > 0 else f'was ended by signal {-status};'
    raise ValueError(f'python -m {arguments[0]} {how} repeat: finished steps are kept')
