"""Rows → shards of results, one task a shard; a killed run costs at most the shards in flight.

1. plan: the input files are streamed once into `inputs/part-*.parquet`; `plan.json`, written last, records their rows,
   what was decided for the run, and an id that follows from configuration, contents of the inputs, and decisions.
2. one task a shard: read inputs/part-k, work, write part-k under a temporary name, rename if the plan is still the
   folder's. `shards.jsonl` takes its digest. A rerun first checks what is there, then makes what is missing.
3. when all shards are there: the manifest, and inputs/ goes. If a shard is removed then, the rerun makes it anew.

One driver works in a folder, see `lease`. A task knows nothing of who calls it: `engines` runs the tasks, here or in
local processes.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import hashlib
import json
import os
import time
from typing import Any

from absl import logging
import pyarrow as pa
import tensorflow as tf
import tqdm

from b2d import config
from b2d import lease
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.data import shards
from b2d.data import soft_labels
from b2d.learning import engines

_LOG = 'shards.jsonl'


@dataclasses.dataclass(frozen=True)
class Task:
  """One shard to make; plain values, so that any engine can send it anywhere."""

  index: int
  num_rows: int
  output_dir: str
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
    found = runs.read_json(os.path.join(self.output_dir, 'plan.json')).get('id')
    if found != self.plan:
      raise ValueError(f'{self.output_path}: expected the plan {self.plan}, found {found}; the folder was begun anew')


@dataclasses.dataclass(frozen=True)
class Job:
  """What a step makes of its rows.

  Attributes:
    run_config: with output_dir, schema and rows_per_shard.
    model: what makes the results, for the record.
    read: rows in order; takes what cannot be read.
    decide: folder of the planned inputs, and the rows of the first shard → what the plan shall record, {name: value}.
    work: (task, state, report) → what `Task.write` returned; picklable.
    make_state: the plan → what makes the state in a worker, picklable.
    finish: plan and digests by shard → writes the manifest.
    num_workers: processes at most; 0: one for each core, as far as the rows are worth it.
    rows_a_worker: rows for which one process more is worth the seconds that its start takes.
  """

  run_config: Any
  model: str
  read: Callable[[blocks.BadRows], Iterator[rows.Batch]]
  decide: Callable[[str, int], dict[str, Any]]
  work: Callable[[Task, Any, engines.Report], tuple[str, str]]
  make_state: Callable[[dict[str, Any]], Callable[[], Any]]
  finish: Callable[[dict[str, Any], dict[str, str]], None]
  num_workers: int
  rows_a_worker: int = 1


def run(job: Job) -> dict[str, Any]:
  """Makes all shards, or those that are missing, and the manifest.

  Returns:
    rows of the folder; seconds and rows_per_sec of this run; what the plan decided.

  Raises:
    ValueError: bad input; a shard is damaged; another driver works in the folder.
    ChildProcessError: a shard's workers died.
  """
  folder = job.run_config.output_dir
  started = time.monotonic()
  with lease.hold(folder) as check_lease:
    _remove_temporary(folder)
    plan = _plan(job)
    tasks = [Task(i, size, folder, plan['id'], plan['model']) for i, size in enumerate(plan['shards'].values())]
    there = [task for task in tasks if tf.io.gfile.exists(task.output_path)]
    known = _digests(folder)
    sizes, marks = {task.name: task.num_rows for task in there}, {task.name: task.marks for task in there}
    digests = shards.check(folder, sizes, known, marks)
    missing = [task for task in tasks if task.name not in digests]
    _note(folder, {task.name: '' for task in missing if task.name in known})
    _make_inputs_again(job, plan, missing)
    for name, digest in _results(job, plan, missing):
      digests[name] = digest
      _note(folder, {name: digest})
      check_lease()
    if missing or not tf.io.gfile.exists(os.path.join(folder, 'manifest.json')):
      job.finish(plan, digests)
    _remove_scaffold(folder)
  seconds = time.monotonic() - started
  return {
    'rows': sum(plan['shards'].values()),
    'seconds': seconds,
    'rows_per_sec': sum(task.num_rows for task in missing) / seconds,
  } | {name: value for name, value in plan.items() if name not in ('id', 'model', 'shards')}


def reopen(folder: str) -> None:
  """Checks the shards of a finished folder; if one was removed, the run counts as not finished.

  Raises:
    ValueError: a shard is damaged; the message has the command that makes it anew.
  """
  if not runs.finished(folder):
    return
  manifest = runs.read_json(os.path.join(folder, 'manifest.json'))
  sizes = {name: size for name, size in manifest['shards'].items() if tf.io.gfile.exists(os.path.join(folder, name))}
  shards.check(folder, sizes, manifest['sha256'])
  if len(sizes) < len(manifest['shards']):
    logging.info('%s: %d shards are gone and made anew', folder, len(manifest['shards']) - len(sizes))
    tf.io.gfile.remove(os.path.join(folder, 'metrics.json'))


def verify(folder: str) -> dict[str, Any]:
  """Checks every shard of a finished folder.

  Returns:
    Numbers of shards and rows.

  Raises:
    ValueError: some are missing or damaged; the message has the command that makes them anew.
  """
  manifest = runs.read_json(os.path.join(folder, 'manifest.json'))
  if not {'shards', 'sha256'} <= set(manifest):
    raise ValueError(f'{folder}/manifest.json: expected shards and sha256, found {", ".join(manifest)}')
  shards.check(folder, manifest['shards'], manifest['sha256'])
  return {'verified_shards': len(manifest['shards']), 'rows': sum(manifest['shards'].values())}


def _results(job: Job, plan: dict[str, Any], missing: list[Task]) -> Iterator[tuple[str, str]]:
  num_rows = sum(plan['shards'].values())
  left = sum(task.num_rows for task in missing)
  num_workers = job.num_workers or min(engines.num_cores(), 1 + left // job.rows_a_worker)
  step = job.run_config.step
  with tqdm.tqdm(total=num_rows, initial=num_rows - left, unit='row', unit_scale=True, desc=step) as progress:
    yield from engines.run_tasks(
      missing, job.work, job.make_state(plan), min(num_workers, len(missing)), progress.update
    )


def _plan(job: Job) -> dict[str, Any]:
  """Writes the shards of inputs, or takes up a plan that is there."""
  folder = job.run_config.output_dir
  path = os.path.join(folder, 'plan.json')
  if tf.io.gfile.exists(path):
    plan = runs.read_json(path)
    if 'id' not in plan:
      raise ValueError(f'{path}: expected a plan with an id, found one of another version; remove {folder}')
    return plan
  started = time.monotonic()
  bad_rows = blocks.BadRows(job.run_config.schema.max_bad_rows)
  sizes = _write_inputs(job, bad_rows)
  bad_rows.write(folder)
  decided = job.decide(os.path.join(folder, 'inputs'), sizes[shards.name(0)])
  plan = {'id': _plan_id(job, sizes, decided), 'model': job.model, 'shards': sizes, **decided, **bad_rows.counted()}
  runs.write_text(path, json.dumps(plan, indent=1) + '\n')
  num_rows = sum(sizes.values())
  rate = num_rows / (time.monotonic() - started)
  logging.info('%s: planned %d rows in %d shards, %.0f rows/s', folder, num_rows, len(sizes), rate)
  return plan


def _plan_id(job: Job, sizes: dict[str, int], decided: dict[str, Any]) -> str:
  """The same for the same results, so that a run repeated elsewhere gives the same bytes."""
  made_from = runs.read_json(os.path.join(job.run_config.output_dir, 'made_from.json'))
  inputs = {path: file['sha256'] for path, file in made_from.items()}
  settings = {
    field.name: value for field, value in config.flat_fields(job.run_config) if field.metadata['role'] != 'free'
  }
  text = json.dumps([job.run_config.step, settings, inputs, sizes, decided], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write_inputs(job: Job, bad_rows: blocks.BadRows, wanted: set[str] | None = None) -> dict[str, int]:
  """Writes the shards of inputs, of those wanted alone if some are; returns the rows of all by name."""
  inputs = os.path.join(job.run_config.output_dir, 'inputs')
  if tf.io.gfile.exists(inputs):
    tf.io.gfile.rmtree(inputs)
  tf.io.gfile.makedirs(inputs)
  sizes = {}
  for index, batch in enumerate(rows.rebatch(job.read(bad_rows), job.run_config.rows_per_shard)):
    name = shards.name(index)
    sizes[name] = rows.size(batch)
    if wanted is None or name in wanted:
      soft_labels.write_shard(inputs, index, batch)
  return sizes


def _make_inputs_again(job: Job, plan: dict[str, Any], missing: list[Task]) -> None:
  """Makes the inputs of the missing shards anew, where they are gone: the run was finished once."""
  if all(tf.io.gfile.exists(task.input_path) for task in missing):
    return
  sizes = _write_inputs(job, blocks.BadRows(job.run_config.schema.max_bad_rows), {task.name for task in missing})
  if sizes != plan['shards']:
    folder = job.run_config.output_dir
    raise ValueError(
      f'{folder}: expected {sum(plan["shards"].values())} rows of input as planned, found {sum(sizes.values())}; '
      f'restore the input files, or remove {folder}'
    )


def _digests(folder: str) -> dict[str, str]:
  """Digests of finished shards by name, as far as they were noted; '' where a shard is being made anew."""
  path = os.path.join(folder, 'manifest.json')
  found = dict(runs.read_json(path)['sha256']) if tf.io.gfile.exists(path) else {}
  path = os.path.join(folder, _LOG)
  if tf.io.gfile.exists(path):
    with tf.io.gfile.GFile(path) as file:
      for line in file.read().split('\n'):
        try:
          found |= json.loads(line)
        except (json.JSONDecodeError, TypeError):
          continue  # Cut off by a kill: that shard is read instead.
  return found


def _note(folder: str, digests: dict[str, str]) -> None:
  if digests:
    with tf.io.gfile.GFile(os.path.join(folder, _LOG), 'a') as file:
      file.write('\n' + json.dumps(digests))


def _remove_temporary(folder: str) -> None:
  """Removes what killed workers left."""
  for path in tf.io.gfile.glob(os.path.join(folder, '*.tmp-*')):
    tf.io.gfile.remove(path)


def _remove_scaffold(folder: str) -> None:
  """Removes what a finished run needs no longer."""
  inputs, log = os.path.join(folder, 'inputs'), os.path.join(folder, _LOG)
  if tf.io.gfile.exists(inputs):
    tf.io.gfile.rmtree(inputs)
  if tf.io.gfile.exists(log):
    tf.io.gfile.remove(log)
