"""Teacher stacking: the logits of several teachers → the logits of one soft label.

The paper's second way to a better student at the same cost. Three ways to combine: the mean of the
logits, the mean of the probabilities, or weights fitted on labelled rows. `joining` finds the rows
that belong together.
"""

import dataclasses

import numpy as np
from scipy import special
from sklearn import linear_model


@dataclasses.dataclass(frozen=True)
class Weights:
  """A linear combination of the teachers: features [n, num_features] → coefficients and intercepts.

  Attributes:
    coefficients: float [num_features, outputs]; for two classes one feature a teacher (its margin)
      and one output, else num_classes features a teacher and num_classes outputs.
    intercepts: float [outputs].
  """

  coefficients: np.ndarray
  intercepts: np.ndarray


def mean_logits(logits: np.ndarray) -> np.ndarray:
  """Mean of the teachers' logits, float32 [n, num_classes] of [n, num_teachers, num_classes]."""
  return logits.mean(axis=1)


def mean_probabilities(logits: np.ndarray) -> np.ndarray:
  """Logarithm of the mean of the teachers' probabilities.

      l_c = log(1/K · Σ_k softmax(t_k)_c)

  Args:
    logits: float [n, num_teachers, num_classes].

  Returns:
    float32 [n, num_classes]; its softmax is the mean.
  """
  log_probabilities = special.log_softmax(logits.astype(np.float64), axis=2)
  mean = special.logsumexp(log_probabilities, axis=1) - np.log(logits.shape[1])
  return mean.astype(np.float32)


def fit_weights(logits: np.ndarray, labels: np.ndarray) -> Weights:
  """Fits the combination by logistic regression on labelled rows that no teacher was trained on.

  Args:
    logits: float [n, num_teachers, num_classes].
    labels: float [n]; class index, or for two classes also a target in [0, 1].

  Returns:
    The weights.

  Raises:
    ValueError: a class has no row.
  """
  num_classes = logits.shape[2]
  features = _features(logits)
  regression = linear_model.LogisticRegression(max_iter=1000)
  if num_classes == 2:  # A graded target t counts as t of a positive and 1 - t of a negative row.
    regression.fit(
      np.concatenate([features, features]),
      np.repeat([1, 0], len(labels)),
      sample_weight=np.concatenate([labels, 1 - labels]),
    )
  else:
    found = np.unique(labels)
    if len(found) != num_classes:
      raise ValueError(
        f'--valid_soft_labels: expected rows of all {num_classes} classes, found '
        f'{found.astype(int).tolist()}; use more rows'
      )
    regression.fit(features, labels.astype(np.int64))
  return Weights(regression.coef_.T, regression.intercept_)


def weighted(logits: np.ndarray, weights: Weights) -> np.ndarray:
  """The fitted combination, float32 [n, num_classes] of [n, num_teachers, num_classes]."""
  outputs = _features(logits) @ weights.coefficients + weights.intercepts
  if logits.shape[2] == 2:
    outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
  return outputs.astype(np.float32)


def _features(logits: np.ndarray) -> np.ndarray:
  if logits.shape[2] == 2:
    return (logits[:, :, 1] - logits[:, :, 0]).astype(np.float64)
  return logits.reshape(len(logits), -1).astype(np.float64)


def cross_fitted(logits: np.ndarray, labels: np.ndarray, folds: int = 5) -> np.ndarray:
  """As `weighted`, each row by weights fitted on the other folds: fair to measure on.

  Args and Returns: see `fit_weights` and `weighted`.
  """
  fold = np.random.default_rng(0).permutation(len(labels)) % folds
  combined = np.empty([len(labels), logits.shape[2]], np.float32)
  for k in range(folds):
    rest = fold != k
    combined[~rest] = weighted(logits[~rest], fit_weights(logits[rest], labels[rest]))
  return combined
