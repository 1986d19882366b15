"""Measures of ranking by query: AUC, NDCG@k and mean reciprocal rank.

A query counts where its rows can be ranked wrongly: with a relevant and an irrelevant row for AUC
and reciprocal rank, with two different targets for NDCG. Trivial queries would only pull every
model towards 1. Rows of equal score share their ranks, so that a model of few distinct scores gains
nothing from the order of the file.
"""

import numpy as np

from b2d.measures import metrics


def _tie_starts(queries: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Where a new query, or a new value within it, begins in sorted rows: bool [n]."""
  return np.r_[True, (np.diff(queries) != 0) | (np.diff(values) != 0)]


def _query_starts(queries: np.ndarray) -> np.ndarray:
  """Index of the first row of each query, int [num_queries], in rows sorted by query."""
  return np.flatnonzero(np.r_[True, np.diff(queries) != 0])


def _discounted_gain(queries: np.ndarray, scores: np.ndarray, gains: np.ndarray, k: int) -> np.ndarray:
  """DCG@k of each query, float [num_queries]; rows of equal score share the mean of their gains."""
  order = np.lexsort((-scores, queries))
  queries, scores, gains = queries[order], scores[order], gains[order]
  starts = _query_starts(queries)
  place = np.arange(len(queries)) - starts[queries]
  tie = np.cumsum(_tie_starts(queries, scores)) - 1
  shared = (np.bincount(tie, gains) / np.bincount(tie))[tie]
  return np.bincount(queries, np.where(place < k, shared / np.log2(place + 2), 0.0))


def _ndcg(queries: np.ndarray, margins: np.ndarray, targets: np.ndarray, k: int) -> np.ndarray:
  ideal = _discounted_gain(queries, targets, targets, k)
  lowest, highest = np.full(len(ideal), np.inf), np.full(len(ideal), -np.inf)
  np.minimum.at(lowest, queries, targets)
  np.maximum.at(highest, queries, targets)
  found = _discounted_gain(queries, margins, targets, k)
  return np.divide(found, ideal, out=np.full(len(ideal), np.nan), where=lowest < highest)


def _auc_and_reciprocal_rank(
  queries: np.ndarray, margins: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  order = np.lexsort((-margins, queries))
  queries, margins, positive = queries[order], margins[order], positive[order]
  starts = _query_starts(queries)
  tie = np.cumsum(_tie_starts(queries, margins)) - 1
  tie_rows, tie_positives = np.bincount(tie), np.bincount(tie, positive)
  tie_query = queries[_tie_starts(queries, margins)]
  better = np.cumsum(tie_rows) - tie_rows - starts[tie_query]  # Rows of the query above.
  positives = np.bincount(queries, positive)
  negatives = np.bincount(queries) - positives
  # Mann-Whitney: mean ranks, from the best, of the positive rows.
  rank_sum = np.bincount(tie_query, tie_positives * (better + (tie_rows + 1) / 2))
  countable = (positives > 0) & (negatives > 0)
  undefined = np.full(len(positives), np.nan)
  worse = positives * (positives + 1) / 2 + positives * negatives - rank_sum
  auc = np.divide(worse, positives * negatives, out=undefined.copy(), where=countable)
  # r positive rows among t of equal score: the first is expected at place (t + 1) / (r + 1).
  first = np.where(tie_positives > 0, better + (tie_rows + 1) / (tie_positives + 1), np.inf)
  rank = np.full(len(positives), np.inf)
  np.minimum.at(rank, tie_query, first)
  return auc, np.divide(1.0, rank, out=undefined, where=countable)


def by_query(
  queries: np.ndarray, targets: np.ndarray, margins: np.ndarray, relevant_target: float = 0.5, k: int = 10
) -> dict[str, np.ndarray]:
  """The measures of each query; their means over the queries that count are the model's.

      NDCG@k = DCG@k / ideal DCG@k,  DCG@k = Σ_{place <= k} target / log2(place + 1)

  Args:
    queries: int [n], the query's number from 0 on, each number used.
    targets: float [n] in [0, 1], classes or graded; the gain of a row.
    margins: float [n], the model's scores.
    relevant_target: target from which a row counts as relevant.
    k: places that NDCG counts.

  Returns:
    auc_by_query, ndcg@k and mrr, each float [num_queries], NaN where the query doesn't count.
  """
  targets = np.asarray(targets, np.float64)
  auc, reciprocal_rank = _auc_and_reciprocal_rank(
    queries, margins, metrics.relevant(targets, relevant_target).astype(np.float64)
  )
  return {'auc_by_query': auc, f'ndcg@{k}': _ndcg(queries, margins, targets, k), 'mrr': reciprocal_rank}
