"""The configuration of `b2d.measure_speed`."""

import dataclasses
from typing import ClassVar

from b2d.config import base
from b2d.config import groups


@dataclasses.dataclass(frozen=True)
class MeasureSpeed(base.Config):
  """`python -m b2d.measure_speed`: rows a second of training and of labelling, on rows of one's own."""

  step: ClassVar[str] = 'measure_speed'
  soft_labels: tuple[str, ...] = base.option(
    (), 'Soft labels: to train on, and whose texts are labelled again.', required=True
  )
  teacher_dir: str = base.option('', 'Run folder of the teacher; empty: measure no labelling.')
  label_rows: int = base.option(2048, 'Rows to label.')
  padded_length: int = base.option(128, 'Word pieces that the plain padded batches are padded to.')
  max_rows: int = base.option(262_144, 'Rows to train on; 0: all.')
  table_buckets: tuple[int, ...] = base.option(
    (1 << 16, 1 << 20, 1 << 22), 'Sizes of the table, one training each, instead of --num_buckets.'
  )
  student: groups.Student = groups.Student(embedding_dim=64)
  training: groups.Training = groups.Training(learning_rate=1e-3, train_batch_size=1024, num_train_epochs=1.0)

  def validate(self) -> None:
    base.require(bool(self.soft_labels), 'set --soft_labels')
    base.require(self.label_rows > 0, '--label_rows must be positive')
    base.require(8 <= self.padded_length <= 512, '--padded_length must be from 8 to 512')
