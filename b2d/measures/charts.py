"""The curves of a report, as PNGs: ROC, precision and recall, and how the scores lie."""

import base64
from collections.abc import Mapping
from collections.abc import Sequence
import io
from typing import Any

from matplotlib import figure
import numpy as np
from sklearn import metrics as sklearn_metrics

_BINS = 40


def curves(probabilities: Mapping[str, np.ndarray], positive: np.ndarray) -> dict[str, bytes]:
  """Draws the curves of two-class models.

  Args:
    probabilities: float [n] in [0, 1] by the model's name.
    positive: bool [n], with rows of both kinds.

  Returns:
    PNG files by their titles.
  """
  roc, roc_axes = _chart('share of negative rows taken', 'share of positive rows taken')
  recall, recall_axes = _chart('recall', 'precision')
  roc_axes.plot([0, 1], [0, 1], linestyle=':', color='grey')
  recall_axes.axhline(positive.mean(), linestyle=':', color='grey')
  made = {}
  for name, scores in probabilities.items():
    wrong, taken, _ = sklearn_metrics.roc_curve(positive, scores)
    roc_axes.plot(wrong, taken, label=f'{name} (AUC {sklearn_metrics.auc(wrong, taken):.3f})')
    precision, found, _ = sklearn_metrics.precision_recall_curve(positive, scores)
    average = sklearn_metrics.average_precision_score(positive, scores)
    recall_axes.plot(found, precision, label=f'{name} (average precision {average:.3f})')
  for title, chart, axes in (('ROC', roc, roc_axes), ('Precision and recall', recall, recall_axes)):
    axes.legend()
    made[title] = _png(chart)
  for name, scores in probabilities.items():
    chart, axes = _chart('probability', 'rows')
    axes.set_ylim(auto=True)
    bins = np.linspace(0, 1, _BINS + 1)
    axes.hist([scores[~positive], scores[positive]], bins, stacked=True, label=['negative', 'positive'])
    axes.legend()
    made[f'Scores of {name}'] = _png(chart)
  return made


def growth(curve: Sequence[Mapping[str, Any]], doubling: Mapping[str, Any], metric: str) -> bytes:
  """Draws what `learning.growing` found: the curve with its intervals, and where twice the rows would lead.

  Returns:
    A PNG file.
  """
  chart = figure.Figure(figsize=(6, 4), layout='constrained')
  axes = chart.add_subplot(xlabel='rows of the transfer set', ylabel=metric, xscale='log')
  sizes, means = ([point[key] for point in curve] for key in ('rows', 'mean'))
  axes.errorbar(sizes, means, _bars(means, [point['interval'] for point in curve]), marker='o', capsize=3)
  last, gain, bounds = means[-1], doubling['gain'], doubling['interval']
  axes.plot([sizes[-1], doubling['rows']], [last, last + gain], linestyle=':', color='grey')
  expected, ends = [last + gain], [[last + bound for bound in bounds]]
  axes.errorbar(
    [doubling['rows']], expected, _bars(expected, ends), marker='o', capsize=3, color='grey', label='gain expected'
  )
  axes.set_xticks([*sizes, doubling['rows']], [f'{size:,}' for size in [*sizes, doubling['rows']]], rotation=30)
  axes.minorticks_off()
  axes.legend()
  return _png(chart)


def _bars(means: Sequence[float], intervals: Sequence[Sequence[float]]) -> np.ndarray:
  """Lengths of error bars, [2, n]; none is negative, as a replicate's interval need not hold the mean."""
  low, high = np.transpose(intervals)
  return np.maximum([means - low, high - means], 0)


def as_url(png: bytes) -> str:
  """A data: address, with which a page holds its pictures."""
  return 'data:image/png;base64,' + base64.b64encode(png).decode('ascii')


def _chart(x: str, y: str):
  chart = figure.Figure(figsize=(5, 4), layout='constrained')
  return chart, chart.add_subplot(xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1.02))


def _png(chart: figure.Figure) -> bytes:
  with io.BytesIO() as file:
    chart.savefig(file, format='png', dpi=110)
    return file.getvalue()
