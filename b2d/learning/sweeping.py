"""A distillation for every combination of soft labels, rule, temperature and seed; means over the seeds."""

import os
from typing import Any

from absl import logging
import numpy as np
from tensorboard.plugins.hparams import api as hparams
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import distillation
from b2d.learning import training
from b2d.measures import markdown

_MEASURES = ('accuracy', 'auc', 'log_loss', 'ece', 'ece_calibrated')


def sweep(run_config: config.Sweep) -> dict[str, Any]:
  """Makes the runs that are left, and compares all.

  Returns:
    What metrics.json holds: 'runs', the metrics of each by name, and 'combinations', see `combine`.

  Raises:
    ValueError: soft labels, rows, or run folder are not what the configuration says.
  """
  planned, results = run_config.runs(), {}
  for folders in {distill_config.soft_labels for distill_config in planned.values()}:
    soft_labels.num_rows(folders)  # A wrong path leaves no folder behind.
  rows.expand(run_config.valid_files)
  folder = runs.start(run_config)
  for number, (name, distill_config) in enumerate(planned.items(), 1):
    logging.info('run %d of %d: %s', number, len(planned), name)
    results[name] = distillation.distill(distill_config)
    _write_events(os.path.join(folder, 'events', name), name, distill_config, results[name])
    combinations = combine(planned, results, run_config.training.best_metric)
    runs.write_text(os.path.join(folder, 'table.md'), table(combinations))
  result = {'runs': results, 'combinations': combinations}
  runs.write_metrics(folder, result)
  return result


def combine(
  planned: dict[str, config.Distill], results: dict[str, dict[str, float]], best_metric: str
) -> list[dict[str, Any]]:
  """Mean and spread over the seeds.

  Args:
    planned: the runs by name.
    results: metrics of those that are finished.
    best_metric: the metric to sort by.

  Returns:
    For each combination, the best first: name, seeds (their number), and by measure the mean and, of several seeds,
    the standard deviation (of the sample).
  """
  seeds: dict[str, list] = {}
  for name, result in results.items():
    combination = name.removesuffix(f'-seed{planned[name].training.seed}')
    seeds.setdefault(combination, []).append(result)
  combinations = []
  for combination, measured in seeds.items():
    found: dict[str, Any] = {'name': combination, 'seeds': len(measured)}
    for measure in _MEASURES:
      if measure in measured[0]:
        values = [result[measure] for result in measured]
        found[measure] = {'mean': float(np.mean(values))}
        if len(values) > 1:
          found[measure]['std'] = float(np.std(values, ddof=1))
    combinations.append(found)
  return sorted(
    combinations, key=lambda found: found[best_metric]['mean'], reverse=best_metric not in training.LOWER_IS_BETTER
  )


def table(combinations: list[dict[str, Any]]) -> str:
  """What `combine` returned, in Markdown: mean ± standard deviation."""
  measures = [measure for measure in _MEASURES if measure in combinations[0]]
  lines = []
  for found in combinations:
    lines.append(
      [found['name'], str(found['seeds'])]
      + [
        f'{found[measure]["mean"]:.4f}' + (f' ± {found[measure]["std"]:.4f}' if 'std' in found[measure] else '')
        for measure in measures
      ]
    )
  return markdown.table(['soft labels, rule, temperature', 'seeds', *measures], lines)


def _write_events(folder: str, name: str, run: config.Distill, result: dict[str, float]) -> None:
  """One session of TensorBoard's HParams: what varied, and what came of it; replaces that of an earlier call."""
  if tf.io.gfile.exists(folder):
    tf.io.gfile.rmtree(folder)
  writer = tf.summary.create_file_writer(folder)
  with writer.as_default():
    hparams.hparams(
      {
        'soft_labels': ','.join(run.soft_labels),
        'rule': run.rule,
        'temperature': run.temperature,
        'seed': run.training.seed,
      },
      trial_id=name,
    )
    for measure in _MEASURES:
      if measure in result:
        tf.summary.scalar(measure, result[measure], step=0)
  writer.close()
