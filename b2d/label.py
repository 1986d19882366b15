r"""Labels any number of files with a teacher's logits, or imports scores made elsewhere.

    python -m b2d.label --input_files='log-*.tsv.gz' --teacher_dir=runs/mine/teacher --output_dir=runs/mine/soft_labels
    python -m b2d.label --input_files=llm.csv --text_columns=query,title \
        --scores_columns=p_relevant --output_dir=runs/mine/llm_labels

    python -m b2d.label --verify --output_dir=runs/mine/soft_labels
    python -m b2d.label --input_files='log-*.tsv.gz' --teacher_dir=runs/mine/teacher \
        --output_dir=runs/mine/soft_labels --dry_run --price_per_hour=1.70

A killed run goes on where it was when the command is repeated: it checks the shards that are there and labels only the
missing ones. --verify checks the shards of a finished folder and labels nothing; --dry_run says what it would take.
docs/scaling-out.md has several machines, and logs that grow.
The folder holds the soft labels (see `soft_labels`), the configuration and metrics.json.
"""

from b2d import config
from flags import binary

if __name__ == '__main__':
  binary.run(config.Label)
