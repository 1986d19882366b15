"""What the configurations of the steps share: fields with help, checked choices, to and from JSON. No I/O here."""

from collections.abc import Iterator
import dataclasses
import json
import typing
from typing import Any
from typing import ClassVar
from typing import Self


def option(
  default: Any,
  help: str,
  choices: tuple[str, ...] = (),
  *,
  role: str = 'setting',
  required: bool = False,
  from_file: bool = False,
  repeated: bool = False,
) -> Any:
  """A dataclass field.

  Args:
    default: its default.
    help: what it is, for --help.
    choices: the values of an enumeration.
    role: what a run's record makes of it: 'setting' decides what comes out; 'input' too, and names files or folders
      whose contents count, 'named_input' as name=folder; 'free' may differ when the command is repeated: where to, how
      fast, how many.
    required: whether the step cannot do without it; --help lists these first.
    from_file: whether its flag takes @FILE for a list.
    repeated: whether its flag is given once for each item, which may hold commas, instead of a list.
  """
  return dataclasses.field(
    default=default,
    metadata={
      'help': help,
      'choices': choices,
      'role': role,
      'required': required,
      'from_file': from_file,
      'repeated': repeated,
    },
  )


def require(condition: bool, message: str) -> None:
  """Raises ValueError with the message unless the condition holds."""
  if not condition:
    raise ValueError(message)


@dataclasses.dataclass(frozen=True)
class Config:
  """What the configurations share: choices are checked, JSON in and out.

  Attributes:
    step: name of the step that a configuration is of; a group of settings has none.
  """

  step: ClassVar[str] = ''

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
  return {field.name: value for field, value in flat_fields(config)}


def flat_fields(config: Config) -> Iterator[tuple[dataclasses.Field, Any]]:
  """The configuration's fields with their values, nested groups flattened."""
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if isinstance(value, Config):
      yield from flat_fields(value)
    else:
      yield field, value


def inputs(config: Config) -> Iterator[tuple[str, str]]:
  """Every value that names an input, with the field's name; of 'name=folder' the folder."""
  for field, value in flat_fields(config):
    if field.metadata['role'] in ('input', 'named_input'):
      for item in (value,) if isinstance(value, str) else value:
        path = item.partition('=')[2] if field.metadata['role'] == 'named_input' else item
        if path:
          yield field.name, path
