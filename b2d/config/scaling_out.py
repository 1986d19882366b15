"""The settings of who makes the shards of labels and of scores; docs/scaling-out.md shows them at work."""

import dataclasses

from b2d.config import base
from b2d.config import columns
from b2d.config import groups

ENGINES = ('local', 'ray')


@dataclasses.dataclass(frozen=True)
class Scaling(base.Config):
  """Which machines work on one output folder, and on which of its shards."""

  engine: str = base.option(
    'local', "Who makes the shards: 'local' processes, or actors on a 'ray' cluster.", ENGINES, role='free'
  )
  ray_address: str = base.option(
    'auto', "Of the Ray cluster's head, host:port; auto: as `ray start` or RAY_ADDRESS has it.", role='free'
  )
  task: int = base.option(
    -1,
    'Make only the shards of this task, from 0, of --num_tasks: for a scheduler that starts the same command on many '
    'machines. -1: all shards.',
    role='free',
  )
  num_tasks: int = base.option(0, 'How many --task there are.', role='free')
  finish: bool = base.option(False, 'Make no shards: write the manifest, when all tasks have made theirs.', role='free')
  append: bool = base.option(
    False,
    'Also take the files that match --input_files now and were not there when the folder was begun, as new shards '
    'behind the others.',
    role='free',
  )

  def validate(self) -> None:
    base.require(
      self.task == -1 or 0 <= self.task < self.num_tasks,
      f'--task={self.task}: expected one from 0 to --num_tasks={self.num_tasks} less 1',
    )
    base.require(self.num_tasks >= 0, '--num_tasks must not be negative')
    base.require(self.task >= 0 or not self.num_tasks, f'--num_tasks={self.num_tasks}: set --task too')
    base.require(not self.finish or self.task < 0, '--finish comes when all tasks are done, without --task')
    base.require(not self.append or self.task < 0, '--append plans the new files: give it once, without --task')


@dataclasses.dataclass(frozen=True)
class Sharded(base.Config):
  """What `label` and `score` share: rows in, shards out, made by any number of workers."""

  schema: columns.Schema = columns.Schema()
  num_workers: int = base.option(
    0,
    'Workers: local processes, or actors on Ray; 0: one for each core (as far as the rows are worth it), or for each '
    'core or GPU of the Ray cluster.',
    role='free',
  )
  scaling: Scaling = Scaling()
  precision: str = base.option(
    'auto',
    'Arithmetic of the matrix products of a BERT. auto: whichever is faster on this processor.',
    groups.PRECISIONS_OR_AUTO,
  )
  verify: bool = base.option(False, 'Make nothing: check every shard of the finished folder --output_dir.', role='free')

  def validate(self) -> None:
    base.require(self.num_workers >= 0, '--num_workers must not be negative')
