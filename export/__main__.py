"""Exports a student, or a teacher for comparison, as a SavedModel that TensorFlow Serving loads as it is.

    python -m export --model=runs/mine/student --output_dir=runs/mine/export

Each run adds a version, complete before it has its number. What it says to the server and to you is in README.md beside it.
"""

from absl import flags

from b2d import runs
from export import saved_model
from flags import dataclass_flags
from flags import export_flags

flags.adopt_module_key_flags(dataclass_flags)


def main(argv: list[str]) -> None:
  del argv
  print(saved_model.export(export_flags.parse()))


if __name__ == '__main__':
  runs.run(main)
