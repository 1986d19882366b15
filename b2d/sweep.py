r"""Compares soft labels and settings of a student: a distillation for every combination, each with several seeds.

    python -m b2d.sweep --soft_labels_sets=one=runs/mine/soft_labels,stack=runs/mine/stack --temperatures=1,2,4,8 \
        --rules=paper,hinton --seeds=1,2,3 --valid_files=valid.tsv --text_columns=query,title --label_column=label \
        --output_dir=runs/mine/sweep

    python -m b2d.sweep --over=train_batch_size=128,256 --over=hidden_layers=64,256:64 \
        --soft_labels=runs/mine/soft_labels --valid_files=valid.tsv --output_dir=runs/mine/sizes

Takes all flags of b2d.distill. The runs are made one after another, each in its folder of --output_dir; repeated, the
command goes on with what is left, and it may then name more of everything that varies. Writes table.md (also on
stdout), metrics.json, and events/ for TensorBoard's HParams. The combinations are compared on the rows that choose the
weights: measure the winner with b2d.evaluate on others.
"""

from b2d import config
from flags import binary


def show(run_config: config.Sweep, result: dict) -> str:
  """The combinations side by side, as a Markdown table."""
  from b2d.learning import sweeping

  del run_config
  return sweeping.table(result['combinations'])


if __name__ == '__main__':
  binary.run(config.Sweep, show=show)
