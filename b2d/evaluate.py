r"""Measures models side by side on the same labelled rows.

    python -m b2d.evaluate --models=teacher=runs/mine/teacher,student=runs/mine/student \
        --reference=teacher --files=test.tsv --text_columns=query,title --label_column=label \
        --bootstrap=1000 --output_dir=runs/mine/evaluation

A model is a run folder of b2d.finetune or b2d.distill, or an exported SavedModel. The rows are
streamed: only labels, logits and query numbers stay in memory. Writes metrics.json, table.md (also
on stdout) and, for two classes, reliability.png.
"""

import os
import time

from absl import logging
import numpy as np
import pandas as pd
from scipy import special
import tensorflow as tf
import tqdm

from b2d import config
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.measures import comparison
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import scoring
from flags import evaluate_flags

_WARM_UP_ROWS = 8  # Scored once before the clock starts: the first call traces the graph.


def evaluate(run_config: config.Evaluate) -> dict:
  """Scores the rows with every model and compares.

  Returns:
    What metrics.json holds: number of rows and queries, and the measures of each model.

  Raises:
    ValueError: rows, models or run folder are not what the configuration says.
  """
  folders = _folders(run_config.models, run_config.reference).values()
  if run_config.output_dir and runs.newer(run_config.output_dir, folders):
    runs.start(run_config, 'evaluate')  # Refuses the folder of another step.
    logging.info('%s: older than a model, measured again', run_config.output_dir)
    tf.io.gfile.remove(os.path.join(run_config.output_dir, 'metrics.json'))
  return runs.once(run_config, 'evaluate', _evaluate)


def _evaluate(run_config: config.Evaluate) -> dict:
  folders = _folders(run_config.models, run_config.reference)
  files = rows.expand(run_config.files)
  scorers = {name: scoring.load(folder) for name, folder in folders.items()}
  for name, scorer in scorers.items():
    if scorer.fields != run_config.schema.fields:
      raise ValueError(
        f'{folders[name]}: the model reads {", ".join(scorer.fields)}, the rows '
        f'have {", ".join(run_config.schema.fields)}; set --text_columns'
      )
  folder = runs.start(run_config, 'evaluate')
  bad_rows = blocks.BadRows(run_config.schema.max_bad_rows)
  targets, queries, logits, seconds = _score(scorers, files, run_config.schema, bad_rows)
  bad_rows.write(folder)
  calibrations = {name: scorer.platt for name, scorer in scorers.items() if scorer.platt}
  compared = comparison.compare(
    targets,
    queries,
    logits,
    run_config.schema,
    reference=run_config.reference,
    num_repeats=run_config.bootstrap,
    calibrations=calibrations,
  )
  for name, scorer in scorers.items():
    compared[name] |= {'rows_per_sec': len(targets) / seconds[name], 'kind': scorer.name_kind}
  result = {'rows': len(targets), 'models': compared} | bad_rows.counted()
  if queries is not None:
    result['queries'] = int(queries.max()) + 1
  if run_config.schema.num_classes == 2:
    _draw(folder, targets, logits, calibrations, run_config.schema)
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


def _score(scorers, files, schema, bad_rows):
  """Of the labelled rows: labels [n], query numbers [n] or None; logits and seconds by model."""
  targets, queries = [], []
  logits: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
  seconds = dict.fromkeys(scorers, 0.0)
  total = rows.count(files, schema)
  with tqdm.tqdm(total=total, unit='row', desc='evaluate') as progress:
    for batch in rows.read_labelled(files, schema, bad_rows):
      progress.update(rows.size(batch))
      for name, scorer in scorers.items():
        if not logits[name]:
          scorer.predict_logits(rows.take(batch, slice(0, _WARM_UP_ROWS)))
        start = time.perf_counter()
        logits[name].append(scorer.predict_logits(batch))
        seconds[name] += time.perf_counter() - start
      targets.append(batch['label'])
      if 'query' in batch:
        queries.append(pd.util.hash_array(batch['query']))
  numbers = np.unique(np.concatenate(queries), return_inverse=True)[1] if queries else None
  labels = np.concatenate(targets)
  logging.info('%d rows scored by %d models', len(labels), len(scorers))
  return labels, numbers, {name: np.concatenate(parts) for name, parts in logits.items()}, seconds


def _draw(folder, targets, logits, calibrations, schema) -> None:
  """Writes reliability.png, with a second curve for a calibrated model."""
  curves = {}
  for name, model_logits in logits.items():
    curves[name] = special.expit(metrics.margin(model_logits))
    if name in calibrations:
      curves[f'{name}, calibrated'] = calibration.apply(calibrations[name], metrics.margin(model_logits))
  calibration.write_diagram(
    os.path.join(folder, 'reliability.png'), curves, metrics.relevant(targets, schema.relevant_target)
  )


def main(argv: list[str]) -> None:
  del argv
  run_config = evaluate_flags.parse()
  result = evaluate(run_config)
  print(comparison.table(result['models'], run_config.reference), end='')


if __name__ == '__main__':
  evaluate_flags.parse.adopt()
  runs.run(main)
