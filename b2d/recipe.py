"""Runs the steps of a recipe, from labelled rows to the evaluation.

    python -m b2d.recipe --name=sst2 --data_dir=/path/to/data --output_dir=runs/sst2

The steps are those of flags/recipes/NAME/recipe.toml. Repeated, it goes on where it was; what is finished is not run
again. --dry_run prints the commands instead, for whoever wants to paste or change them.
"""

from b2d import recipes
from b2d import runs
from flags import recipe_flags


def main(argv: list[str]) -> None:
  del argv
  run_config = recipe_flags.parse()
  folder = recipe_flags.folder(run_config.name)
  for arguments in recipes.steps(folder, run_config.data_dir, run_config.output_dir):
    if run_config.dry_run:
      print(recipes.command(arguments), end='\n\n')
    else:
      recipes.run(arguments)


if __name__ == '__main__':
  recipe_flags.parse.adopt()
  runs.run(main)
