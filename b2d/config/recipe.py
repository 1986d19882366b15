"""The configurations of a recipe and of the quickstart, which is one."""

import dataclasses
from typing import ClassVar

from b2d.config import base


@dataclasses.dataclass(frozen=True)
class Recipe(base.Config):
  """`python -m b2d.recipe`: all steps of a recipe, one after another."""

  step: ClassVar[str] = 'recipe'
  name: str = base.option('', 'Recipe: a folder of flags/recipes, or the path of a folder of your own.', required=True)
  data_dir: str = base.option(
    '', 'Folder of the data: of sst2/, imdb/, homedepot/ and crowdflower/ for those shipped.', required=True
  )
  output_dir: str = base.option('', 'Folder of all its runs.', role='free', required=True)
  dry_run: bool = base.option(False, 'Print the commands, run none.')

  def validate(self) -> None:
    base.require(bool(self.name), 'set --name: a folder of flags/recipes, or the path of your own')
    base.require(bool(self.data_dir), 'set --data_dir to the folder of the data')
    base.require(bool(self.output_dir), 'set --output_dir: the folder of the runs, e.g. runs/mine')


@dataclasses.dataclass(frozen=True)
class Quickstart(base.Config):
  """`python -m b2d.quickstart`: a generated shop, and the steps on it."""

  step: ClassVar[str] = 'quickstart'
  output_dir: str = base.option('runs/quickstart', 'Folder of the shop and of all runs.', role='free')
