"""Why a row scored as it did: what the score loses when a word, an n-gram or a match is left out. Exact, one at a time.

A *contribution* is the log-odds of the row less the log-odds of the row without the part, both as the model scores
them; of two classes those of the positive class, the logit that is served, of more those of the class decided for.
Contributions need not add up: a model is no sum of its words.

A word is left out of the text, which any model can be asked about. An n-gram or a match is left out of a student's
bags, and all else stays: that tells what a word does by itself, in its n-grams, and as a match of query and title.
"""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
from scipy import special
import tensorflow as tf

from b2d.data import words
from b2d.models import ngrams
from b2d.models import student


class Part(NamedTuple):
  """A part of a row: where it is ('query', 'title', 'text' or 'matches'), what it is, and its contribution."""

  kind: str
  name: str
  contribution: float


class Explanation(NamedTuple):
  """What made a score.

  Attributes:
    log_odds: of the row; with two classes the logit as it is served, before any calibration.
    decided: the class that they are of: 1 of two classes, else the one decided for.
    words: the words of all texts, in their order.
    features: n-grams and matches of a student, in their order; none of other models, nor of a student that sees
      n-grams in their places, as a convolution and a soft match do.
  """

  log_odds: float
  decided: int
  words: list[Part]
  features: list[Part]


def explain(
  predict_logits: Callable[[Mapping[str, np.ndarray]], np.ndarray], texts: Mapping[str, str], keras: Any = None
) -> Explanation:
  """Explains one row.

  Args:
    predict_logits: texts by field, object arrays [n] of bytes → logits float [n, num_classes].
    texts: the row's text by field.
    keras: the `StudentModel` behind `predict_logits`, if it is one.
  """
  places, variants = [], [dict(texts)]
  for field, whole in texts.items():
    split = words.split(whole)
    for index, word in enumerate(split):
      places.append((field, word.strip()))
      variants.append({**texts, field: ''.join(split[:index] + split[index + 1 :]).strip()})
  batch = {field: np.array([variant[field].encode() for variant in variants], object) for field in texts}
  logits = predict_logits(batch)
  decided = 1 if logits.shape[1] == 2 else int(logits[0].argmax())
  log_odds = _log_odds(logits, decided)
  of_words = [Part(*place, float(log_odds[0] - without)) for place, without in zip(places, log_odds[1:])]
  features = []
  if isinstance(keras, student.StudentModel) and not keras.sees_places:
    features = _features(keras, texts, decided)
  return Explanation(float(log_odds[0]), decided, of_words, features)


def _log_odds(logits: np.ndarray, index: int) -> np.ndarray:
  """log p / (1 - p) of a class, float64 [n], of logits [n, num_classes]."""
  logits = logits.astype(np.float64)
  return logits[:, index] - special.logsumexp(np.delete(logits, index, axis=1), axis=1)


def _features(model: student.StudentModel, texts: Mapping[str, str], decided: int) -> list[Part]:
  """Scores the row's bags whole, and once without each of their members."""
  tensors = [tf.constant([texts[field].encode()]) for field in model.fields]
  bags = ngrams.bags(tensors, model.settings)
  kinds = bags.segment_ids.numpy()  # Of a single row a bag's number is its kind.
  num_members = len(kinds)
  row, member = np.divmod(np.arange((num_members + 1) * num_members), num_members)
  kept = row != member + 1  # Row 0 is whole.
  row, member = row[kept], member[kept]
  segments = kinds[member] * (num_members + 1) + row
  order = np.argsort(segments, kind='stable')
  without = ngrams.Bags(
    tf.constant(member[order]),
    tf.constant(segments[order]),
    tf.constant(len(model.kinds) * (num_members + 1), tf.int64),
  )
  ready = model.poolable(tf.gather(model.table, bags.ids))
  logits = model.logits_of_poolable(ready, without, model.dense).numpy()
  if model.num_classes == 2:
    logits = np.stack([np.zeros_like(logits), logits], axis=1)
  log_odds = _log_odds(logits, decided)
  names = ngrams.names(tensors, bags, model.settings)
  return [
    Part(model.kinds[kind], name, float(log_odds[0] - each)) for kind, name, each in zip(kinds, names, log_odds[1:])
  ]
