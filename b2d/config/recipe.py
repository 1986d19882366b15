"""The configuration of a recipe."""

import dataclasses

from b2d.config import base


@dataclasses.dataclass(frozen=True)
class Recipe(base.Config):
  """`python -m b2d.recipe`: all steps of a recipe, one after another."""

  name: str = base.option('', 'Recipe: a folder of flags/recipes, or the path of a folder of your own.')
  data_dir: str = base.option('', 'Folder of the data: of sst2/, imdb/, homedepot/ and crowdflower/ for those shipped.')
  output_dir: str = base.option('', 'Folder of all its runs.')
  dry_run: bool = base.option(False, 'Print the commands, run none.')

  def validate(self) -> None:
    base.require(bool(self.name), 'set --name: a folder of flags/recipes, or the path of your own')
    base.require(bool(self.data_dir), 'set --data_dir to the folder of the data')
    base.require(bool(self.output_dir), 'set --output_dir: the folder of the runs, e.g. runs/mine')
