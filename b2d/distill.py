r"""Distils soft labels into a student, or trains the same student on hard labels (the baseline).

    python -m b2d.distill --soft_labels=runs/mine/soft_labels --valid_files=valid.tsv --text_columns=query,title \
        --label_column=label --output_dir=runs/mine/student
    python -m b2d.distill --train_files=train.tsv ... --output_dir=runs/mine/baseline

A killed run goes on where it was when the command is repeated. The run folder holds the best weights (best/), the
configuration, calibration.json, metrics.json, and TensorBoard events (events/); with --temperature=auto also
temperature.json: what --best_metric was after a short run at each.
"""

from b2d import config
from flags import binary

if __name__ == '__main__':
  binary.run(config.Distill)
