"""Measures of one model on labelled rows: accuracy, AUC, log loss, calibration error, Spearman.

All rows count alike, whatever query they belong to; `ranking.py` has the measures by query, and
`bootstrap.py` the intervals. Logits of two classes count through their margin, logit_1 - logit_0.
"""

import numpy as np
from scipy import special
from scipy import stats
from sklearn import metrics as sklearn_metrics

from b2d import config

LOWER_IS_BETTER = ('log_loss',)  # Of those that --best_metric may name.
_GRADE_TOLERANCE = 1e-6  # Targets are float32: a grade on the threshold must not fall below it.


def margin(logits: np.ndarray) -> np.ndarray:
  """The margin logit_1 - logit_0 of two-class logits, float64 [n] of float [n, 2]."""
  return logits[:, 1].astype(np.float64) - logits[:, 0]


def relevant(targets: np.ndarray, relevant_target: float = 0.5) -> np.ndarray:
  """Which targets (or probabilities), float [n] in [0, 1], count as positive: bool [n]."""
  return np.asarray(targets, np.float64) >= relevant_target - _GRADE_TOLERANCE


def decisions(logits: np.ndarray, relevant_target: float = 0.5) -> np.ndarray:
  """The class that a model decides for, int [n], from logits [n, num_classes].

  Of two classes it is 1 where the probability reaches `relevant_target`: a model of graded targets
  predicts the target, so target and prediction are cut at the same height.
  """
  if logits.shape[1] > 2:
    return logits.argmax(axis=1)
  return relevant(special.expit(margin(logits)), relevant_target).astype(np.int64)


def reliability(
  probabilities: np.ndarray, targets: np.ndarray, num_bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Bins of equal width over the predicted probability, empty ones left out.

  Args:
    probabilities: float [n] in [0, 1].
    targets: float [n] in [0, 1], classes or graded.
    num_bins: number of bins.

  Returns:
    Mean probability, mean target and number of rows of each bin that has rows.
  """
  bins = np.minimum((np.asarray(probabilities) * num_bins).astype(np.int64), num_bins - 1)
  rows = np.bincount(bins, minlength=num_bins)
  used = rows > 0
  sums = [np.bincount(bins, values, num_bins)[used] for values in (probabilities, targets)]
  return sums[0] / rows[used], sums[1] / rows[used], rows[used]


def expected_calibration_error(probabilities: np.ndarray, targets: np.ndarray, num_bins: int = 15) -> float:
  """Mean distance of predicted probability and target, Σ_b n_b/n · |mean p_b - mean t_b|.

  Args and bins: see `reliability`.

  Returns:
    The error, in [0, 1].
  """
  predicted, observed, rows = reliability(probabilities, targets, num_bins)
  return float(np.sum(rows * np.abs(predicted - observed)) / np.sum(rows))


def by_row(targets: np.ndarray, logits: np.ndarray, relevant_target: float = 0.5) -> dict[str, np.ndarray]:
  """The measures that are means over rows, row by row.

  Args:
    targets: float [n]; for two classes in [0, 1], classes or graded; for more the class index.
    logits: float [n, num_classes].
    relevant_target: target from which a row counts as positive (two classes).

  Returns:
    accuracy (1 where the decision is right, else 0) and log_loss (cross-entropy against the target
    itself), float [n] each.
  """
  decided = decisions(logits, relevant_target)
  if logits.shape[1] == 2:
    margins = margin(logits)
    return {
      'accuracy': (decided == relevant(targets, relevant_target)).astype(np.float64),
      'log_loss': np.logaddexp(0, margins) - targets * margins,
    }
  classes = np.asarray(targets).astype(np.int64)
  log_probabilities = special.log_softmax(logits.astype(np.float64), axis=1)
  return {
    'accuracy': (decided == classes).astype(np.float64),
    'log_loss': -log_probabilities[np.arange(len(classes)), classes],
  }


def binary(targets: np.ndarray, logits: np.ndarray, relevant_target: float = 0.5) -> dict[str, float]:
  """Measures of a two-class or graded model.

  Log loss and Spearman are against the target itself; accuracy, AUC and calibration error against
  the target cut at `relevant_target`: a calibrated probability is that of being relevant.

  Args:
    targets: float [n] in [0, 1]; classes 0 and 1, or graded.
    logits: float [n, 2].
    relevant_target: target from which a row counts as positive.

  Returns:
    accuracy, auc, log_loss, ece, and spearman (with the targets) where they are graded.

  Raises:
    ValueError: no rows, or all of them on one side of `relevant_target`.
  """
  targets = np.asarray(targets, np.float64)
  positive = relevant(targets, relevant_target)
  if len(np.unique(positive)) < 2:
    raise ValueError(
      f'labels: expected rows on both sides of {relevant_target:g}, found '
      f'{positive.sum()} positive of {len(targets)}; AUC needs both: use more rows, or set '
      '--relevant_from for grades'
    )
  margins = margin(logits)
  by_row_measures = by_row(targets, logits, relevant_target)
  result = {
    'accuracy': float(np.mean(by_row_measures['accuracy'])),
    'auc': float(sklearn_metrics.roc_auc_score(positive, margins)),
    'log_loss': float(np.mean(by_row_measures['log_loss'])),
    'ece': expected_calibration_error(special.expit(margins), positive),
  }
  if np.any((targets != 0) & (targets != 1)):
    constant = np.ptp(margins) == 0  # Spearman's coefficient is not defined; no order, no correlation.
    result['spearman'] = 0.0 if constant else float(stats.spearmanr(margins, targets).statistic)
  return result


def multi_class(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
  """Measures of a model of more than two classes.

  Args:
    labels: class index [n].
    logits: float [n, num_classes].

  Returns:
    accuracy, auc (one class against the rest, mean over the classes that occur), log_loss, and ece
    (of the decided class's probability).

  Raises:
    ValueError: no rows, or all of one class.
  """
  labels = np.asarray(labels).astype(np.int64)
  classes = np.unique(labels)
  if len(classes) < 2:
    raise ValueError(
      f'labels: expected rows of two classes or more, found {len(classes)} '
      f'in {len(labels)} rows; AUC needs them: use more rows'
    )
  probabilities = special.softmax(logits.astype(np.float64), axis=1)
  by_row_measures = by_row(labels, logits)
  return {
    'accuracy': float(np.mean(by_row_measures['accuracy'])),
    'auc': float(np.mean([sklearn_metrics.roc_auc_score(labels == c, probabilities[:, c]) for c in classes])),
    'log_loss': float(np.mean(by_row_measures['log_loss'])),
    'ece': expected_calibration_error(probabilities.max(axis=1), by_row_measures['accuracy']),
  }


def by_kind(labels: np.ndarray, logits: np.ndarray, relevant_target: float = 0.5) -> dict[str, float]:
  """`binary` or `multi_class`, whichever logits [n, num_classes] call for."""
  if logits.shape[1] > 2:
    return multi_class(labels, logits)
  return binary(labels, logits, relevant_target)


def held_out(labels: np.ndarray, logits: np.ndarray, schema: config.Schema) -> dict[str, float]:
  """The measures of labelled rows, by what the labels are; unknown ones (NaN) don't count.

  Args:
    labels: float [n]; class index, or target in [0, 1] where `schema.label_range` is set.
    logits: float [n, num_classes].
    schema: what the labels are.

  Returns:
    See `binary` and `multi_class`.

  Raises:
    ValueError: logits of another number of classes than the rows, or labels without contrast.
  """
  if logits.ndim != 2 or logits.shape[1] != schema.num_classes:
    raise ValueError(
      f'logits: expected [n, {schema.num_classes}], found {list(logits.shape)}; does --num_classes fit the model?'
    )
  known = ~np.isnan(labels)
  return by_kind(labels[known], logits[known], schema.relevant_target)


def agreement(labels: np.ndarray, logits: np.ndarray, schema: config.Schema) -> dict[str, float]:
  """Whether scores made elsewhere say what one's own judges say, as far as their labels are known.

  Args:
    labels: float [n], as in `held_out`; unknown ones are NaN.
    logits: float [n, num_classes].
    schema: what the labels are.

  Returns:
    labelled_rows; of these agreement, the share on which both decide alike; and where the labels differ kappa (Cohen's:
    agreement beyond what chance brings) and auc.
  """
  known = ~np.isnan(labels)
  labels, logits = labels[known], logits[known]
  if not len(labels):
    return {'labelled_rows': 0}
  judged = labels if schema.num_classes > 2 else relevant(labels, schema.relevant_target)
  judged, decided = judged.astype(np.int64), decisions(logits, schema.relevant_target)
  result = {'labelled_rows': len(labels), 'agreement': float(np.mean(judged == decided))}
  if len(np.unique(judged)) > 1:
    result['kappa'] = float(sklearn_metrics.cohen_kappa_score(judged, decided))
    result['auc'] = by_kind(labels, logits, schema.relevant_target)['auc']
  return result


def require_measurable(labels: np.ndarray, schema: config.Schema) -> None:
  """Raises ValueError for labels that `held_out` can't measure on: before the training, not after its first hour."""
  held_out(labels, np.zeros([len(labels), schema.num_classes], np.float32), schema)
