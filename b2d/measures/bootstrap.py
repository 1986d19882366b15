"""Bootstrap intervals: is a difference more than the luck of the drawn queries?

Rows of one query hang together, so whole queries are drawn (rows, where there are no queries). The
same seed draws the same queries for every model: subtracting two models' replicates gives the
interval of their paired difference.
"""

import numpy as np


def _mid_ranks(codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Weighted mean rank of each row, float [n]; a code is the rank of the row's distinct value."""
  mass = np.bincount(codes, weights)
  return (np.cumsum(mass) - mass / 2)[codes]


def _weighted_auc(ranks: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
  """Mann-Whitney AUC; scikit-learn's would sort the rows anew in each repeat."""
  positive_mass = np.sum(weights[positive])
  pairs = positive_mass * (np.sum(weights) - positive_mass)
  wins = np.sum((weights * ranks)[positive]) - positive_mass**2 / 2
  return wins / pairs if pairs else np.nan


def _weighted_correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
  x, y = x - np.average(x, weights=weights), y - np.average(y, weights=weights)
  scale = np.sqrt(np.sum(weights * x * x) * np.sum(weights * y * y))
  return np.sum(weights * x * y) / scale if scale else np.nan


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
  known = ~np.isnan(values)
  mass = np.sum(weights[known])
  return np.sum(weights * np.nan_to_num(values)) / mass if mass else np.nan


class Replicates:
  """Measures on resamples of the queries.

  Example:
    drawn = Replicates(queries, num_repeats=1000)
    low, high = interval(drawn.auc(student, positive) - drawn.auc(teacher, positive))
  """

  def __init__(self, queries: np.ndarray, num_repeats: int, seed: int = 0):
    """Draws nothing yet: the weights of a repeat are made again for each measure, to save memory.

    Args:
      queries: int [n], the query's number from 0 on.
      num_repeats: resamples.
      seed: the same seed draws the same queries.
    """
    self._queries = queries
    self._num_repeats = num_repeats
    self._seed = seed

  def _query_weights(self):
    rng = np.random.default_rng(self._seed)
    num_queries = int(self._queries.max()) + 1
    for _ in range(self._num_repeats):
      yield np.bincount(rng.integers(0, num_queries, num_queries), minlength=num_queries)

  def query_mean(self, values: np.ndarray) -> np.ndarray:
    """Means of a measure by query [num_queries], NaN left out: float [num_repeats]."""
    return np.array([_mean(values, weights) for weights in self._query_weights()])

  def row_mean(self, values: np.ndarray) -> np.ndarray:
    """Means of a measure by row [n]: float [num_repeats]."""
    return np.array([_mean(values, weights[self._queries]) for weights in self._query_weights()])

  def auc(self, margins: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """AUC over all rows: float [num_repeats], of scores [n] and bool [n]."""
    codes = np.unique(margins, return_inverse=True)[1]
    rows = (weights[self._queries] for weights in self._query_weights())
    return np.array([_weighted_auc(_mid_ranks(codes, w), positive, w) for w in rows])

  def spearman(self, margins: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Rank correlation over all rows: float [num_repeats], of scores and targets [n]."""
    codes, target_codes = (np.unique(v, return_inverse=True)[1] for v in (margins, targets))
    rows = (weights[self._queries] for weights in self._query_weights())
    return np.array([_weighted_correlation(_mid_ranks(codes, w), _mid_ranks(target_codes, w), w) for w in rows])


def interval(replicates: np.ndarray, level: float = 0.95) -> list[float]:
  """The middle `level` of the replicates [num_repeats]: [low, high]."""
  tail = 100 * (1 - level) / 2
  return [float(bound) for bound in np.nanpercentile(replicates, [tail, 100 - tail])]
