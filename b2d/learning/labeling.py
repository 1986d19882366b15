"""Labelling: rows → soft labels, a teacher's logits or imported scores; `sharding` has the shards."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import functools
import math
import time
from typing import Any

import numpy as np
import pyarrow as pa

from b2d import config
from b2d import remembered
from b2d import runs
from b2d.data import blocks
from b2d.data import file_formats
from b2d.data import phrases
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import engines
from b2d.learning import planning
from b2d.learning import precision
from b2d.learning import sharding
from b2d.measures import metrics
from b2d.models import teacher
from b2d.models import trained

# Batch of n rows → logits float32 [n, num_classes]; reports rows as they are done.
Scorer = Callable[[rows.Batch, engines.Report], np.ndarray]
_TIMED_ROWS = 64
_WARM_UP_ROWS, _ESTIMATED_ROWS = 32, 256
_STUDENT_ROWS = 1 << 20  # What a student scores in the five seconds or so that a process takes to start.


def label(label_config: config.Label, make_scorer: Callable[[], Scorer] | None = None) -> dict[str, Any]:
  """Runs the whole step, or what is left of it; with `verify` it only checks a finished folder.

  Args:
    label_config: the configuration.
    make_scorer: picklable; called once in every worker. None: as the configuration says.

  Returns:
    rows of the folder; seconds and rows_per_sec of this run; the precision; of an import of rows with labels what
    `metrics.agreement` gives; also in metrics.json. Of a `dry_run` what it would take.

  Raises:
    ValueError, ChildProcessError: see `sharding.step`.
  """
  if label_config.teacher_dir and not label_config.verify:
    label_config = completed(label_config, label_config.teacher_dir)
  if label_config.dry_run:
    return _estimate(label_config)
  return sharding.step(label_config, lambda: _job(label_config, make_scorer))


def completed(run_config: Any, model: str) -> Any:
  """The configuration, its schema with what it was not given taken from the folder of the model.

  Raises:
    ValueError: they contradict each other.
  """
  schema = run_config.schema
  begun = runs.config_of(run_config.output_dir, type(run_config))
  try:
    schema = remembered.complete(schema, [model], labelled=bool(schema.label_column), begun=begun)
    return dataclasses.replace(run_config, schema=schema)
  except ValueError:
    # Columns that the model does not fit may come of a header that is none of its format's: then that is what to say.
    with_header = [path for path in rows.expand(run_config.input_files) if not file_formats.is_plain_lines(path)]
    if with_header:
      next(rows.read(with_header[:1], schema, 1))
    raise


def _check_teacher(folder: str) -> None:
  if folder and trained.read_config(folder) is None:
    raise ValueError(f'{folder}: expected a run folder, found a SavedModel; correct --teacher_dir')


def _job(label_config: config.Label, make_scorer: Callable[[], Scorer] | None) -> planning.Job:
  _check_teacher(label_config.teacher_dir)
  schema = label_config.schema
  name = label_config.teacher_dir or 'import:' + ','.join(label_config.scores_columns)

  def finish(plan: planning.Plan, digests: dict[str, str]) -> dict[str, Any]:
    same = {key: getattr(schema, key) for key in ('label_range', 'relevant_from', 'classes', 'grades')}
    manifest = soft_labels.Manifest((name,), schema.num_classes, schema.fields, plan.shards, **same)
    soft_labels.write_manifest(label_config.output_dir, manifest, digests)
    return _agreement(label_config) if label_config.scores_columns and schema.label_column else {}

  def make_state(plan: planning.Plan) -> Callable[[], Scorer]:
    if make_scorer or label_config.scores_columns:
      return make_scorer or _imported_scorer
    precision.warn_if_slow(plan.decided['precision'])
    max_tokens = label_config.label_batch_tokens
    folder = engines.absolute(label_config.teacher_dir)
    return functools.partial(_teacher_scorer, folder, plan.decided['precision'], max_tokens)

  return planning.Job(
    label_config,
    name,
    functools.partial(_inputs, label_config),
    lambda read: {'precision': choose_precision(label_config.teacher_dir, label_config.precision, read)},
    functools.partial(label_shard, schema.num_classes),
    make_state,
    finish,
    1 if label_config.scores_columns else label_config.num_workers,
    rows_a_worker(label_config.teacher_dir),
    at_once=bool(label_config.frequent_ngrams),
  )


def _agreement(label_config: config.Label) -> dict[str, float]:
  """Of an import: whether the scores say what the labels say that came with them."""
  made = soft_labels.read([label_config.output_dir])
  labels, logits = zip(*((batch['label'], batch['logits'][:, 0]) for batch in made))
  return metrics.agreement(np.concatenate(labels), np.concatenate(logits), label_config.schema)


def _estimate(label_config: config.Label) -> dict[str, Any]:
  """What the labelling would take: rows, shards, and by rows of the first file rows_per_sec, hours and price."""
  _check_teacher(label_config.teacher_dir)
  files = rows.expand(label_config.input_files)
  num_rows = rows.count(files, label_config.schema)
  first = next(rows.read(files, label_config.schema, bad_rows=blocks.BadRows(label_config.schema.max_bad_rows)))
  num_read = rows.size(first)
  if label_config.phrases_per_row:
    more = phrases.cut(first, label_config.phrases_per_row)
    first = rows.concatenate([{name: first[name] for name in more}, more])
  num_rows = num_rows * rows.size(first) // num_read
  sample = rows.take(first, np.random.default_rng(0).permutation(rows.size(first))[: _WARM_UP_ROWS + _ESTIMATED_ROWS])
  arithmetic = choose_precision(label_config.teacher_dir, label_config.precision, lambda: first)
  score = _teacher_scorer(label_config.teacher_dir, arithmetic, label_config.label_batch_tokens)
  score(rows.take(sample, slice(0, _WARM_UP_ROWS)), lambda count: None)
  timed = rows.take(sample, slice(-_ESTIMATED_ROWS, None))
  started = time.monotonic()
  score(timed, lambda count: None)
  rate = rows.size(timed) / (time.monotonic() - started)
  hours = num_rows / rate / 3600
  found = {
    'rows': num_rows,
    'shards': math.ceil(num_rows / label_config.rows_per_shard),
    'precision': arithmetic,
    'rows_per_sec': rate,
    'hours': hours,
  }
  return found | ({'price': hours * label_config.price_per_hour} if label_config.price_per_hour else {})


def label_shard(num_classes: int, task: planning.Task, score: Scorer, report: engines.Report) -> tuple[str, str]:
  """Scores one shard and writes it under its final name.

  Returns:
    Its name and digest.

  Raises:
    ValueError: the shard of inputs or the logits are not what the task says.
  """
  table = task.read()
  logits = score(soft_labels.batch_of(f'{task.output_dir}/inputs', table, 1, num_classes), report)
  if logits.shape != (task.num_rows, num_classes) or not np.isfinite(logits).all():
    raise ValueError(
      f'{task.output_path}: expected finite logits [{task.num_rows}, '
      f'{num_classes}], found {np.isnan(logits).sum()} NaN in '
      f'{list(logits.shape)}; evaluate the teacher, try --precision=float32'
    )
  return task.write(soft_labels.with_logits(table, logits[:, np.newaxis, :]))


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


def choose_precision(teacher_dir: str, wanted: str, read: Callable[[], rows.Batch]) -> str:
  """'float32' or 'bfloat16': what was asked for, or the faster one on planned rows. Only a BERT has a choice.

  Args:
    teacher_dir: run folder of the model; '' or anything else than a teacher's computes in float32.
    wanted: 'auto' or one of the two.
    read: gives rows to try them on.
  """
  if not teacher_dir or not isinstance(trained.read_config(teacher_dir), config.Finetune):
    return 'float32'
  if wanted != 'auto':
    return wanted
  batch = read()
  batch = rows.take(batch, slice(None, None, math.ceil(rows.size(batch) / _TIMED_ROWS)))

  def calls():
    models = {name: teacher.shallow(teacher_dir, name) for name in config.groups.PRECISIONS}
    return {name: functools.partial(model.predict_logits, batch) for name, model in models.items()}

  return precision.choose(calls)


def rows_a_worker(model: str) -> int:
  """Rows of the model in this folder for which a process more is worth its start."""
  return _STUDENT_ROWS if model and isinstance(trained.read_config(model), config.Distill) else 1


def _inputs(label_config: config.Label, sources: Sequence[rows.Source], bad_rows: blocks.BadRows) -> Iterator[pa.Table]:
  """The rows to label, each table followed by its phrases, all by frequent n-grams; an import's have logits already."""
  ngrams = phrases.Ngrams()
  for table in rows.read_sources(sources, label_config.schema, bad_rows, label_config.scores_columns):
    if label_config.scores_columns:
      logits = logits_of_scores(rows.batch_of(table), label_config.scores_kind)
      table = soft_labels.with_logits(table.drop_columns('scores'), logits)
    yield _with_label(table)
    if label_config.phrases_per_row:
      yield _with_label(soft_labels.table(phrases.cut(rows.batch_of(table), label_config.phrases_per_row)))
    if label_config.frequent_ngrams:
      ngrams.add(rows.batch_of(table)['text'])
  if label_config.frequent_ngrams:
    yield from map(_with_label, map(soft_labels.table, ngrams.frequent(label_config.frequent_ngrams)))


def _with_label(table: pa.Table) -> pa.Table:
  """The table, its labels unknown unless it has some."""
  if 'label' in table.column_names:
    return table
  return table.append_column('label', pa.nulls(table.num_rows, pa.float32()))


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
