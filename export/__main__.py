"""Exports a student, or a teacher for comparison, as a SavedModel for TensorFlow Serving.

    python -m export --model=runs/mine/student --output_dir=runs/mine/export

A call adds a version, complete before it has its number, unless the last one is the same. The README.md
beside it says how to serve it.
"""

from b2d import config
from flags import binary


def show(run_config: config.Export, result: tuple[str, dict]) -> str:
  """What the user is told: where the SavedModel lies, and how near it is to the trained model."""
  del run_config
  folder, described = result
  lines = [
    f'{folder}: {", ".join(described["signatures"])}; TensorFlow Serving '
    f'{described["serving"]["lowest_release"]} or later; at most '
    f'{described["largest_difference"]:.1e} from the trained model'
  ]
  held_out = described['held_out']
  if held_out:
    lines.append(
      'held-out rows, trained → exported: '
      + ', '.join(
        f'{name} {value:.4f} → {held_out["exported"][name]:.4f}' for name, value in held_out['trained'].items()
      )
    )
  if 'regress' not in described['signatures']:
    lines.append('no regress signature: more than two classes have no single score')
  return '\n'.join(lines)


if __name__ == '__main__':
  binary.run(config.Export, show=show)
