"""The configurations of `b2d.sweep` and `b2d.growth`: that of a distillation, and what varies."""

import dataclasses
import itertools
import os
import typing
from typing import Any
from typing import ClassVar

from b2d.config import base
from b2d.config import groups
from b2d.config import steps

_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
_OWN_FLAGS = {'rule': 'rules', 'temperature': 'temperatures', 'seed': 'seeds'}


@dataclasses.dataclass(frozen=True)
class Sweep(steps.Distill):
  """`python -m b2d.sweep`: a distillation for every combination of soft labels, settings and seed."""

  step: ClassVar[str] = 'sweep'
  soft_labels_sets: tuple[str, ...] = base.option(
    (),
    'name=folder of the soft labels to compare, as of one teacher and of a stack; folders of one name go '
    'together. Empty: --soft_labels alone.',
    role='free',
  )
  over: tuple[str, ...] = base.option(
    (),
    'Any setting and its values: --over=train_batch_size=128,256; may be given several times. Items of a list are '
    'parted by colons: --over=hidden_layers=64,256:64.',
    role='free',
    repeated=True,
  )
  rules: tuple[str, ...] = base.option(
    (), 'Rules to compare, in place of --rule. Unset: both, or with --over --rule alone.', role='free'
  )
  temperatures: tuple[float, ...] = base.option(
    (),
    'Temperatures, in place of --temperature. Unset: 1, 2, 4 and 8, or with --over --temperature alone.',
    role='free',
  )
  seeds: tuple[int, ...] = base.option((1, 2, 3), 'Seeds of the repeats, in place of --seed.', role='free')

  def validate(self) -> None:
    base.require(bool(self.valid_files), 'set --valid_files: a sweep compares on held-out rows')
    base.require(bool(self.soft_labels or self.soft_labels_sets), 'set --soft_labels, or --soft_labels_sets')
    for item in self.soft_labels_sets:
      name, _, folder = item.partition('=')
      base.require(
        bool(name and folder) and '/' not in name, f'--soft_labels_sets: expected name=folder, found {item!r}'
      )
    base.require(bool(self.seeds), 'set --seeds: expected at least one')
    self.runs()  # Each run holds its own settings against each other.

  def varied(self) -> dict[str, dict[str, Any]]:
    """What varies, by the name of each run: 'soft_labels', and settings by the name of their flag."""
    sets: dict[str, tuple[str, ...]] = {}
    for item in self.soft_labels_sets:
      name, _, folder = item.partition('=')
      sets[name] = sets.get(name, ()) + (folder,)
    rules = self.rules or ((self.rule,) if self.over else groups.RULES)
    temperatures = self.temperatures or ((self.temperature,) if self.over else _TEMPERATURES)
    over = [(item.partition('=')[0], _values(item)) for item in self.over]
    varied = {}
    for (name, folders), rule, temperature, settings, seed in itertools.product(
      (sets or {'soft_labels': self.soft_labels}).items(),
      rules,
      temperatures,
      itertools.product(*(values.items() for _, values in over)),
      self.seeds,
    ):
      if temperature == 1 and rule != rules[0]:
        continue
      shown = f'{temperature:g}' if isinstance(temperature, float | int) else temperature
      parts = [f'{setting}={text}' for (setting, _), (text, _) in zip(over, settings)]
      varied['-'.join([name, rule, f'T{shown}', *parts, f'seed{seed}'])] = {
        'soft_labels': folders,
        'rule': rule,
        'temperature': temperature,
        **{setting: value for (setting, _), (_, value) in zip(over, settings)},
        'seed': seed,
      }
    return varied

  def runs(self) -> dict[str, steps.Distill]:
    """The run of every combination by its name, '<set>-<rule>-T<temperature>[-<setting>=<value>]-seed<seed>'.

    At temperature 1 the rules are the same one: only the first of them is run.
    """
    return {name: _run(self, name, values) for name, values in self.varied().items()}


@dataclasses.dataclass(frozen=True)
class Growth(steps.Distill):
  """`python -m b2d.growth`: a distillation on each of several sizes of the transfer set."""

  step: ClassVar[str] = 'growth'
  sizes: tuple[int, ...] = base.option(
    (), 'Rows of the soft labels to distill on; unset: all of them, and four times half as many.', role='free'
  )
  seeds: tuple[int, ...] = base.option((1,), 'Seeds of the repeats, in place of --seed.', role='free')
  bootstrap: int = base.option(1000, 'Bootstrap repeats over the queries (or rows) of --valid_files.', role='free')

  def validate(self) -> None:
    super().validate()
    base.require(bool(self.soft_labels and self.valid_files), 'set --soft_labels, and --valid_files to measure on')
    base.require(not self.max_rows, '--max_rows: set --sizes instead')
    base.require(self.bootstrap > 1, f'--bootstrap={self.bootstrap}: expected at least 2')
    base.require(bool(self.seeds), 'set --seeds: expected at least one')
    base.require(
      not self.sizes or len(set(self.sizes)) > 1 and min(self.sizes) > 0,
      f'--sizes={",".join(map(str, self.sizes))}: expected two different numbers of rows at least',
    )

  def varied(self, num_rows: int) -> dict[str, dict[str, Any]]:
    """What varies, by the name of each run, the fewest rows first; `num_rows` soft labels there are in all."""
    sizes = self.sizes or {max(1, num_rows >> halvings) for halvings in range(5)}
    return {
      f'rows{size}-seed{seed}': {'max_rows': size, 'seed': seed} for size in sorted(set(sizes)) for seed in self.seeds
    }

  def runs(self, num_rows: int) -> dict[str, steps.Distill]:
    """The runs by their names, '<rows>-seed<seed>'."""
    return {name: _run(self, name, values) for name, values in self.varied(num_rows).items()}


def _run(whole: steps.Distill, name: str, values: dict[str, Any]) -> steps.Distill:
  """The distillation that differs from `whole` in these settings, in a folder of this name."""
  settings = {field.name: getattr(whole, field.name) for field in dataclasses.fields(steps.Distill)}
  for group in ('student', 'training'):
    of_group = {field.name for field in dataclasses.fields(settings[group])}
    settings[group] = dataclasses.replace(
      settings[group], **{key: value for key, value in values.items() if key in of_group}
    )
  settings |= {key: value for key, value in values.items() if key in settings}
  return steps.Distill(**settings | {'output_dir': os.path.join(whole.output_dir, name)})


def _values(item: str) -> dict[str, Any]:
  """The values of 'setting=value,value' by what was written."""
  name, _, values = item.partition('=')
  kinds: dict[str, Any] = {}
  for group in (steps.Distill, groups.Student, groups.Training):
    hints = typing.get_type_hints(group)
    kinds |= {
      field.name: hints[field.name]
      for field in dataclasses.fields(group)
      if field.metadata.get('role') == 'setting' and field.name not in _OWN_FLAGS
    }
  found = f'--over={item}: expected setting=value,value'
  base.require(name not in _OWN_FLAGS, f'{found}; set --{_OWN_FLAGS.get(name)} for this one')
  base.require(name in kinds, f'{found}, found no such setting; these vary: {", ".join(sorted(kinds))}')
  base.require(bool(values) and '/' not in values, f'{found}, found {values or "none"!r}')
  try:
    return {text: _parsed(text, kinds[name]) for text in values.split(',')}
  except ValueError as error:
    raise ValueError(f'{found}: {error}') from error


def _parsed(text: str, kind: Any) -> Any:
  if typing.get_origin(kind) is tuple:
    return tuple(_parsed(part, typing.get_args(kind)[0]) for part in text.split(':'))
  if kind is bool:
    base.require(text in ('true', 'false'), f'expected true or false, found {text!r}')
    return text == 'true'
  return kind(text)
