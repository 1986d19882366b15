"""Models side by side on the same labelled rows: scores them, compares, draws."""

import dataclasses
import os
import time

from absl import logging
import numpy as np
import pandas as pd
from scipy import special

from b2d import config
from b2d import progress as progress_lib
from b2d import remembered
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.measures import comparison
from b2d.measures import metrics
from b2d.measures import report
from b2d.measures import slices
from b2d.models import calibration
from b2d.models import trained

_WARM_UP_ROWS = 8  # Scored once before the clock starts: the first call traces the graph.


def evaluate(run_config: config.Evaluate) -> dict:
  """Scores the rows with every model and compares.

  Returns:
    What metrics.json holds: number of rows and queries, and the measures of each model.

  Raises:
    ValueError: rows, models or run folder are not what the configuration says.
  """
  folders = _folders(run_config.models, run_config.reference)
  begun = runs.config_of(run_config.output_dir, config.Evaluate)
  schema = remembered.complete(run_config.schema, list(folders.values()), labelled=True, begun=begun)
  return runs.once(dataclasses.replace(run_config, schema=schema), _evaluate, remake=True)


def _evaluate(run_config: config.Evaluate) -> dict:
  folders = _folders(run_config.models, run_config.reference)
  files = rows.expand(run_config.files)
  models = {name: trained.load(folder) for name, folder in folders.items()}
  for name, model in models.items():
    if model.fields != run_config.schema.fields:
      raise ValueError(
        f'{folders[name]}: the model reads {", ".join(model.fields)}, the rows '
        f'have {", ".join(run_config.schema.fields)}; set --text_columns'
      )
  folder = run_config.output_dir
  bad_rows = blocks.BadRows(run_config.schema.max_bad_rows)
  seen = _words_seen(run_config, bad_rows)  # Before the scoring, which a slip in --train_files would cost.
  batch, queries, logits, seconds = _score(run_config, models, files, bad_rows)
  targets = batch['label']
  bad_rows.write(folder)
  calibrations = {name: model.calibration for name, model in models.items() if model.num_classes == 2}
  compared = comparison.compare(
    targets,
    queries,
    logits,
    run_config.schema,
    reference=run_config.reference,
    num_repeats=run_config.bootstrap,
    calibrations=calibrations,
  )
  for name, model in models.items():
    compared[name] |= {'rows_per_sec': len(targets) / seconds[name], 'kind': model.kind}
  result = {'rows': len(targets), 'models': compared} | bad_rows.counted()
  if queries is not None:
    result['queries'] = int(queries.max()) + 1
  if run_config.schema.num_classes == 2:
    _draw(folder, targets, logits, calibrations, run_config.schema)
  if run_config.report or run_config.predictions:
    scored = report.Scored(batch, queries, logits, calibrations, run_config.schema)
    _write_report(run_config, scored, compared, models, seen)
  table = comparison.table(compared, run_config.reference)
  runs.write_text(os.path.join(folder, 'table.md'), table)
  return result


def _folders(models: tuple[str, ...], reference: str) -> dict[str, str]:
  """{name: folder} of 'name=folder' items, one of which is the reference (if not '')."""
  folders = {}
  for item in models:
    name, _, folder = item.partition('=')
    if not name or not folder or name in folders:
      raise ValueError(f'--models: expected name=folder with different names, found {item!r}')
    folders[name] = folder
  if reference and reference not in folders:
    raise ValueError(f'--reference={reference}: expected one of the models {", ".join(folders)}')
  return folders


def _words_seen(run_config: config.Evaluate, bad_rows: blocks.BadRows) -> set[str] | None:
  """The words of the training rows, for the report; None where they are not known."""
  if not run_config.train_files:
    return None
  unlabelled = dataclasses.replace(run_config.schema, id_column='', label_column='')
  seen: set[str] = set()
  for batch in rows.read(rows.expand(run_config.train_files), unlabelled, bad_rows=bad_rows):
    for field in unlabelled.fields:
      for words in slices.word_sets(batch[field]):
        seen |= words
  return seen


def _write_report(
  run_config: config.Evaluate, scored: report.Scored, compared: dict, models: dict, seen: set[str] | None
) -> None:
  """Writes report.html and predictions.parquet, as far as they are wanted."""
  if run_config.predictions:
    path = os.path.join(run_config.output_dir, 'predictions.parquet')
    runs.write_bytes(path, report.predictions(scored).to_parquet(index=False))
  if not run_config.report:
    return
  path = os.path.join(run_config.output_dir, 'report.html')
  runs.write_text(path, report.page(scored, compared, run_config.reference, run_config.bootstrap, seen, models))
  logging.info('%s: open it in a browser', path)


def _score(run_config, models, files, bad_rows):
  """Of the labelled rows: batch (labels alone, if no more is wanted), query numbers [n] or None; logits and seconds."""
  batches, queries = [], []
  logits: dict[str, list[np.ndarray]] = {name: [] for name in models}
  seconds = dict.fromkeys(models, 0.0)
  schema, keep_texts = run_config.schema, run_config.report or run_config.predictions
  total = rows.count(files, schema)
  with progress_lib.Progress(total, 'rows', 'evaluate') as progress:
    for batch in rows.read_labelled(files, schema, bad_rows, run_config.slice_columns):
      progress.update(rows.size(batch))
      for name, model in models.items():
        if not logits[name]:
          model.logits(rows.take(batch, slice(0, _WARM_UP_ROWS)))
        start = time.perf_counter()
        logits[name].append(model.logits(batch))
        seconds[name] += time.perf_counter() - start
      batches.append(batch if keep_texts else {'label': batch['label']})
      if 'query' in batch:
        queries.append(pd.util.hash_array(batch['query']))
  numbers = np.unique(np.concatenate(queries), return_inverse=True)[1] if queries else None
  kept = rows.concatenate(batches)
  logging.info('%d rows scored by %d models', rows.size(kept), len(models))
  return kept, numbers, {name: np.concatenate(parts) for name, parts in logits.items()}, seconds


def _draw(folder, targets, logits, calibrations, schema) -> None:
  """Writes reliability.png, with a second curve for a calibrated model."""
  curves = {}
  for name, model_logits in logits.items():
    curves[name] = special.expit(metrics.margin(model_logits))
    if calibrations[name] != calibration.PLAIN:
      curves[f'{name}, calibrated'] = calibration.apply(calibrations[name], metrics.margin(model_logits))
  calibration.write_diagram(
    os.path.join(folder, 'reliability.png'), curves, metrics.relevant(targets, schema.relevant_target)
  )
