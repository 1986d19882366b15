"""Runs the steps of a recipe, from labelled rows to the evaluation.

    python -m b2d.recipe --name=sst2 --data_dir=/path/to/data --output_dir=runs/sst2

The steps are those of flags/recipes/NAME/recipe.toml. Repeated, it goes on where it was; what is finished is not run
again. --dry_run prints the commands instead, for whoever wants to paste or change them.
"""

from b2d import config
from b2d import recipes
from flags import binary
from flags import recipe_folders


def recipe(run_config: config.Recipe) -> list[list[str]]:
  """Runs the steps, or what is left of them; returns their command lines."""
  steps = recipes.steps(recipe_folders.folder(run_config.name), run_config.data_dir, run_config.output_dir)
  if not run_config.dry_run:
    for arguments in steps:
      recipes.run(arguments)
  return steps


def show(run_config: config.Recipe, steps: list[list[str]]) -> str:
  """The commands, where they were not run."""
  if run_config.dry_run:
    return '\n\n'.join(map(recipes.command, steps))
  return f'{run_config.output_dir}: {len(steps)} steps finished'


if __name__ == '__main__':
  binary.run(config.Recipe, recipe, show)
