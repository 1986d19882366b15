"""absl flags from a configuration dataclass: one flag a field, nested groups flattened.

parse = dataclass_flags.define(config.Distill)   # flags/distill_flags.py
run_config = distill_flags.parse()               # in main of b2d/distill.py
distill_flags.parse.adopt()                      # under its __main__
"""

import dataclasses
import sys
import typing
from typing import Any

from absl import app
from absl import flags


class Parser:
  """The flags of one step, apart from those of the others until its binary adopts them.

  Attributes:
    flag_values: one flag for every field, with the field's help and default.
  """

  def __init__(self, config_class: type):
    self._config_class = config_class
    self.flag_values = flags.FlagValues()
    _define(self.flag_values, config_class, {})

  def __call__(self) -> Any:
    """Builds the configuration from the parsed flags.

    Raises:
      app.UsageError: a value of the wrong type, or fields that contradict each other.
    """
    try:
      return _build(self.flag_values, self._config_class)
    except ValueError as error:
      raise app.UsageError(str(error)) from error

  def adopt(self) -> None:
    """Makes them the flags of this process, and lists them under --help."""
    flags.FLAGS.append_flag_values(self.flag_values)
    for name in self.flag_values:
      flags.FLAGS.register_key_flag_for_module(sys.argv[0], self.flag_values[name])


def define(config_class: type) -> Parser:
  """The flags of a configuration; called once for each, at module level of its flags/*_flags.py."""
  return Parser(config_class)


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


def _define(flag_values: flags.FlagValues, config_class: type, overrides: dict) -> None:
  hints = typing.get_type_hints(config_class)
  for field in dataclasses.fields(config_class):
    kind = hints[field.name]
    default = overrides.get(field.name, _default(field))
    if dataclasses.is_dataclass(kind):
      plain = kind()
      values = {f.name: getattr(default, f.name) for f in dataclasses.fields(kind)}
      # A value that the group fills in by itself is no default of the step's.
      _define(flag_values, kind, {key: value for key, value in values.items() if value != getattr(plain, key)})
    else:
      _define_one(flag_values, field, kind, default)


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
  else:  # tuple[int, ...] and its like: one comma-separated flag.
    flags.DEFINE_list(field.name, [str(value) for value in default], text, flag_values=flag_values)


def _build(flag_values: flags.FlagValues, config_class: type) -> Any:
  hints = typing.get_type_hints(config_class)
  values = {}
  for field in dataclasses.fields(config_class):
    kind = hints[field.name]
    if dataclasses.is_dataclass(kind):
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
    with open(values[0][1:], encoding='utf-8') as file:
      return [line.strip() for line in file if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(f'--{name}={values[0]}: expected a file of names, one a line, found: {error}') from error
