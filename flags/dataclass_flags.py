"""absl flags from a configuration dataclass: one flag a field, nested groups flattened.

    parse = dataclass_flags.define(config.Distill)   # flags/distill_flags.py
    run_config = distill_flags.parse()               # in main
"""

import dataclasses
import functools
import typing
from typing import Any, Callable

from absl import app
from absl import flags


def define(config_class: type) -> Callable[[], Any]:
  """Defines a flag for every field of `config_class`, with the field's help and default.

  Returns:
    The function that builds `config_class` from the parsed flags. It raises app.UsageError at a value of the
    wrong type and at fields that contradict each other.
  """
  _define_with_defaults(config_class, {})
  return functools.partial(_parse, config_class)


def _default(field: dataclasses.Field):
  return None if field.default is dataclasses.MISSING else field.default


def _define_with_defaults(config_class: type, overrides: dict) -> None:
  hints = typing.get_type_hints(config_class)
  for field in dataclasses.fields(config_class):
    kind = hints[field.name]
    default = overrides.get(field.name, _default(field))
    if dataclasses.is_dataclass(kind):
      values = {f.name: getattr(default, f.name) for f in dataclasses.fields(kind)}
      _define_with_defaults(kind, values)
    else:
      _define_one(field, kind, default)


def _define_one(field: dataclasses.Field, kind: type, default) -> None:
  text = field.metadata['help']
  if field.metadata['choices']:
    flags.DEFINE_enum(field.name, default, list(field.metadata['choices']), text)
  elif kind is bool:
    flags.DEFINE_bool(field.name, default, text)
  elif kind is int:
    flags.DEFINE_integer(field.name, default, text)
  elif kind is float:
    flags.DEFINE_float(field.name, default, text)
  elif kind is str:
    flags.DEFINE_string(field.name, default, text)
  else:  # tuple[int, ...] and its like: one comma-separated flag.
    flags.DEFINE_list(field.name, [str(value) for value in default], text)


def _parse(config_class: type):
  try:
    return _build(config_class)
  except ValueError as error:
    raise app.UsageError(str(error)) from error


def _build(config_class: type):
  hints = typing.get_type_hints(config_class)
  values = {}
  for field in dataclasses.fields(config_class):
    kind = hints[field.name]
    if dataclasses.is_dataclass(kind):
      values[field.name] = _build(kind)
      continue
    value = flags.FLAGS[field.name].value
    if typing.get_origin(kind) is tuple:
      item = typing.get_args(kind)[0]
      try:
        value = tuple(item(part) for part in value)
      except ValueError as error:
        raise ValueError(f'--{field.name}={",".join(value)}: expected {item.__name__}s, '
                         f'comma-separated') from error
    values[field.name] = value
  return config_class(**values)
