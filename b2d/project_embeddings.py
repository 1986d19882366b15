r"""Shows what a student has learnt of n-grams: files for TensorBoard's projector, and the nearest n-grams of words.

    python -m b2d.project_embeddings --model=runs/mine/student --soft_labels=runs/mine/soft_labels \
        --neighbors_of=sofa,cordless --output_dir=runs/mine/embeddings
    tensorboard --logdir=runs/mine/embeddings        # Projector: colour by count, or by what the teacher said

The most frequent n-grams of the soft labels with their vectors (vectors.tsv) and how often they occur, the teacher's
mean probability of the rows that hold them, and their own share of what falls on their row of the hashed table
(metadata.tsv): where that is low, the vector is another n-gram's. table.md (also on stdout) has the nearest n-grams of
--neighbors_of by cosine.
"""

from typing import Any

from b2d import config
from flags import binary


def show(run_config: config.ProjectEmbeddings, result: dict[str, Any]) -> str:
  """The nearest n-grams of each word as a Markdown table, and how much of them is collision."""
  from b2d.measures import embeddings

  del run_config
  return embeddings.shown(result)


if __name__ == '__main__':
  binary.run(config.ProjectEmbeddings, show=show)
