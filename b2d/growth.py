r"""Measures what more unlabelled rows bring: the student on several sizes of the transfer set.

    python -m b2d.growth --soft_labels=runs/mine/soft_labels --valid_files=valid.tsv --output_dir=runs/mine/growth

Takes all flags of b2d.distill but --max_rows. Each size is a run of its own in --output_dir; repeated, the command goes
on with what is left, and it may then name more --sizes and --seeds. Writes growth.png, table.md (also on stdout: the
curve, and a sentence on what twice the rows would bring), metrics.json, and events/ for TensorBoard's HParams. The
intervals are drawn over the queries of --valid_files, which choose the weights, too: all sizes are a little too good.
"""

from b2d import config
from flags import binary


def show(run_config: config.Growth, result: dict) -> str:
  """The curve as a Markdown table, and the advice."""
  from b2d.learning import growing

  del run_config
  return growing.table(result)


if __name__ == '__main__':
  binary.run(config.Growth, show=show)
