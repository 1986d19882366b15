"""The plan of a folder of shards: which rows go into which, copied once from the input files.

The input files are streamed into `inputs/part-*.parquet`; `plan.json`, written last, records files and rows, what was
decided for the run, and an id that follows from configuration, contents of the inputs, and decisions. Files that come
later are appended as another part, with shards behind those that are there and an id of its own.
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
from b2d.data import rows
from b2d.data import shards
from b2d.data import soft_labels
from b2d.learning import engines


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to make; plain values, so that any engine can send it anywhere."""

  index: int
  num_rows: int
  output_dir: str  # Absolute.
  plan: str
  model: str

  @property
  def name(self) -> str:
    return shards.name(self.index)

  @property
  def input_path(self) -> str:
    return os.path.join(self.output_dir, 'inputs', self.name)

  @property
  def output_path(self) -> str:
    return os.path.join(self.output_dir, self.name)

  @property
  def marks(self) -> dict[str, str]:
    return shards.marks_of(self.plan, self.model, self.index)

  def write(self, table: pa.Table) -> tuple[str, str]:
    """Writes the result; returns the shard's name and digest.

    Raises:
      ValueError: the folder has another plan by now.
    """
    return self.name, shards.write(self.output_dir, self.index, table, self.marks, self._check_plan)

  def _check_plan(self) -> None:
    found = [part['id'] for part in runs.read_json(os.path.join(self.output_dir, 'plan.json')).get('parts', ())]
    if self.plan not in found:
      raise ValueError(
        f'{self.output_path}: expected the plan {self.plan}, found {", ".join(found)}; the folder was begun anew'
      )


@dataclasses.dataclass(frozen=True)
class Part:
  """What was planned at one time."""

  id: str
  files: tuple[str, ...]
  shards: dict[str, int]  # Name → rows.
  bad_rows: int = 0


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
    parts = [(part.id, size) for part in self.parts for size in part.shards.values()]
    return [Task(i, size, absolute(folder), part, self.model) for i, (part, size) in enumerate(parts)]


@dataclasses.dataclass(frozen=True)
class Job:
  """What a step makes of its rows.

  Attributes:
    run_config: with input_files, output_dir, schema, rows_per_shard and scaling.
    model: what makes the results, for the record.
    read: files, files of rows that are there already, and what takes those that cannot be read → rows in order.
    decide: what reads a batch of the planned rows → what the plan shall record, {name: value}.
    work: (task, state, report) → what `Task.write` returned; picklable.
    make_state: the plan → what makes the state in a worker, picklable.
    finish: plan and digests by shard → writes the manifest, and returns what else the step's result shall say.
    num_workers: workers at most; 0: as the engine has it.
    rows_a_worker: rows for which one process more is worth the seconds that its start takes.
  """

  run_config: Any
  model: str
  read: Callable[[Sequence[str], Sequence[str], blocks.BadRows], Iterator[rows.Batch]]
  decide: Callable[[Callable[[], rows.Batch]], dict[str, Any]]
  work: Callable[[Task, Any, engines.Report], tuple[str, str]]
  make_state: Callable[[Plan], Callable[[], Any]]
  finish: Callable[[Plan, dict[str, str]], dict[str, Any]]
  num_workers: int
  rows_a_worker: int = 1

  @property
  def folder(self) -> str:
    return self.run_config.output_dir


def absolute(path: str) -> str:
  """The path as a process elsewhere finds it."""
  return path if '://' in path else os.path.abspath(path)


def exists(folder: str) -> bool:
  return tf.io.gfile.exists(os.path.join(folder, 'plan.json'))


def make(job: Job) -> Plan:
  """Writes the shards of inputs, or takes up a plan that is there.

  Raises:
    ValueError: bad input, or it changed while it was planned.
  """
  if exists(job.folder):
    return _read(job.folder)
  known = _made_from(job)
  files = [path for path in rows.expand(job.run_config.input_files) if path in known]
  inputs = os.path.join(job.folder, 'inputs')
  if tf.io.gfile.exists(inputs):
    tf.io.gfile.rmtree(inputs)
  sizes, num_bad = _copy(job, files)
  name, num_rows = next(iter(sizes.items()))
  decided = job.decide(lambda: soft_labels.read_shard(os.path.join(inputs, name), num_rows))
  plan_id = _id(job, {path: file['sha256'] for path, file in known.items()}, sizes, decided)
  return _write(job.folder, Plan(job.model, decided, (Part(plan_id, tuple(files), sizes, num_bad),)))


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
  sizes, num_bad = _copy(job, files, plan)
  digests = {path: file['sha256'] for path, file in now.items() if path not in plan.files}
  part = Part(_id(job, digests, sizes, plan.decided), tuple(files), sizes, num_bad)
  _write(job.folder, dataclasses.replace(plan, parts=(*plan.parts, part)))


def new_files(run_config: Any) -> list[str]:
  """Input files that are there and not in the plan."""
  found = {path for pattern in run_config.input_files for path in record.files_of(pattern)}
  return sorted(found - set(_read(run_config.output_dir).files))


def make_inputs_again(job: Job, plan: Plan, missing: Sequence[Task]) -> None:
  """Makes the inputs of the missing shards anew, where they are gone: the run was finished once.

  Raises:
    ValueError: input files are gone.
  """
  wanted = {task.name for task in missing if not tf.io.gfile.exists(task.input_path)}
  for number, part in enumerate(plan.parts):
    names = wanted & set(part.shards)
    if not names:
      continue
    gone = [path for path in part.files if not tf.io.gfile.exists(path)]
    if gone:
      raise ValueError(f'{gone[0]}: expected the rows of {min(names)}, found no such file; restore it')
    sizes, _ = _copy(job, part.files, dataclasses.replace(plan, parts=plan.parts[:number]), names)
    if sizes != part.shards:
      raise ValueError(
        f'{job.folder}: expected {sum(part.shards.values())} rows of input as planned, found {sum(sizes.values())}; '
        f'restore the input files, or remove {job.folder}'
      )


def _copy(
  job: Job, files: Sequence[str], before: Plan | None = None, wanted: set[str] | None = None
) -> tuple[dict[str, int], int]:
  """Writes shards of inputs behind those of a plan, of those wanted alone if some are.

  Returns:
    The rows of all by name, and how many could not be read.
  """
  started = time.monotonic()
  inputs = os.path.join(job.folder, 'inputs')
  tf.io.gfile.makedirs(inputs)
  bad_rows = blocks.BadRows(job.run_config.schema.max_bad_rows)
  batches = job.read(files, before.files if before else (), bad_rows)
  sizes = {}
  for index, batch in enumerate(
    rows.rebatch(batches, job.run_config.rows_per_shard), len(before.shards) if before else 0
  ):
    name = shards.name(index)
    sizes[name] = rows.size(batch)
    if wanted is None or name in wanted:
      soft_labels.write_shard(inputs, index, batch)
  _check_unchanged(job, files)
  if wanted is None:
    bad_rows.write(job.folder, append=before is not None)
  num_rows = sum(sizes.values())
  rate = num_rows / (time.monotonic() - started)
  logging.info('%s: planned %d rows in %d shards, %.0f rows/s', job.folder, num_rows, len(sizes), rate)
  return sizes, len(bad_rows)


def _check_unchanged(job: Job, files: Sequence[str]) -> None:
  before = _made_from(job)
  now = record.read(job.run_config, before)
  for path in files:
    if path not in now or now[path]['sha256'] != before[path]['sha256']:
      raise ValueError(
        f'{path}: expected the contents that it had when {job.folder} was begun, found others: it grows or changed '
        'while it was planned; repeat the command when it is whole'
      )


def _id(job: Job, digests: dict[str, str], sizes: dict[str, int], decided: dict[str, Any]) -> str:
  """The same for the same results, so that a run repeated elsewhere gives the same bytes."""
  settings = {
    field.name: value for field, value in config.flat_fields(job.run_config) if field.metadata['role'] != 'free'
  }
  text = json.dumps([job.run_config.step, settings, digests, sizes, decided], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:32]


def _made_from(job: Job) -> record.Record:
  return runs.read_json(os.path.join(job.folder, runs.MADE_FROM))


def _record(job: Job, made_from: record.Record) -> None:
  runs.write_text(os.path.join(job.folder, runs.MADE_FROM), json.dumps(made_from, indent=1) + '\n')


def _read(folder: str) -> Plan:
  path = os.path.join(folder, 'plan.json')
  values = runs.read_json(path)
  if 'parts' not in values:
    raise ValueError(f'{path}: expected a plan of parts, found one of another version; remove {folder}')
  parts = tuple(Part(part['id'], tuple(part['files']), part['shards'], part['bad_rows']) for part in values['parts'])
  return Plan(values['model'], values['decided'], parts)


def _write(folder: str, plan: Plan) -> Plan:
  runs.write_text(os.path.join(folder, 'plan.json'), json.dumps(dataclasses.asdict(plan), indent=1) + '\n')
  return plan
