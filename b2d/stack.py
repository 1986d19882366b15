r"""Stacks the soft labels of several teachers over the same rows into one soft label a row.

    python -m b2d.stack --soft_labels=runs/mine/soft_labels_a,runs/mine/soft_labels_b \
        --combination=logits --output_dir=runs/mine/stack

Rows are joined by id in any shard order; those that one teacher lacks are counted and left out.
With --valid_soft_labels metrics.json also has the measures of each member and of the stack on that
labelled split (fitted weights are cross-fitted for it).
"""

from b2d import config
from flags import binary


def show(run_config: config.Stack, result: dict) -> str:
  """The number of rows, and the measures of members and stack on the labelled split."""
  lines = [f'{run_config.output_dir}: {result["rows"]} rows']
  measured = {member['teacher']: member for member in result.get('members', ())}
  for name, values in (measured | {'stack': result['stack']} if measured else {}).items():
    lines.append(f'{name}: accuracy {values["accuracy"]:.4f}, auc {values["auc"]:.4f}')
  return '\n'.join(lines)


if __name__ == '__main__':
  binary.run(config.Stack, show=show)
