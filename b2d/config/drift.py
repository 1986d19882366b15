"""The configuration of `b2d.drift`."""

import dataclasses
from typing import ClassVar

from b2d.config import base
from b2d.config import columns


@dataclasses.dataclass(frozen=True)
class Drift(base.Config):
  """`python -m b2d.drift`: whether live rows still look like those that a model was made for."""

  step: ClassVar[str] = 'drift'
  reference: tuple[str, ...] = base.option(
    (), 'Rows as they were when the model was measured: file patterns.', role='input', required=True
  )
  live: tuple[str, ...] = base.option((), 'Rows of today: file patterns.', role='input', required=True)
  output_dir: str = base.option('', 'Folder of metrics.json and the table.', role='free', required=True)
  model: str = base.option('', 'Run folder of a student or a teacher, or a SavedModel, that scores both.', role='input')
  scores_column: str = base.option(
    '', "Instead of --model: the column of both that holds a probability, as b2d.score's 'probability'."
  )
  teacher: str = base.option('', 'Model whose decisions --model is held against, on --teacher_rows.', role='input')
  teacher_rows: int = base.option(1000, 'Rows of each side that --teacher scores.')
  max_rows: int = base.option(200_000, 'Rows of each side that are looked at, spread evenly; 0: all.')
  schema: columns.Schema = columns.Schema()
  max_psi: float = base.option(0.2, 'Highest population stability index of the scores.')
  max_ks: float = base.option(
    0.1, 'Greatest distance of the two distributions of scores (Kolmogorov-Smirnov), if it is significant (p < 0.01).'
  )
  max_unseen_rise: float = base.option(
    0.1, 'Greatest rise of the share of n-grams that a student was never trained on.'
  )
  max_agreement_loss: float = base.option(
    0.05, 'Greatest loss of the share of rows that --model and --teacher decide alike.'
  )

  def validate(self) -> None:
    base.require(bool(self.reference and self.live), 'set --reference and --live')
    base.require(
      bool(self.model) != bool(self.scores_column),
      'set --model, or --scores_column of scores made before, and not both',
    )
    base.require(bool(self.model) or not self.teacher, '--teacher: set --model, too, which it is held against')
    base.require(self.teacher_rows > 0, '--teacher_rows must be positive')
    base.require(self.max_rows >= 0, '--max_rows must not be negative')
