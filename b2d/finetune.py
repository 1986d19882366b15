r"""Fine-tunes a BERT teacher on labelled rows, or on soft labels.

    python -m b2d.finetune --init_checkpoint=FOLDER --train_files=train.tsv \
        --valid_files=valid.tsv --text_columns=query,title --label_column=label \
        --output_dir=runs/mine/teacher

With --soft_labels in place of --train_files it learns what another teacher said, a larger one or a stack: an assistant,
which labels the mass cheaply. --init_checkpoint may be a teacher's run folder: to go on with gold labels, say.

Single texts or pairs; classes, or grades with --label_range. A killed run goes on where it was when
the command is repeated, in the precision that it was begun in. The run folder holds the best weights (best/),
vocabulary, configuration, metrics.json, and TensorBoard events (events/).
"""

from b2d import config
from flags import binary

if __name__ == '__main__':
  binary.run(config.Finetune)
