"""Growth: what a student gains by more unlabelled rows, measured on several sizes of the transfer set."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
from typing import Any

from absl import logging
import numpy as np

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import targets
from b2d.learning import trials
from b2d.measures import bootstrap
from b2d.measures import charts
from b2d.measures import comparison
from b2d.measures import markdown
from b2d.measures import metrics
from b2d.models import student

_FITTED_SIZES = 3  # The largest: a student that nears its teacher bends the curve.
_LOWEST_ERROR = 1e-6


def growth(run_config: config.Growth) -> dict[str, Any]:
  """Makes the runs that are left, and fits their curve.

  Returns:
    What metrics.json holds: 'runs', the metrics of each by name; 'metric'; 'curve', by size its rows, the metric's
    mean and its interval; 'doubling': what twice the rows would bring, its interval, and the advice.

  Raises:
    ValueError: soft labels, rows, or run folder are not what the configuration says.
  """
  run_config = dataclasses.replace(run_config, schema=targets.completed(run_config).schema)
  num_rows = soft_labels.num_rows(run_config.soft_labels)  # A wrong path leaves no folder behind.
  if max(run_config.sizes, default=0) > num_rows:
    raise ValueError(f'--sizes={max(run_config.sizes)}: expected at most the {num_rows} soft labels that there are')
  held_out = rows.load_labelled(run_config.valid_files, run_config.schema)
  assert held_out is not None  # The configuration wants --valid_files.
  folder, metric = runs.start(run_config), run_config.training.best_metric
  planned = run_config.runs(num_rows)
  results: dict[str, dict[str, float]] = {}
  drawn = {}
  for name, measured in trials.run(folder, planned, run_config.varied(num_rows)):
    results[name] = measured
    logits = student.load(planned[name].output_dir).predict_logits(held_out)
    drawn[name] = comparison.replicates(held_out, logits, run_config.schema, run_config.bootstrap)[metric]
  sizes = sorted({planned[name].max_rows for name in planned})
  by_size = [[name for name in planned if planned[name].max_rows == size] for size in sizes]
  means = np.array([np.mean([results[name][metric] for name in names]) for names in by_size])
  replicates = _over_seeds(np.array([[drawn[name] for name in names] for names in by_size]))
  curve: list[dict[str, Any]] = [
    {'rows': size, 'mean': float(mean), 'interval': bootstrap.interval(values)}
    for size, mean, values in zip(sizes, means, replicates)
  ]
  found = doubling(sizes, means, replicates, metric)
  result = {'runs': results, 'metric': metric, 'curve': curve, 'doubling': found}
  runs.write_bytes(os.path.join(folder, 'growth.png'), charts.growth(curve, found, metric))
  runs.write_text(os.path.join(folder, 'table.md'), table(result))
  runs.write_metrics(folder, result)
  logging.info('%s', found['advice'])
  return result


def _over_seeds(values: np.ndarray) -> np.ndarray:
  """Replicates [sizes, seeds, repeats] → means over seeds that are drawn anew for each, [sizes, repeats]."""
  draws = np.random.default_rng(0).integers(0, values.shape[1], values.shape)
  return np.take_along_axis(values, draws, axis=1).mean(axis=1)


def doubling(sizes: Sequence[int], means: np.ndarray, replicates: np.ndarray, metric: str) -> dict[str, Any]:
  """What twice as many rows as the largest size would bring, by a power law of the error.

      error(n) = a · n^-b,  fitted to the logarithms at the largest sizes; error = 1 - metric, or the log loss itself

  Args:
    sizes: rows, ascending, two or more.
    means: float [sizes].
    replicates: float [sizes, repeats], bootstrap replicates, paired by query.
    metric: whose they are.

  Returns:
    'rows' (twice the largest size), 'gain' (of the metric), 'interval' of the gain, and 'advice', a sentence.
  """
  gain = float(_gains(sizes, means[:, np.newaxis], metric)[0])
  low, high = bootstrap.interval(_gains(sizes, replicates, metric))
  worth = -1 if metric in metrics.LOWER_IS_BETTER else 1
  if min(worth * low, worth * high) > 0:
    advice = f'twice the rows ({2 * sizes[-1]:,}) should change {metric} by {gain:+.4f} [{low:+.4f}, {high:+.4f}]'
  elif max(worth * low, worth * high) < 0:
    advice = f'more rows did harm: {metric} would change by {gain:+.4f} [{low:+.4f}, {high:+.4f}] with twice the rows'
  else:
    advice = (
      f'that twice the rows ({2 * sizes[-1]:,}) would help cannot be told from chance: {metric} {gain:+.4f} '
      f'[{low:+.4f}, {high:+.4f}]'
    )
  return {'rows': 2 * sizes[-1], 'gain': gain, 'interval': [low, high], 'advice': advice}


def _gains(sizes: Sequence[int], values: np.ndarray, metric: str) -> np.ndarray:
  """The metric's change with twice the rows, float [repeats], of values [sizes, repeats]."""
  errors = values if metric in metrics.LOWER_IS_BETTER else 1 - values
  fitted = slice(-_FITTED_SIZES, None)
  slope, offset = np.polyfit(np.log(sizes[fitted]), np.log(np.maximum(errors[fitted], _LOWEST_ERROR)), 1)
  change = np.exp(slope * np.log(sizes[-1]) + offset) * (2.0**slope - 1)  # Of the error.
  return change if metric in metrics.LOWER_IS_BETTER else -change


def table(result: Mapping[str, Any]) -> str:
  """The curve in Markdown, and the advice."""
  lines = [
    [f'{point["rows"]:,}', f'{point["mean"]:.4f}', f'[{point["interval"][0]:.4f}, {point["interval"][1]:.4f}]']
    for point in result['curve']
  ]
  advice = result['doubling']['advice']
  return markdown.table(['rows', result['metric'], '95 %'], lines, 0) + f'\n{advice[0].upper()}{advice[1:]}.\n'
