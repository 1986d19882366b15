"""Labelling: rows → soft labels, one task a shard; a killed run costs at most the shards in flight.

1. plan: the input files are streamed once into `inputs/part-*.parquet`; `plan.json`, written last,
   records their rows and the precision.
2. one task a shard: read inputs/part-k, score it, write part-k under a temporary name, rename. A
   shard that is there is finished, so a rerun labels only what is missing.
3. when all shards are there: `manifest.json`, checked against the plan, and inputs/ goes.

`label_shard` knows nothing of who calls it: `engines` runs the tasks, here or in local processes.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import functools
import json
import math
import os
import time
from typing import Any

from absl import logging
import numpy as np
import tensorflow as tf
import tqdm

from b2d import config
from b2d import runs
from b2d.data import blocks
from b2d.data import phrases
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import engines
from b2d.learning import precision
from b2d.models import teacher
from b2d.models import trained

# Batch of n rows → logits float32 [n, num_classes]; reports rows as they are done.
Scorer = Callable[[rows.Batch, engines.Report], np.ndarray]
_TIMED_ROWS = 64


@dataclasses.dataclass(frozen=True)
class ShardTask:
  """One shard to label; plain values, so that any engine can send it anywhere."""

  index: int
  num_rows: int
  num_classes: int
  output_dir: str

  @property
  def input_path(self) -> str:
    return os.path.join(self.output_dir, 'inputs', soft_labels.shard_name(self.index))

  @property
  def output_path(self) -> str:
    return os.path.join(self.output_dir, soft_labels.shard_name(self.index))


def label(label_config: config.Label, make_scorer: Callable[[], Scorer] | None = None) -> dict[str, float]:
  """Runs the whole step, or what is left of it.

  Args:
    label_config: the configuration.
    make_scorer: picklable; called once in every worker. None: as the configuration says.

  Returns:
    rows of the folder; seconds and rows_per_sec of this run; the precision; also in metrics.json.

  Raises:
    ValueError: bad input, or inputs or teacher changed since the labelling began.
    ChildProcessError: a shard's workers died.
  """
  return runs.once(label_config, functools.partial(_label, make_scorer=make_scorer))


def _label(label_config: config.Label, make_scorer: Callable[[], Scorer] | None) -> dict[str, float]:
  folder = label_config.output_dir
  files = rows.expand(label_config.input_files)
  schema = _schema(label_config)
  started = time.time()
  _remove_temporary(folder)
  plan = _plan(label_config, files)
  shards = plan['shards']
  tasks = [ShardTask(index, num_rows, schema.num_classes, folder) for index, num_rows in enumerate(shards.values())]
  missing = [task for task in tasks if not tf.io.gfile.exists(task.output_path)]
  if not tf.io.gfile.exists(os.path.join(folder, 'manifest.json')):
    _run(dataclasses.replace(label_config, precision=plan['precision']), make_scorer, missing, sum(shards.values()))
    name = label_config.teacher_dir or 'import:' + ','.join(label_config.scores_columns)
    manifest = soft_labels.Manifest(
      (name,), schema.num_classes, schema.fields, shards, schema.label_range, schema.relevant_from, schema.classes
    )
    soft_labels.write_manifest(folder, manifest)
  if tf.io.gfile.exists(os.path.join(folder, 'inputs')):
    tf.io.gfile.rmtree(os.path.join(folder, 'inputs'))
  seconds = time.time() - started
  labelled = sum(task.num_rows for task in missing)
  result = {
    'rows': sum(shards.values()),
    'seconds': seconds,
    'rows_per_sec': labelled / seconds,
    'precision': plan['precision'],
  }
  return result | ({'bad_rows': plan['bad_rows']} if 'bad_rows' in plan else {})


def label_shard(task: ShardTask, score: Scorer, report: engines.Report) -> int:
  """Scores one shard and writes it under its final name.

  Returns:
    The number of rows.

  Raises:
    ValueError: the shard of inputs or the logits are not what the task says.
  """
  batch = soft_labels.read_shard(task.input_path, 1, task.num_classes)
  if rows.size(batch) != task.num_rows:
    raise ValueError(
      f'{task.input_path}: expected {task.num_rows} rows, found {rows.size(batch)}; '
      f'remove {task.output_dir} and label again'
    )
  logits = score(batch, report)
  if logits.shape != (task.num_rows, task.num_classes) or not np.isfinite(logits).all():
    raise ValueError(
      f'{task.input_path}: expected finite logits [{task.num_rows}, '
      f'{task.num_classes}], found {np.isnan(logits).sum()} NaN in '
      f'{list(logits.shape)}; evaluate the teacher, try --precision=float32'
    )
  batch['logits'] = logits[:, np.newaxis, :]
  return soft_labels.write_shard(task.output_dir, task.index, batch)


def logits_of_scores(batch: rows.Batch, kind: str) -> np.ndarray:
  """Logits of all classes from scores made elsewhere.

      one column: [0, z], z = log(p / (1 - p)) for a probability of the positive class
      one column a class: z_c = log p_c; probabilities are clipped to [1e-6, 1 - 1e-6]

  Args:
    batch: with 'scores', float [n, columns], and 'id' for messages.
    kind: 'probability' or 'logit'.

  Returns:
    float32 [n, 1, num_classes].

  Raises:
    ValueError: a probability outside [0, 1].
  """
  scores = batch['scores']
  if kind == 'probability':
    wrong = ((scores < 0) | (scores > 1)).any(axis=1)
    if wrong.any():
      index = int(wrong.argmax())
      raise ValueError(
        f'row {batch["id"][index].decode()}: expected probabilities in [0, 1] in '
        f'--scores_columns, found {", ".join(f"{p:g}" for p in scores[index])}; set '
        '--scores_kind=logit if they are logits'
      )
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    scores = np.log(clipped) - np.log1p(-clipped) if scores.shape[1] == 1 else np.log(clipped)
  if scores.shape[1] == 1:
    scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
  return scores[:, None, :].astype(np.float32)


def _schema(label_config: config.Label) -> config.Schema:
  """What the labels mean: as the rows have them, else as the teacher learnt them; both are held against each other."""
  if not label_config.teacher_dir:
    return label_config.schema
  run = trained.read_config(label_config.teacher_dir)
  if run is None:
    raise ValueError(f'{label_config.teacher_dir}: expected a run folder, found a SavedModel; correct --teacher_dir')
  given, known = label_config.schema, run.schema
  for name, expected, found in (
    ('num_classes', known.num_classes, given.num_classes),
    ('text_columns', len(known.fields), len(given.fields)),
    ('classes', known.classes, given.classes or known.classes),
  ):
    if expected != found:
      raise ValueError(
        f'{label_config.teacher_dir}: the teacher expects {expected} {name}, found {found}; correct --{name}'
      )
  return given if given.label_column else known


def _remove_temporary(folder: str) -> None:
  """Removes what killed workers left."""
  for path in tf.io.gfile.glob(os.path.join(folder, '*.tmp-*')):
    tf.io.gfile.remove(path)


def _plan(label_config: config.Label, files: list[str]) -> dict[str, Any]:
  """Writes the shards of inputs, or takes up a plan that is there.

  Returns:
    'shards' {shard: rows}, 'precision', and 'bad_rows', how many were left out, where some may be.
  """
  folder = label_config.output_dir
  path = os.path.join(folder, 'plan.json')
  if tf.io.gfile.exists(path):
    return runs.read_json(path)
  inputs = os.path.join(folder, 'inputs')
  if tf.io.gfile.exists(inputs):
    tf.io.gfile.rmtree(inputs)
  tf.io.gfile.makedirs(inputs)
  shards = {}
  started = time.time()
  bad_rows = blocks.BadRows(label_config.schema.max_bad_rows)
  batches = rows.rebatch(_inputs(label_config, files, bad_rows), label_config.rows_per_shard)
  for index, batch in enumerate(batches):
    shards[soft_labels.shard_name(index)] = soft_labels.write_shard(inputs, index, batch)
  bad_rows.write(folder)
  plan = {'shards': shards, 'precision': _precision(label_config, inputs), **bad_rows.counted()}
  runs.write_text(path, json.dumps(plan, indent=1) + '\n')
  num_rows = sum(shards.values())
  logging.info(
    '%s: planned %d rows in %d shards, %.0f rows/s', folder, num_rows, len(shards), num_rows / (time.time() - started)
  )
  return plan


def _precision(label_config: config.Label, inputs: str) -> str:
  """'float32' or 'bfloat16': what was asked for, or the faster one on rows of `inputs`. Only a BERT has a choice."""
  teacher_dir = label_config.teacher_dir
  if not teacher_dir or runs.step_of(teacher_dir) != 'finetune':
    return 'float32'
  if label_config.precision != 'auto':
    return label_config.precision
  batch = soft_labels.read_shard(os.path.join(inputs, soft_labels.shard_name(0)), 1, label_config.schema.num_classes)
  batch = rows.take(batch, slice(None, None, math.ceil(rows.size(batch) / _TIMED_ROWS)))

  def calls():
    models = {name: teacher.shallow(teacher_dir, name) for name in config.groups.PRECISIONS}
    return {name: functools.partial(model.predict_logits, batch) for name, model in models.items()}

  return precision.choose(calls)


def _inputs(label_config: config.Label, files: list[str], bad_rows: blocks.BadRows) -> Iterator[rows.Batch]:
  """The rows to label, each batch followed by its phrases, all by frequent n-grams; an import's have logits already."""
  ngrams = phrases.Ngrams()
  for batch in rows.read(files, label_config.schema, scores_columns=label_config.scores_columns, bad_rows=bad_rows):
    batch = _unlabelled(batch)
    if label_config.scores_columns:
      batch['logits'] = logits_of_scores(batch, label_config.scores_kind)
      del batch['scores']
    yield batch
    if label_config.phrases_per_row:
      yield _unlabelled(phrases.cut(batch, label_config.phrases_per_row))
    if label_config.frequent_ngrams:
      ngrams.add(batch['text'])
  if label_config.frequent_ngrams:
    yield from map(_unlabelled, ngrams.frequent(label_config.frequent_ngrams))


def _unlabelled(batch: rows.Batch) -> rows.Batch:
  return {'label': np.full(rows.size(batch), np.nan, np.float32), **batch}


def _run(
  label_config: config.Label, make_scorer: Callable[[], Scorer] | None, missing: list[ShardTask], num_rows: int
) -> None:
  num_workers = min(label_config.num_workers or engines.num_cores(), len(missing))
  if make_scorer is None and label_config.scores_columns:
    make_scorer, num_workers = _imported_scorer, 1
  elif make_scorer is None:
    precision.warn_if_slow(label_config.precision)
    make_scorer = functools.partial(
      _teacher_scorer, label_config.teacher_dir, label_config.precision, label_config.label_batch_tokens
    )
  done = num_rows - sum(task.num_rows for task in missing)
  with tqdm.tqdm(total=num_rows, initial=done, unit='row', unit_scale=True, desc='label') as progress:
    for _ in engines.run_tasks(missing, label_shard, make_scorer, num_workers, progress.update):
      pass  # A shard is done; its rows were reported.


def _imported_scorer() -> Scorer:
  return _at_once(lambda batch: batch['logits'][:, 0, :])


def _teacher_scorer(folder: str, arithmetic: str, max_tokens: int) -> Scorer:
  model = trained.load(folder, precision=arithmetic)
  if model.kind == 'student':
    return _at_once(model.logits)
  return lambda batch, report: model.keras.predict_logits(batch, max_tokens, report)


def _at_once(predict: Callable[[rows.Batch], np.ndarray]) -> Scorer:
  def score(batch, report):
    logits = predict(batch)
    report(len(logits))
    return logits

  return score
