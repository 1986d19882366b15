"""The configuration of `b2d.project_embeddings`."""

import dataclasses
from typing import ClassVar

from b2d.config import base


@dataclasses.dataclass(frozen=True)
class ProjectEmbeddings(base.Config):
  """`python -m b2d.project_embeddings`: what a student has learnt of n-grams, for TensorBoard's projector."""

  step: ClassVar[str] = 'project_embeddings'
  model: str = base.option('', 'Run folder of the student.', role='input', required=True)
  soft_labels: tuple[str, ...] = base.option(
    (),
    'Folders of soft labels: the corpus whose n-grams are shown, with what its teacher said.',
    role='input',
    required=True,
  )
  output_dir: str = base.option('', "Folder of the projector's files.", role='free', required=True)
  neighbors_of: tuple[str, ...] = base.option((), 'Words whose nearest n-grams are printed.', role='free')
  num_neighbors: int = base.option(8, 'Nearest n-grams of each word.', role='free')
  max_ngrams: int = base.option(10_000, 'The most frequent n-grams are taken.', role='free')
  max_rows: int = base.option(200_000, 'Rows of the soft labels that are read, spread evenly; 0: all.', role='free')

  def validate(self) -> None:
    base.require(bool(self.model and self.soft_labels), 'set --model and --soft_labels')
    base.require(self.max_ngrams > 1, '--max_ngrams must be at least 2')
    base.require(self.num_neighbors > 0, '--num_neighbors must be positive')
    base.require(self.max_rows >= 0, '--max_rows must not be negative')
