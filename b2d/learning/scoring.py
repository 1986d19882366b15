"""Offline scoring: rows → calibrated probabilities beside the columns asked for; `sharding` has the shards."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import functools
import json
import os
from typing import Any

import numpy as np
import pyarrow as pa

from b2d import config
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.learning import engines
from b2d.learning import labeling
from b2d.learning import planning
from b2d.learning import sharding
from b2d.models import calibration
from b2d.models import trained


def score(run_config: config.Score) -> dict[str, Any]:
  """Runs the whole step, or what is left of it; with `verify` it only checks a finished folder.

  Returns:
    rows of the folder; seconds and rows_per_sec of this run; the precision; also in metrics.json.

  Raises:
    ValueError, ChildProcessError: see `sharding.step`.
  """
  if not run_config.verify:
    run_config = labeling.completed(run_config, run_config.model)
  return sharding.step(run_config, lambda: _job(run_config))


def _job(run_config: config.Score) -> planning.Job:
  model = trained.load(run_config.model)
  schema = dataclasses.replace(run_config.schema, label_column='')
  if model.fields != schema.fields:  # A SavedModel that something else than `export` wrote.
    raise ValueError(
      f'{run_config.model}: the model reads {", ".join(model.fields)}, the rows have {", ".join(schema.fields)}; set '
      '--text_columns'
    )

  same = {} if schema.null_text == 'empty' else dict(zip(schema.text_columns, schema.fields))  # A null stays one.
  kept = {name: same.get(name, rows.kept(name)) for name in run_config.keep_columns}

  def finish(plan: planning.Plan, digests: dict[str, str]) -> dict[str, Any]:
    manifest = {
      'model': run_config.model,
      'kind': model.kind,
      'calibrated': model.calibration != calibration.PLAIN,
      'num_classes': model.num_classes,
      'classes': schema.classes,
      'columns': ['id', 'probability', *run_config.keep_columns],
      'shards': plan.shards,
      'sha256': {name: digests[name] for name in plan.shards},
    }
    runs.write_text(os.path.join(run_config.output_dir, 'manifest.json'), json.dumps(manifest, indent=1) + '\n')
    return {}

  def make_state(plan: planning.Plan) -> Callable[[], trained.Model]:
    return functools.partial(trained.load, engines.absolute(model.folder), precision=plan.decided['precision'])

  return planning.Job(
    run_config,
    run_config.model,
    functools.partial(_inputs, schema, tuple(name for name, key in kept.items() if key == rows.kept(name))),
    lambda read: {'precision': labeling.choose_precision(run_config.model, run_config.precision, read)},
    functools.partial(score_shard, kept),
    make_state,
    finish,
    run_config.num_workers,
    labeling.rows_a_worker(run_config.model),
  )


def score_shard(
  kept: dict[str, str], task: planning.Task, model: trained.Model, report: engines.Report
) -> tuple[str, str]:
  """Scores one shard and writes it under its final name.

  Args:
    kept: the columns to pass on, and their names among the inputs.
    task: the shard.
    model: what scores it.
    report: told when it is done.

  Returns:
    Its name and digest.

  Raises:
    ValueError: the shard of inputs is not what the task says, or a probability is not a number.
  """
  table = task.read()
  probability = model.probability(rows.batch_of(table.select(model.fields))).astype(np.float32)
  if not np.isfinite(probability).all():
    raise ValueError(
      f'{task.output_path}: expected probabilities, found {np.isnan(probability).sum()} NaN; evaluate the model, try '
      '--precision=float32'
    )
  report(task.num_rows)
  columns = {'id': table['id'], 'probability': _array(probability)}
  return task.write(pa.table(columns | {name: table[key] for name, key in kept.items()}))


def _inputs(
  schema: config.Schema, keep_columns: Sequence[str], sources: Sequence[rows.Source], bad_rows: blocks.BadRows
) -> Iterator[pa.Table]:
  return rows.read_sources(sources, schema, bad_rows, keep_columns=keep_columns)


def _array(probability: np.ndarray) -> pa.Array:
  """Of more than two classes a list a row."""
  if probability.ndim == 1:
    return pa.array(probability)
  return pa.FixedSizeListArray.from_arrays(pa.array(probability.reshape(-1)), probability.shape[1])
