"""What the configurations of the steps share: fields with help, checked choices, to and from JSON. No I/O here."""

import dataclasses
import json
import typing
from typing import Any
from typing import Self


def option(default: Any, help: str, choices: tuple[str, ...] = (), from_file: bool = False) -> Any:
  """A dataclass field with its help, for an enumeration its choices, and whether its flag takes @FILE for a list."""
  return dataclasses.field(default=default, metadata={'help': help, 'choices': choices, 'from_file': from_file})


def require(condition: bool, message: str) -> None:
  """Raises ValueError with the message unless the condition holds."""
  if not condition:
    raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Config:
  """What the configurations share: choices are checked, JSON in and out."""

  def __post_init__(self):
    for field in dataclasses.fields(self):
      choices = field.metadata.get('choices')
      value = getattr(self, field.name)
      require(not choices or value in choices, f'--{field.name}={value!r}: expected one of {", ".join(choices or ())}')
      # TensorFlow looks for checkpoints by pattern: it would not find those of such a folder.
      require(
        field.name != 'output_dir' or not set(value) & set('[]*?\\'),
        f'--{field.name}={value}: expected a path without [, ], *, ? and \\, found some; choose another name',
      )
    self.validate()

  def validate(self) -> None:
    """Raises ValueError where fields contradict each other; overridden by each configuration."""

  def to_json(self) -> str:
    return json.dumps(dataclasses.asdict(self), indent=2) + '\n'

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> Self:
    """Rebuilds a configuration from `json.loads` of what `to_json` wrote.

    Raises:
      ValueError: a key that this configuration does not have (written by another version).
    """
    hints = typing.get_type_hints(cls)
    unknown = set(values) - set(hints)
    require(
      not unknown,
      f'{cls.__name__}: unknown settings {sorted(unknown)}; '
      'the folder was written by another version of b2d, choose another --output_dir',
    )
    made = {}
    for name, value in values.items():
      if dataclasses.is_dataclass(hints[name]):
        value = hints[name].from_dict(value)
      made[name] = tuple(value) if isinstance(value, list) else value
    return cls(**made)


def to_flat(config: Config) -> dict[str, Any]:
  """The configuration's settings by flag name, nested groups flattened."""
  flat = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    flat.update(to_flat(value) if isinstance(value, Config) else {field.name: value})
  return flat
