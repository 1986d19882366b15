"""Several models' logits on the same labelled rows: all measures side by side, as a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from b2d import config
from b2d.measures import bootstrap
from b2d.measures import markdown
from b2d.measures import metrics
from b2d.measures import ranking
from b2d.models import calibration

_RECOVERED = ('accuracy', 'auc')  # Measures whose ratio to the reference's is reported.


def compare(
  targets: np.ndarray,
  queries: np.ndarray | None,
  logits: Mapping[str, np.ndarray],
  schema: config.Schema,
  *,
  reference: str = '',
  num_repeats: int = 0,
  calibrations: Mapping[str, calibration.Calibration] | None = None,
) -> dict[str, dict[str, Any]]:
  """Measures every model.

  Args:
    targets: float [n], known labels: class index, or target in [0, 1] if `schema.label_range` is set.
    queries: int [n], the query's number from 0 on; None for single texts.
    logits: float [n, num_classes] by the model's name.
    schema: what the labels are.
    reference: which model agreement, recovered ratios and differences refer to; '' for none.
    num_repeats: bootstrap repeats over the queries (or rows); 0 for no intervals.
    calibrations: fitted to a model's margin; adds ece_calibrated.

  Returns:
    By the model's name: the measures of `metrics.held_out`, the means of `ranking.by_query`, of classes that have
    names 'recall of NAME' (the share of its rows that are decided right), and
    against the reference agreement (share of equal decisions), agreement_spearman (of the margins),
    recovered_accuracy and recovered_auc (ratios). With repeats also 'interval' of 95 %,
    {measure: [low, high]}, and 'difference' to the reference, {measure: {'mean', 'interval'}}.

  Raises:
    ValueError: the labels have no contrast, or the logits another number of classes.
  """
  groups = np.arange(len(targets)) if queries is None else queries
  result, replicates = {}, {}
  for name, model_logits in logits.items():
    by_query = _by_query(targets, queries, model_logits, schema)
    result[name] = metrics.held_out(targets, model_logits, schema)
    result[name] |= {key: float(np.nanmean(values)) for key, values in by_query.items()}
    result[name] |= _recalls(targets, model_logits, schema)
    if calibrations and name in calibrations:
      result[name]['ece_calibrated'] = metrics.expected_calibration_error(
        calibration.apply(calibrations[name], metrics.margin(model_logits)),
        metrics.relevant(targets, schema.relevant_target),
      )
    if num_repeats:
      drawn = bootstrap.Replicates(groups, num_repeats)
      replicates[name] = _replicates(drawn, targets, model_logits, by_query, schema)
  for name in logits:
    if reference:
      result[name] |= _against(logits[name], logits[reference], result[name], result[reference], schema)
    if num_repeats:
      result[name] |= _intervals(name, reference, result, replicates)
  return result


def _by_query(targets, queries, logits, schema) -> dict[str, np.ndarray]:
  """The measures by query that at least one query has; none for single texts."""
  if queries is None or schema.num_classes > 2:
    return {}
  measures = ranking.by_query(queries, targets, metrics.margin(logits), schema.relevant_target)
  return {name: values for name, values in measures.items() if not np.all(np.isnan(values))}


def _recalls(targets, logits, schema) -> dict[str, float]:
  right = metrics.decisions(logits) == targets
  return {
    f'recall of {name}': float(np.mean(right[targets == index]))
    for index, name in enumerate(schema.classes)
    if np.any(targets == index)
  }


def replicates(
  held_out: Mapping[str, np.ndarray], logits: np.ndarray, schema: config.Schema, num_repeats: int
) -> dict[str, np.ndarray]:
  """Bootstrap replicates [num_repeats] of the measures of one model, drawn over the queries (rows without them).

  Args:
    held_out: a batch of n labelled rows.
    logits: float [n, num_classes].
    schema: what the labels are.
    num_repeats: the same number draws the same queries, for every model.
  """
  groups = np.arange(len(logits))
  if 'query' in held_out:
    groups = np.unique(held_out['query'].astype(bytes), return_inverse=True)[1]
  return _replicates(bootstrap.Replicates(groups, num_repeats), held_out['label'], logits, {}, schema)


def _replicates(drawn: bootstrap.Replicates, targets, logits, by_query, schema) -> dict[str, np.ndarray]:
  """Replicates [num_repeats] of every measure that has an interval."""
  by_row = metrics.by_row(targets, logits, schema.relevant_target)
  found = {name: drawn.row_mean(values) for name, values in by_row.items()}
  if schema.num_classes == 2:
    margins = metrics.margin(logits)
    found['auc'] = drawn.auc(margins, metrics.relevant(targets, schema.relevant_target))
    if schema.label_range:
      found['spearman'] = drawn.spearman(margins, targets)
  return found | {name: drawn.query_mean(values) for name, values in by_query.items()}


def _against(logits, reference_logits, measures, reference_measures, schema) -> dict[str, float]:
  """Agreement with the reference, and what of it is recovered."""
  decided, wanted = (metrics.decisions(each, schema.relevant_target) for each in (logits, reference_logits))
  found = {'agreement': float(np.mean(decided == wanted))}
  if schema.num_classes == 2:
    found['agreement_spearman'] = float(
      stats.spearmanr(metrics.margin(logits), metrics.margin(reference_logits)).statistic
    )
  return found | {f'recovered_{name}': measures[name] / reference_measures[name] for name in _RECOVERED}


def _intervals(name, reference, result, replicates) -> dict[str, Any]:
  """'interval' and, against the reference, 'difference'; recovered ratios have intervals too."""
  drawn = replicates[name]
  found: dict[str, Any] = {'interval': {key: bootstrap.interval(values) for key, values in drawn.items()}}
  if reference and name != reference:
    against = replicates[reference]
    found['interval'] |= {
      f'recovered_{key}': bootstrap.interval(drawn[key] / against[key]) for key in _RECOVERED if key in drawn
    }
    found['difference'] = {
      key: {'mean': result[name][key] - result[reference][key], 'interval': bootstrap.interval(values - against[key])}
      for key, values in drawn.items()
    }
  return found


def table(result: Mapping[str, Mapping[str, Any]], reference: str = '') -> str:
  """The comparison in Markdown: see `cells`."""
  header, *lines = cells(result, reference)
  return markdown.table(header, lines)


def cells(result: Mapping[str, Mapping[str, Any]], reference: str = '') -> list[list[str]]:
  """The comparison line by line, the models' names first: a line a measure, a column a model, intervals in brackets."""
  names = list(result)
  keys = dict.fromkeys(key for name in names for key, value in result[name].items() if not isinstance(value, dict))
  lines = [[''] + names]
  for key in keys:
    lines.append([key] + [_cell(result[name].get(key), result[name].get('interval', {}).get(key)) for name in names])
  differences = {name: result[name].get('difference', {}) for name in names}
  for key in dict.fromkeys(key for by_key in differences.values() for key in by_key):
    cells = [differences[name].get(key, {}) for name in names]
    lines.append([f'{key} − {reference}'] + [_cell(cell.get('mean'), cell.get('interval'), '+') for cell in cells])
  return lines


def _cell(value, interval=None, sign: str = '') -> str:
  if value is None or isinstance(value, str):
    return value or ''
  if abs(value) >= 100:
    return f'{value:,.0f}'
  brackets = f' [{interval[0]:{sign}.4f}, {interval[1]:{sign}.4f}]' if interval else ''
  return f'{value:{sign}.4f}{brackets}'
