"""Calibration: a scale and an offset of the logit, so that a probability of 0.8 means 80 %.

Platt scaling (Platt 1999) of the margin m, fitted on labelled rows that the model was not trained
on; without the offset it is temperature scaling (Guo et al. 2017) with T = 1 / scale. A positive
scale keeps every ranking.

What is calibrated, and served, is P(class 1), or of grades P(grade >= relevant_from): never the expected grade, which
sigmoid(m) of a model of grades is.
"""

from collections.abc import Callable
from collections.abc import Mapping
import io
import json
import os
from typing import Any
from typing import NamedTuple

from absl import logging
from matplotlib import figure
import numpy as np
from scipy import special
from sklearn import linear_model
from sklearn import metrics as sklearn_metrics
from sklearn import model_selection

from b2d import config
from b2d import runs
from b2d.measures import metrics

_FOLDS = 5
_LOWEST_TARGET = 0.05  # Of `unfitted`; at 0 and 1 its offset would be infinite.


class Calibration(NamedTuple):
  """P(positive) = sigmoid(scale · m + offset)."""

  scale: float = 1.0
  offset: float = 0.0


PLAIN = Calibration()


def unfitted(schema: config.Schema) -> Calibration:
  """Where none was fitted: classes as they are; of grades sigmoid(m - logit(t)), t the target of `relevant_from`.

  That is ½ where the expected grade reaches that target (of grades by name it lies halfway to the next one below), so
  that a threshold of ½ decides as `metrics.decisions`.
  """
  target = schema.relevant_target if schema.label_range else 0.5
  return Calibration(offset=-float(special.logit(np.clip(target, _LOWEST_TARGET, 1 - _LOWEST_TARGET))))


def fit(margin: np.ndarray, target: np.ndarray) -> Calibration:
  """Fits scale and offset by maximum likelihood.

  The targets are drawn in as Platt does, to (N₁ + 1) / (N₁ + 2) and 1 / (N₀ + 2), so that rows
  which the margin separates completely still give finite numbers.

  Args:
    margin: float [n], the model's logit_1 - logit_0.
    target: [n] in [0, 1], classes (bool, 0 and 1) or probabilities.

  Returns:
    The calibration.

  Raises:
    ValueError: no rows, or not as many targets as margins.
  """
  margin, target = np.asarray(margin, np.float64), np.asarray(target, np.float64)
  if not len(margin) or margin.shape != target.shape:
    raise ValueError(
      f'calibration: expected as many targets as margins, at least one; found {target.shape} and {margin.shape}'
    )
  positives = target.sum()
  low, high = 1 / (len(target) - positives + 2), (positives + 1) / (positives + 2)
  drawn_in = low + (high - low) * target
  regression = linear_model.LogisticRegression(C=np.inf, max_iter=1000)
  regression.fit(
    np.r_[margin, margin][:, np.newaxis], np.repeat([1, 0], len(margin)), sample_weight=np.r_[drawn_in, 1 - drawn_in]
  )
  return Calibration(float(regression.coef_[0, 0]), float(np.ravel(regression.intercept_)[0]))


def apply(calibration: Calibration, margin: np.ndarray) -> np.ndarray:
  """Calibrated probabilities, float [n] in [0, 1], of margins float [n]."""
  return special.expit(calibration.scale * np.asarray(margin, np.float64) + calibration.offset)


def cross_fitted(margin: np.ndarray, target: np.ndarray, groups: np.ndarray) -> np.ndarray:
  """Calibrated probabilities, each row's by a calibration fitted on the other folds: fair to measure on.

  Args:
    margin: float [n], n > 1.
    target: [n], see `fit`.
    groups: [n]; rows of one group (a query) share a fold, unless there are fewer groups than folds.

  Returns:
    float [n] in [0, 1].
  """
  if len(np.unique(groups)) < _FOLDS:
    groups = np.arange(len(margin))
  folds = model_selection.GroupKFold(min(_FOLDS, len(margin)), shuffle=True, random_state=0)
  probabilities = np.empty(len(margin))
  for rest, fold in folds.split(margin, groups=groups):
    probabilities[fold] = apply(fit(margin[rest], target[rest]), margin[fold])
  return probabilities


def fit_if_better(
  margin: np.ndarray, positive: np.ndarray, groups: np.ndarray, plain: Calibration = PLAIN
) -> tuple[Calibration, np.ndarray]:
  """Fits a calibration where one lowers the log loss of rows that it was not fitted on.

  Args:
    margin: float [n], n > 1.
    positive: bool [n].
    groups: see `cross_fitted`.
    plain: what is taken otherwise.

  Returns:
    The calibration fitted on all rows, or `plain`; and its probabilities of the rows, float [n], out of fold.
  """
  unchanged, out_of_fold = apply(plain, margin), cross_fitted(margin, positive, groups)
  before, after = (sklearn_metrics.log_loss(positive, each, labels=[False, True]) for each in (unchanged, out_of_fold))
  fitted = fit(margin, positive)
  better = after < before and fitted.scale > 0
  logging.info(
    'calibration: log loss %.4f, out of fold %.4f with scale %.3f and offset %.3f: %s',
    before,
    after,
    *fitted,
    'taken' if better else 'the probability stays as it is',
  )
  return (fitted, out_of_fold) if better else (plain, unchanged)


def path(folder: str) -> str:
  """Where a run keeps the scale and offset that turn its logit into a probability."""
  return os.path.join(folder, 'calibration.json')


def fit_run(
  folder: str,
  predict_logits: Callable[[Mapping[str, np.ndarray]], np.ndarray],
  fitted_on: Mapping[str, np.ndarray],
  held_out: Mapping[str, np.ndarray],
  schema: config.Schema,
) -> dict[str, float]:
  """Fits the calibration of a two-class model and stores it in its run folder.

  Args:
    folder: run folder.
    predict_logits: batch of n rows → float [n, 2].
    fitted_on: labelled rows.
    held_out: labelled rows to measure on; where they are the same ones, by cross-fitting.
    schema: what the labels are.

  Returns:
    ece and ece_calibrated of the held-out rows.
  """

  def scored(batch: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    return metrics.margin(predict_logits(batch)), metrics.relevant(batch['label'], schema.relevant_target)

  margins, positive = scored(fitted_on)
  groups = fitted_on.get('query', np.arange(len(margins)))
  fitted, probabilities = fit_if_better(margins, positive, groups, unfitted(schema))
  runs.write_text(path(folder), json.dumps(fitted._asdict(), indent=2) + '\n')
  if held_out is not fitted_on:
    margins, positive = scored(held_out)
    probabilities = apply(fitted, margins)
  return {
    'ece': metrics.expected_calibration_error(special.expit(margins), positive),
    'ece_calibrated': metrics.expected_calibration_error(probabilities, positive),
  }


def diagram(probabilities: Mapping[str, np.ndarray], positive: np.ndarray) -> bytes:
  """A reliability diagram: how often rows of a predicted probability are positive.

  Args:
    probabilities: float [n] in [0, 1] by the curve's name.
    positive: bool [n].

  Returns:
    A PNG file.
  """
  chart = figure.Figure(figsize=(5, 5), layout='constrained')
  axes = chart.add_subplot(xlabel='predicted probability', ylabel='share of positive rows', xlim=(0, 1), ylim=(0, 1))
  axes.plot([0, 1], [0, 1], linestyle=':', color='grey')
  for name, predicted in probabilities.items():
    mean_probability, share, _ = metrics.reliability(predicted, positive)
    error = metrics.expected_calibration_error(predicted, positive)
    axes.plot(mean_probability, share, marker='o', markersize=3, label=f'{name} (ECE {error:.3f})')
  axes.legend()
  with io.BytesIO() as file:
    chart.savefig(file, format='png')
    return file.getvalue()


def write_diagram(path: str, probabilities: Mapping[str, np.ndarray], positive: np.ndarray) -> None:
  """Writes `diagram` to a file."""
  runs.write_bytes(path, diagram(probabilities, positive))
