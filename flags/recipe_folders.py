"""Where the recipes lie that come with the package."""

import os


def folder(name: str) -> str:
  """The folder of a recipe: below flags/recipes by its name alone, or the path `name`, relative to this folder."""
  if os.path.dirname(name):
    return name
  shipped = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'recipes', name)
  relative = os.path.relpath(shipped)
  return shipped if relative.startswith(os.pardir) else relative
