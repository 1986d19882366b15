"""Rows → shards of results, one task a shard; a killed run costs at most the shards in flight.

1. `planning` has the rows copied into `inputs/part-*.parquet` and writes `plan.json`.
2. one task a shard: read its rows there, work, write part-k under a temporary name, rename if the plan is still the
   folder's. `shards*.jsonl` take its digest. A rerun first checks what is there, then makes what is missing; what could
   not be made is told when all others are done.
3. when all shards are there: the manifest, and inputs/ goes. If a shard is removed then, the rerun makes it anew.

One driver works in a folder, or one for each of --num_tasks: see `lease`. A task knows nothing of who calls it:
`engines` runs them, here, in local processes, or on Ray.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import json
import os
import time
from typing import Any

from absl import logging
import tensorflow as tf

from b2d import lease
from b2d import progress as progress_lib
from b2d import runs
from b2d.data import shards
from b2d.learning import engines
from b2d.learning import local_workers
from b2d.learning import planning
from b2d.learning import ray_workers

_HOPELESS = 10  # Shards set aside before a single one is made.
_SHOWN = 10  # Of them, or of new files, that a message names.


def step(run_config: Any, make_job: Callable[[], planning.Job]) -> dict[str, Any]:
  """Runs a whole step, or what is left of it, or of it what `verify` and `scaling` say.

  Args:
    run_config: of the step.
    make_job: called when there is work.

  Returns:
    rows of the folder (of the task); seconds and rows_per_sec of this run; what the plan decided. Of a whole step this
    is in metrics.json too.

  Raises:
    ValueError: bad input; inputs or model changed since the work began; a shard is damaged or could not be made; or
      another process works in the folder.
    ChildProcessError: the workers could not start.
  """
  folder, scaling = run_config.output_dir, run_config.scaling
  if run_config.verify:
    return verify(folder)
  if (scaling.finish or scaling.append) and not planning.exists(folder):
    raise ValueError(f'{folder}: expected a folder that was begun, found no plan; leave --finish and --append out')
  _reopen(folder)
  # What is said for one process alone is not the run's.
  recorded = dataclasses.replace(
    run_config, scaling=dataclasses.replace(scaling, task=-1, num_tasks=0, finish=False, append=False)
  )
  if scaling.append:
    runs.start(recorded)
    with lease.hold(folder):
      planning.append(make_job())
  elif planning.exists(folder):
    _refuse_new_files(run_config)
  if not scaling.num_tasks:
    return runs.once(recorded, lambda _: _run(make_job(), scaling.finish))
  if planning.exists(folder):
    runs.start(recorded)
    runs.check_inputs(recorded)
  else:  # Whoever comes first plans for all.
    runs.once(recorded, lambda _: _plan_only(make_job()), in_turn=True)
  with lease.hold(folder, f'{scaling.task}-of-{scaling.num_tasks}'):
    return _make(make_job(), lambda task: task.index % scaling.num_tasks == scaling.task)[0]


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


def _reopen(folder: str) -> None:
  """Tidies a finished folder and checks its shards; if one was removed, the run counts as not finished."""
  if not runs.finished(folder):
    return
  _remove_temporary(folder, None)  # A worker of a killed driver may have stalled until the next one was done.
  manifest = runs.read_json(os.path.join(folder, 'manifest.json'))
  sizes = {name: size for name, size in manifest['shards'].items() if tf.io.gfile.exists(os.path.join(folder, name))}
  shards.check(folder, sizes, manifest['sha256'])
  if len(sizes) < len(manifest['shards']):
    logging.info('%s: %d shards are gone and made anew', folder, len(manifest['shards']) - len(sizes))
    tf.io.gfile.remove(os.path.join(folder, 'metrics.json'))


def _refuse_new_files(run_config: Any) -> None:
  new = planning.new_files(run_config)
  if new:
    more = f' and {len(new) - _SHOWN} more' if len(new) > _SHOWN else ''
    raise ValueError(
      f'{", ".join(new[:_SHOWN])}{more}: not there when {run_config.output_dir} was begun, but --input_files name it '
      'now; take it in with --append, or choose another --output_dir'
    )


def _plan_only(job: planning.Job) -> None:
  planning.make(job)


def _run(job: planning.Job, only_finish: bool) -> dict[str, Any]:
  """Makes all shards that are missing, or none, and the manifest."""
  result, digests, plan = _make(job, lambda task: True, only_finish)
  result |= job.finish(plan, digests)
  _remove_temporary(job.folder, None)  # What workers of a killed driver began in their last moment.
  for path in [os.path.join(job.folder, 'inputs'), *_logs(job.folder)]:  # A finished run needs them no longer.
    if tf.io.gfile.isdir(path):
      tf.io.gfile.rmtree(path)
    elif tf.io.gfile.exists(path):
      tf.io.gfile.remove(path)
  return result


def _make(
  job: planning.Job, is_mine: Callable[[planning.Task], bool], only_finish: bool = False
) -> tuple[dict[str, Any], dict[str, str], planning.Plan]:
  """Makes the missing ones among the shards that are asked for.

  Returns:
    The result of the step; the digests of the shards by name; the plan.

  Raises:
    ValueError: some could not be made, or none may.
  """
  started = time.monotonic()
  plan = planning.make(job)
  tasks = [task for task in plan.tasks(job.folder) if is_mine(task)]
  _remove_temporary(job.folder, None if len(tasks) == len(plan.shards) else {task.name for task in tasks})
  there = [task for task in tasks if tf.io.gfile.exists(task.output_path)]
  known = _digests(job.folder)
  sizes, marks = {task.name: task.num_rows for task in there}, {task.name: task.marks for task in there}
  digests = shards.check(job.folder, sizes, known, marks)
  missing = [task for task in tasks if task.name not in digests]
  if missing and only_finish:
    raise ValueError(
      f'{job.folder}: expected all {len(tasks)} shards, found {len(there)}; {missing[0].name} is missing, for one; run '
      'the tasks that make them, then --finish'
    )
  planning.make_inputs_again(job, plan, missing)
  _note(job, {task.name: '' for task in missing if task.name in known})
  set_aside = []
  for outcome in _outcomes(job, plan, tasks, missing):
    lease.check(job.folder)
    if outcome.problem:
      set_aside.append(outcome)
      logging.error('%s is set aside: %s', outcome.task.name, outcome.problem)
      if len(set_aside) == _HOPELESS and len(digests) == len(there):
        break
    else:
      name, digests[name] = outcome.result
      _note(job, {name: digests[name]})
  if set_aside:
    raise ValueError(_told(set_aside, plan))
  seconds = time.monotonic() - started
  result = {
    'rows': sum(task.num_rows for task in tasks),
    'seconds': seconds,
    'rows_per_sec': sum(task.num_rows for task in missing) / seconds,
    **plan.decided,
  }
  if job.run_config.schema.max_bad_rows:
    result['bad_rows'] = sum(part.bad_rows for part in plan.parts)
  return result, digests, plan


def _outcomes(
  job: planning.Job, plan: planning.Plan, tasks: Sequence[planning.Task], missing: Sequence[planning.Task]
) -> Iterator[engines.Outcome]:
  if not missing:
    return
  num_rows, left = (sum(task.num_rows for task in some) for some in (tasks, missing))
  with progress_lib.Progress(num_rows, 'rows', job.run_config.step, num_rows - left) as progress:
    yield from engines.run_tasks(missing, _workers(job, plan, len(tasks), left, progress), progress)


def _workers(
  job: planning.Job, plan: planning.Plan, num_tasks: int, num_rows: int, progress: progress_lib.Progress
) -> engines.Workers:
  scaling, make_state = job.run_config.scaling, job.make_state(plan)
  if scaling.engine == 'ray':
    return ray_workers.Actors(scaling.ray_address, job.work, make_state, job.num_workers, on_gpus=True)
  # A shard may kill who works at it: this process only has the only one.
  num_workers = job.num_workers or min(local_workers.num_cores(), 1 + num_rows // job.rows_a_worker)
  return local_workers.make(job.work, make_state, min(num_workers, num_tasks), progress.update)


def _told(set_aside: Sequence[engines.Outcome], plan: planning.Plan) -> str:
  """What could not be made, and why."""
  names = list(plan.shards)
  told = []
  for task, _, problem in set_aside[:_SHOWN]:
    first = sum(plan.shards[name] for name in names[: task.index])
    told.append(f'{task.name} (rows {first + 1} to {first + task.num_rows}): {problem}')
  more = f'; and {len(set_aside) - _SHOWN} more' if len(set_aside) > _SHOWN else ''
  return (
    f'{"; ".join(told)}{more}. {len(set_aside)} of {len(names)} shards could not be made; what is done is kept, and '
    'the command repeated tries what is missing'
  )


def _log(job: planning.Job) -> str:
  task = job.run_config.scaling.task
  return os.path.join(job.folder, 'shards.jsonl' if task < 0 else f'shards-{task}.jsonl')


def _logs(folder: str) -> list[str]:
  """All that have digests: each driver writes its own."""
  return [path for path in tf.io.gfile.glob(os.path.join(folder, 'shards*.jsonl'))]


def _digests(folder: str) -> dict[str, str]:
  """Digests of finished shards by name, as far as they were noted; '' where a shard is being made anew."""
  path = os.path.join(folder, 'manifest.json')
  found = dict(runs.read_json(path)['sha256']) if tf.io.gfile.exists(path) else {}
  for path in _logs(folder):
    with tf.io.gfile.GFile(path) as file:
      for line in file.read().split('\n'):
        try:
          found |= json.loads(line)
        except (json.JSONDecodeError, TypeError):
          continue  # Cut off by a kill: that shard is read instead.
  return found


def _note(job: planning.Job, digests: dict[str, str]) -> None:
  if digests:
    with tf.io.gfile.GFile(_log(job), 'a') as file:
      file.write('\n' + json.dumps(digests))


def _remove_temporary(folder: str, names: set[str] | None) -> None:
  """Removes what killed workers left, of these shards or of all files."""
  for path in tf.io.gfile.glob(os.path.join(folder, '*.tmp-*')):
    if names is None or os.path.basename(path).partition('.tmp-')[0] in names:
      tf.io.gfile.remove(path)
