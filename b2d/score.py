r"""Scores any number of files with a student, a teacher or an exported SavedModel.

    python -m b2d.score --model=runs/mine/student --input_files='log-*.tsv.gz' --keep_columns=query,title \
        --output_dir=runs/mine/scores
    python -m b2d.score --verify --output_dir=runs/mine/scores

Writes Parquet shards part-*.parquet with id, probability (of label 1, or of a grade from --relevant_from of the
training up, as it is served; of more than two classes a list with one for each) and the columns asked for, as text;
manifest.json names model and classes. A killed run goes on where it was when the command is repeated.
"""

from b2d import config
from flags import binary

if __name__ == '__main__':
  binary.run(config.Score)
