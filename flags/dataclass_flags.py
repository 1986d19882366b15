"""absl flags from a configuration dataclass: one flag a field, nested groups flattened.

parser = dataclass_flags.Parser(config.Distill)
parser.flag_values(['b2d.distill', '--soft_labels=a'])
run_config = parser()
"""

import dataclasses
import textwrap
import typing
from typing import Any

from absl import app
from absl import flags

from b2d import config

_QUOTES = '\'"'


class Parser:
  """The flags of one step, apart from those of other steps in the process.

  Attributes:
    flag_values: one flag for every field, with the field's help and default.
    sections: names of the flags as --help groups them, by title: the required ones first, then groups of settings.
  """

  def __init__(self, config_class: type[config.Config]):
    self._config_class = config_class
    self.flag_values = flags.FlagValues()
    self.sections: dict[str, list[str]] = {'required': [], 'data': [], config_class.step: []}
    _define(self.flag_values, self.sections, config_class, {})

  def __call__(self) -> Any:
    """Builds the configuration from the parsed flags.

    Raises:
      app.UsageError: a value of the wrong type, or fields that contradict each other.
    """
    try:
      return _build(self.flag_values, self._config_class)
    except ValueError as error:
      raise app.UsageError(str(error)) from error

  def help(self) -> str:
    """All flags by section, with their defaults."""
    lines = []
    for title, names in self.sections.items():
      if names:
        lines.append(f'\n{title}:')
      for name in names:
        flag = self.flag_values[name]
        default = '' if flag.default in (None, '', []) else f' (default: {flag.default_as_str.strip(_QUOTES)})'
        values = f'={"|".join(flag.parser.enum_values)}' if isinstance(flag, flags.EnumFlag) else ''
        lines.append(f'  --{"[no]" if flag.boolean else ""}{name}{values}')
        lines += textwrap.wrap(flag.help + default, 112, initial_indent=' ' * 6, subsequent_indent=' ' * 6)
    return '\n'.join(lines) + '\n'


class _NumberOrWord(flags.ArgumentParser):
  """Numbers, and words such as 'auto' that the configuration knows."""

  def parse(self, argument: str | float) -> float | str:
    try:
      return float(argument)
    except ValueError:
      return argument

  def flag_type(self) -> str:
    return "float or 'auto'"


def _default(field: dataclasses.Field):
  return None if field.default is dataclasses.MISSING else field.default


def _define(
  flag_values: flags.FlagValues, sections: dict[str, list[str]], config_class: type[config.Config], overrides: dict
) -> None:
  hints = typing.get_type_hints(config_class)
  for field in dataclasses.fields(config_class):
    kind = hints[field.name]
    default = overrides.get(field.name, _default(field))
    if isinstance(kind, type) and issubclass(kind, config.Config):
      plain = kind()
      values = {f.name: getattr(default, f.name) for f in dataclasses.fields(kind)}
      # A value that the group fills in by itself is no default of the step's.
      own = {key: value for key, value in values.items() if value != getattr(plain, key)}
      _define(flag_values, sections, kind, own)
    else:
      _define_one(flag_values, field, kind, default)
      sections.setdefault(_section(config_class, field), []).append(field.name)


def _section(config_class: type[config.Config], field: dataclasses.Field) -> str:
  """The title under which --help shows a flag."""
  if field.metadata['required']:
    return 'required'
  if config_class is config.Schema or config_class.step and 'input' in field.metadata['role']:
    return 'data'
  return config_class.step or config_class.__name__.lower()


def _define_one(flag_values: flags.FlagValues, field: dataclasses.Field, kind: type, default) -> None:
  text = field.metadata['help']
  if field.metadata['choices']:
    flags.DEFINE_enum(field.name, default, list(field.metadata['choices']), text, flag_values=flag_values)
  elif kind is bool:
    flags.DEFINE_bool(field.name, default, text, flag_values=flag_values)
  elif kind is int:
    flags.DEFINE_integer(field.name, default, text, flag_values=flag_values)
  elif kind in (float, float | None):
    flags.DEFINE_float(field.name, default, text, flag_values=flag_values)
  elif kind is str:
    flags.DEFINE_string(field.name, default, text, flag_values=flag_values)
  elif kind == float | str:
    flags.DEFINE(_NumberOrWord(), field.name, default, text, flag_values=flag_values)
  elif field.metadata['repeated']:
    flags.DEFINE_multi_string(field.name, list(default), text, flag_values=flag_values)
  else:  # tuple[int, ...] and its like: one comma-separated flag.
    flags.DEFINE_list(field.name, [str(value) for value in default], text, flag_values=flag_values)


def _build(flag_values: flags.FlagValues, config_class: type[config.Config]) -> Any:
  hints = typing.get_type_hints(config_class)
  values = {}
  for field in dataclasses.fields(config_class):
    kind = hints[field.name]
    if isinstance(kind, type) and issubclass(kind, config.Config):
      values[field.name] = _build(flag_values, kind)
      continue
    value = flag_values[field.name].value
    if typing.get_origin(kind) is tuple:
      item = typing.get_args(kind)[0]
      if field.metadata['from_file']:
        value = _from_file(field.name, value)
      try:
        value = tuple(item(part) for part in value)
      except ValueError as error:
        raise ValueError(f'--{field.name}={",".join(value)}: expected {item.__name__}s, comma-separated') from error
    values[field.name] = value
  return config_class(**values)


def _from_file(name: str, values: list[str]) -> list[str]:
  """The lines of the file that '@FILE' names; other values as they are."""
  if len(values) != 1 or not values[0].startswith('@'):
    return values
  try:
    with open(values[0][1:], encoding='utf-8-sig') as file:
      return [line.strip() for line in file if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'--{name}={values[0]}: expected a file of names, one a line, found: {error}') from error
