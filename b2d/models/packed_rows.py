"""What an encoder computes of packed rows: in batches of like length, and of rows that are the same once."""

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf


def compute(
  function: Callable[[tf.RaggedTensor, np.ndarray], tf.Tensor],
  width: int,
  ids: tf.RaggedTensor,
  max_tokens: int,
  report: Callable[[int], Any],
) -> np.ndarray:
  """`function` of every row.

  Args:
    function: all packed rows, and which of them, int64 [k] → float [k, width].
    width: of its result.
    ids: int32 [n, None], the packed rows.
    max_tokens: padded word pieces a batch.
    report: told the number of rows of each batch that is done.

  Returns:
    float32 [n, width].
  """
  first, of_row, counts = _distinct(ids)
  lengths = ids.row_lengths().numpy()[first]
  values = np.empty([len(first), width], np.float32)
  for chosen in _cut_by_tokens(np.argsort(lengths, kind='stable'), lengths, max_tokens):
    values[chosen] = function(ids, first[chosen]).numpy()
    report(int(counts[chosen].sum()))
  return values[of_row]


def _distinct(ids: tf.RaggedTensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Of m different rows the first of each, which of them each row is, int64 [n], and how often each stands there."""
  pieces, splits = ids.values.numpy(), ids.row_splits.numpy()
  of_row, _ = pd.factorize(np.array([pieces[start:end].tobytes() for start, end in zip(splits, splits[1:])], object))
  _, first, counts = np.unique(of_row, return_index=True, return_counts=True)
  return first, of_row, counts


def _cut_by_tokens(order: np.ndarray, lengths: np.ndarray, max_tokens: int) -> Iterator[np.ndarray]:
  """Cuts rows sorted by length into batches of up to `max_tokens` padded tokens (or one row)."""
  start = 0
  for end in range(1, len(order) + 1):
    if end == len(order) or (end + 1 - start) * lengths[order[end]] > max_tokens:
      yield order[start:end]
      start = end
