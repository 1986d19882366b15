"""The plan of a folder of shards: which rows go into which.

The rows are copied first, see `copying`; what a killed run has copied is not copied again. `plan.json`, written last,
records files and rows, what was decided for the run, and an id that follows from configuration, contents of the inputs,
and decisions. Files that come later are appended as another part, with shards behind those that are there and an id of
its own.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import hashlib
import json
import os
import time
from typing import Any

from absl import logging
import pyarrow as pa
import tensorflow as tf

from b2d import config
from b2d import record
from b2d import runs
from b2d.data import blocks
from b2d.data import file_formats
from b2d.data import rows
from b2d.data import shards
from b2d.learning import copying
from b2d.learning import engines


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to make; plain values, so that any engine can send it anywhere."""

  index: int
  num_rows: int
  output_dir: str  # Absolute.
  plan: str
  model: str
  slices: tuple[copying.Slice, ...]  # Of its rows.

  @property
  def name(self) -> str:
    return shards.name(self.index)

  @property
  def output_path(self) -> str:
    return os.path.join(self.output_dir, self.name)

  @property
  def marks(self) -> dict[str, str]:
    return shards.marks_of(self.plan, self.model, self.index)

  def read(self) -> pa.Table:
    """Its rows, as `Job.read` gave them.

    Raises:
      ValueError: what was copied is damaged, gone, or not what was planned.
    """
    return copying.read(self.output_dir, self.slices)

  def write(self, table: pa.Table) -> tuple[str, str]:
    """Writes the result; returns the shard's name and digest.

    Raises:
      ValueError: the folder has another plan by now.
    """
    return self.name, shards.write(self.output_dir, self.index, table, self.marks, self._check_plan)

  def _check_plan(self) -> None:
    found = [part['id'] for part in runs.read_json(os.path.join(self.output_dir, runs.PLAN)).get('parts', ())]
    if self.plan not in found:
      raise ValueError(
        f'{self.output_path}: expected the plan {self.plan}, found {", ".join(found)}; the folder was begun anew'
      )


@dataclasses.dataclass(frozen=True)
class Part:
  """What was planned at one time."""

  id: str
  files: tuple[str, ...]
  pieces: tuple[copying.Piece, ...]
  piece_rows: tuple[int, ...]
  shards: dict[str, int]  # Name → rows.
  bad_rows: int = 0

  @property
  def slices(self) -> Iterator[tuple[copying.Slice, ...]]:
    """Where the rows of each shard are."""
    return copying.slices(self.pieces, self.piece_rows, list(self.shards.values()))


@dataclasses.dataclass(frozen=True)
class Plan:
  """What plan.json holds."""

  model: str
  decided: dict[str, Any]  # For all of the run, by name: the precision, say.
  parts: tuple[Part, ...]

  @property
  def shards(self) -> dict[str, int]:
    """Rows by name."""
    return {name: size for part in self.parts for name, size in part.shards.items()}

  @property
  def files(self) -> list[str]:
    return [file for part in self.parts for file in part.files]

  def tasks(self, folder: str) -> list[Task]:
    made_of = [
      (size, part.id, slices) for part in self.parts for size, slices in zip(part.shards.values(), part.slices)
    ]
    folder = engines.absolute(folder)
    return [Task(i, size, folder, part, self.model, slices) for i, (size, part, slices) in enumerate(made_of)]


@dataclasses.dataclass(frozen=True)
class Job:
  """What a step makes of its rows.

  Attributes:
    run_config: with input_files, output_dir, schema, rows_per_shard, num_workers and scaling.
    model: what makes the results, for the record.
    read: parts of files, and what takes the rows that cannot be read → rows in order; picklable.
    decide: what reads a batch of the planned rows → what the plan shall record, {name: value}.
    work: (task, state, report) → what `Task.write` returned; picklable.
    make_state: the plan → what makes the state in a worker, picklable.
    finish: plan and digests by shard → writes the manifest, and returns what else the step's result shall say.
    num_workers: workers at most; 0: as the engine has it.
    rows_a_worker: rows for which one process more is worth the seconds that its start takes.
    at_once: whether one call must read all files: it counts something over them.
  """

  run_config: Any
  model: str
  read: copying.Read
  decide: Callable[[Callable[[], rows.Batch]], dict[str, Any]]
  work: Callable[[Task, Any, engines.Report], tuple[str, str]]
  make_state: Callable[[Plan], Callable[[], Any]]
  finish: Callable[[Plan, dict[str, str]], dict[str, Any]]
  num_workers: int
  rows_a_worker: int = 1
  at_once: bool = False

  @property
  def folder(self) -> str:
    return self.run_config.output_dir

  @property
  def settings(self) -> dict[str, Any]:
    """What decides the results, apart from the inputs' contents."""
    return {
      field.name: value for field, value in config.flat_fields(self.run_config) if field.metadata['role'] != 'free'
    }


def exists(folder: str) -> bool:
  return tf.io.gfile.exists(os.path.join(folder, runs.PLAN))


def make(job: Job) -> Plan:
  """Has the rows copied, or takes up a plan that is there.

  Raises:
    ValueError: bad input, or it changed while it was planned.
  """
  if exists(job.folder):
    return _read(job.folder)
  known = _made_from(job)
  files = [path for path in rows.expand(job.run_config.input_files) if path in known]
  plan = Plan(job.model, {}, (_copy(job, files),))
  decided = job.decide(lambda: rows.batch_of(plan.tasks(job.folder)[0].read()))
  return _write(job.folder, Plan(job.model, decided, (_with_id(job, plan.parts[0], decided),)))


def append(job: Job) -> None:
  """Plans the input files that have come since; a finished run counts as not finished then.

  Raises:
    ValueError: bad input, or it changed while it was planned.
  """
  plan = _read(job.folder)
  before = _made_from(job)
  now = record.read(job.run_config, before)
  files = new_files(job.run_config)
  if not files or {path for path in record.changed(before, now) if path not in files}:
    return  # What has changed is refused when the run is taken up.
  if runs.finished(job.folder):
    tf.io.gfile.remove(os.path.join(job.folder, 'metrics.json'))
  _record(job, before | now)  # Compared while they are copied; the plan says what of it is planned.
  part = _with_id(job, _copy(job, files, plan), plan.decided)
  _write(job.folder, dataclasses.replace(plan, parts=(*plan.parts, part)))


def new_files(run_config: Any) -> list[str]:
  """Input files that are there and not in the plan."""
  found = {path for pattern in run_config.input_files for path in record.files_of(pattern)}
  return sorted(found - set(_read(run_config.output_dir).files))


def make_inputs_again(job: Job, plan: Plan, missing: Sequence[Task]) -> None:
  """Copies the rows of the missing shards anew, where they are gone: the run was finished once.

  Raises:
    ValueError: input files are gone.
  """
  wanted = {each.piece: task.name for task in missing for each in task.slices}
  gone = {index for index in wanted if not tf.io.gfile.exists(copying.path_of(job.folder, index))}
  for part in plan.parts:
    found = [(piece, num_rows) for piece, num_rows in zip(part.pieces, part.piece_rows) if piece.number in gone]
    if not found:
      continue
    for piece, _ in found:
      for path in (source.path for source in piece.sources if not tf.io.gfile.exists(source.path)):
        raise ValueError(f'{path}: expected the rows of {wanted[piece.number]}, found no such file; restore it')
    copied = _copied(job, [piece for piece, _ in found])
    for (piece, expected), (num_rows, _) in zip(found, copied):
      if num_rows != expected:
        raise ValueError(
          f'{piece.sources[0].path}: expected {expected} rows as planned, found {num_rows}; restore the input files, '
          f'or remove {job.folder}'
        )


def _copy(job: Job, files: Sequence[str], before: Plan | None = None) -> Part:
  """Copies rows behind those of a plan; the part has no id yet."""
  started = time.monotonic()
  earlier = before.parts if before else ()
  num_files = sum(len(part.files) for part in earlier)
  sources = rows.sources([*(path for part in earlier for path in part.files), *files])[num_files:]
  cut = [tuple(sources)] if job.at_once else copying.cut(sources, job.run_config.schema.tsv_quoting)
  known, first = _made_from(job), sum(len(part.pieces) for part in earlier)
  digests = [[known[source.path]['sha256'] for source in each] for each in cut]
  pieces = tuple(
    copying.Piece(first + i, each, _hashed([job.run_config.step, job.settings, each, digests[i]]))
    for i, each in enumerate(cut)
  )
  copied = _copied(job, pieces)
  _check_unchanged(job, files)
  bad_rows = blocks.BadRows(job.run_config.schema.max_bad_rows)
  for _, rejected in copied:
    for each in rejected:
      bad_rows.reject(*each)
  bad_rows.write(job.folder, append=before is not None)
  num_rows = sum(each.num_rows for each in copied)
  rows.require_some(num_rows, files)
  size = job.run_config.rows_per_shard
  sizes = {
    shards.name(index): min(size, num_rows - start)
    for index, start in enumerate(range(0, num_rows, size), len(before.shards) if before else 0)
  }
  rate = num_rows / (time.monotonic() - started)
  logging.info('%s: planned %d rows in %d shards, %.0f rows/s', job.folder, num_rows, len(sizes), rate)
  return Part('', tuple(files), pieces, tuple(each.num_rows for each in copied), sizes, len(bad_rows))


def _copied(job: Job, pieces: Sequence[copying.Piece]) -> list[copying.Copied]:
  return copying.run(job.run_config, job.read, pieces, _made_from(job))


def _check_unchanged(job: Job, files: Sequence[str]) -> None:
  before = _made_from(job)
  now = record.read(job.run_config, before)
  for path in files:
    if path not in now or now[path]['sha256'] != before[path]['sha256']:
      raise ValueError(
        f'{path}: expected the contents that it had when {job.folder} was begun, found others: it grows or changed '
        'while it was planned; repeat the command when it is whole'
      )


def _with_id(job: Job, part: Part, decided: dict[str, Any]) -> Part:
  """The id is the same for the same results, so that a run repeated elsewhere gives the same bytes."""
  known = _made_from(job)
  digests = {path: known[path]['sha256'] for path in part.files}
  return dataclasses.replace(part, id=_hashed([job.run_config.step, job.settings, digests, part.shards, decided]))


def _hashed(values: Any) -> str:
  return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _made_from(job: Job) -> record.Record:
  return runs.read_json(os.path.join(job.folder, runs.MADE_FROM))


def _record(job: Job, made_from: record.Record) -> None:
  runs.write_text(os.path.join(job.folder, runs.MADE_FROM), json.dumps(made_from, indent=1) + '\n')


def _read(folder: str) -> Plan:
  path = os.path.join(folder, runs.PLAN)
  values = runs.read_json(path)
  if any('pieces' not in part for part in values.get('parts', [{}])):
    raise ValueError(f'{path}: expected a plan of pieces, found one of another version; remove {folder}')
  return Plan(values['model'], values['decided'], tuple(_part(part) for part in values['parts']))


def _part(values: dict[str, Any]) -> Part:
  pieces = tuple(
    copying.Piece(
      number, tuple(rows.Source(path, name, span and file_formats.Span(*span)) for path, name, span in sources), mark
    )
    for number, sources, mark in values['pieces']
  )
  lists = {name: tuple(values[name]) for name in ('files', 'piece_rows')}
  return Part(**values | lists | {'pieces': pieces})


def _write(folder: str, plan: Plan) -> Plan:
  runs.write_text(os.path.join(folder, runs.PLAN), json.dumps(dataclasses.asdict(plan), indent=1) + '\n')
  return plan
