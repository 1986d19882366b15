"""The configuration of `b2d.score`."""

import dataclasses
from typing import ClassVar

from b2d.config import base
from b2d.config import scaling_out


@dataclasses.dataclass(frozen=True)
class Score(scaling_out.Sharded):
  """`python -m b2d.score`: a model's calibrated probability for every row of any number of files."""

  step: ClassVar[str] = 'score'
  model: str = base.option(
    '', 'Run folder of a student or of a teacher, or an exported SavedModel.', role='input', required=True
  )
  input_files: tuple[str, ...] = base.option((), 'Rows to score: file patterns.', role='input', required=True)
  output_dir: str = base.option('', 'Folder of the scores.', role='free', required=True)
  keep_columns: tuple[str, ...] = base.option(
    (), 'Columns of the input that shall stand beside the probability, as text; the id always does.'
  )
  rows_per_shard: int = base.option(32768, 'Rows a shard: what a killed worker loses at most.')

  def validate(self) -> None:
    super().validate()
    if self.verify:
      return
    base.require(bool(self.model), 'set --model: the folder of a student, of a teacher, or of a SavedModel')
    base.require(self.rows_per_shard > 0, '--rows_per_shard must be positive')
    base.require(
      len({'id', 'probability', *self.keep_columns}) == 2 + len(self.keep_columns),
      f'--keep_columns={",".join(self.keep_columns)}: expected different names, none of them id or probability, which '
      'the scores have already',
    )
