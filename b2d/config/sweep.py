"""The configuration of `b2d.sweep`: that of a distillation, and what varies."""

import dataclasses
import itertools
import os
from typing import ClassVar

from b2d.config import base
from b2d.config import groups
from b2d.config import steps


@dataclasses.dataclass(frozen=True)
class Sweep(steps.Distill):
  """`python -m b2d.sweep`: a distillation for every combination of soft labels, rule, temperature and seed."""

  step: ClassVar[str] = 'sweep'
  soft_labels_sets: tuple[str, ...] = base.option(
    (),
    'name=folder of the soft labels to compare, as of one teacher and of a stack; folders of one name go '
    'together. Empty: --soft_labels alone.',
    role='free',
  )
  rules: tuple[str, ...] = base.option(groups.RULES, 'Rules to compare, in place of --rule.', role='free')
  temperatures: tuple[float, ...] = base.option(
    (1.0, 2.0, 4.0, 8.0), 'Temperatures, in place of --temperature.', role='free'
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
    base.require(
      bool(self.rules and self.temperatures and self.seeds),
      'set --rules, --temperatures and --seeds: expected at least one of each',
    )
    self.runs()  # Each run holds its own settings against each other.

  def runs(self) -> dict[str, steps.Distill]:
    """The run of every combination by its name, '<set>-<rule>-T<temperature>-seed<seed>'.

    At temperature 1 the rules are the same one: only the first of them is run.
    """
    sets: dict[str, tuple[str, ...]] = {}
    for item in self.soft_labels_sets:
      name, _, folder = item.partition('=')
      sets[name] = sets.get(name, ()) + (folder,)
    runs = {}
    for (name, folders), rule, temperature, seed in itertools.product(
      (sets or {'soft_labels': self.soft_labels}).items(), self.rules, self.temperatures, self.seeds
    ):
      if temperature == 1 and rule != self.rules[0]:
        continue
      run = f'{name}-{rule}-T{temperature:g}-seed{seed}'
      settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(steps.Distill)} | {
        'soft_labels': folders,
        'rule': rule,
        'temperature': temperature,
        'training': dataclasses.replace(self.training, seed=seed),
        'output_dir': os.path.join(self.output_dir, run),
      }
      runs[run] = steps.Distill(**settings)
    return runs
