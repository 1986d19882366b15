"""A distillation for every combination of soft labels, rule, temperature, settings and seed; means over the seeds."""

import os
from typing import Any

import numpy as np

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import trials
from b2d.measures import markdown
from b2d.measures import metrics


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
  for name, result in trials.run(folder, planned, run_config.varied()):
    results[name] = result
    combinations = combine(planned, results, run_config.training.best_metric)
    runs.write_text(os.path.join(folder, 'table.md'), table(combinations))
  found = {'runs': results, 'combinations': combinations}
  runs.write_metrics(folder, found)
  return found


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
    for measure in trials.MEASURES:
      if measure in measured[0]:
        values = [result[measure] for result in measured]
        found[measure] = {'mean': float(np.mean(values))}
        if len(values) > 1:
          found[measure]['std'] = float(np.std(values, ddof=1))
    combinations.append(found)
  return sorted(
    combinations, key=lambda found: found[best_metric]['mean'], reverse=best_metric not in metrics.LOWER_IS_BETTER
  )


def table(combinations: list[dict[str, Any]]) -> str:
  """What `combine` returned, in Markdown: mean ± standard deviation."""
  measures = [measure for measure in trials.MEASURES if measure in combinations[0]]
  lines = []
  for found in combinations:
    lines.append(
      [found['name'], str(found['seeds'])]
      + [
        f'{found[measure]["mean"]:.4f}' + (f' ± {found[measure]["std"]:.4f}' if 'std' in found[measure] else '')
        for measure in measures
      ]
    )
  return markdown.table(['run', 'seeds', *measures], lines)
