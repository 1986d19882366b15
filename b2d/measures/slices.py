"""Slices: parts of the labelled rows that have something in common, and what each model is worth on them."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Set

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from b2d import config
from b2d.data import rows
from b2d.data import words
from b2d.measures import bootstrap
from b2d.measures import metrics

_MAX_REPEATS = 200  # Of a slice's intervals: there are many slices, and two digits are enough to read them.
_MAX_LABELS = 10  # More different grades are no classes.
_MAX_VALUES = 10  # Of a column: the rarer ones are one slice.


def word_sets(texts: Iterable[bytes]) -> list[Set[str]]:
  """The different words of each text, in lower case, without punctuation."""
  return [set(words.split_without_punctuation(text.decode('utf-8', 'replace').casefold())) for text in texts]


def of_rows(
  batch: Mapping[str, np.ndarray], schema: config.Schema, seen: Set[str] | None = None
) -> dict[str, pd.Categorical]:
  """Sorts rows into slices; what would give one slice alone is left out.

  Args:
    batch: the texts, 'label' and the columns to slice by, n rows.
    schema: what the labels are.
    seen: the words of the training rows, in lower case; None where they are not known.

  Returns:
    By what the rows are sorted: the slice of each row, [n].
  """
  found = {field: word_sets(batch[field]) for field in schema.fields}
  sliced = {f'words of the {field}': thirds(np.array([*map(len, sets)])) for field, sets in found.items()}
  first = schema.fields[0]
  sliced[f'digits in the {first}'] = _named(
    np.array([any(char.isdigit() for word in row for char in word) for row in found[first]]), ('none', 'some')
  )
  if len(schema.fields) == 2:
    counts = pd.Series(batch['query']).map(pd.Series(batch['query']).value_counts()).to_numpy()
    sliced['rows of the query (tail to head)'] = thirds(counts)
    lacked = np.array([len(query - title) for query, title in zip(found['query'], found['title'])])
    wanted = np.array([len(query) for query in found['query']])
    sliced["query's words in the title"] = _named(
      np.where(lacked == 0, 2, np.where(lacked < wanted, 1, 0)), ('none', 'some', 'all')
    )
  if seen is not None:
    for field, sets in found.items():
      sliced[f'words of the {field} unseen in training'] = _named(
        np.array([bool(row - seen) for row in sets]), ('none', 'some')
      )
  if len(np.unique(batch['label'])) <= _MAX_LABELS:
    names = label_names(batch['label'], schema)
    order = [names[np.flatnonzero(batch['label'] == value)[0]] for value in np.unique(batch['label'])]
    sliced['label'] = pd.Categorical(names, categories=list(dict.fromkeys(order)))
  sliced |= {name: _of_column(values) for name, values in batch.items() if name.startswith(rows.kept(''))}
  return {by: slices for by, slices in sliced.items() if len(slices.remove_unused_categories().categories) > 1}


def _of_column(values: np.ndarray) -> pd.Categorical:
  """Cells [n] of bytes or None: numbers of many values in thirds, else by value, the most frequent first."""
  found = pd.Series([None if value is None else value.decode('utf-8', 'replace') for value in values], dtype=object)
  numbers = pd.to_numeric(found, errors='coerce')
  if numbers.nunique() > _MAX_VALUES and numbers.notna().all():
    return thirds(numbers.to_numpy())
  found = found.replace('', None).fillna('(none)')
  names = list(found.value_counts().index)
  if len(names) > _MAX_VALUES:
    names = [*names[: _MAX_VALUES - 1], 'other']
  return pd.Categorical(found.where(found.isin(names), 'other'), categories=names)


def label_names(targets: np.ndarray, schema: config.Schema) -> list[str]:
  """Labels [n] as the files have them: names of classes, or grades in their range."""
  if schema.classes:
    return [schema.classes[int(target)] for target in targets]
  low, high = schema.label_range or (0.0, 1.0)
  return [f'{low + target * (high - low):.4g}' for target in np.asarray(targets, np.float64)]


def thirds(values: np.ndarray) -> pd.Categorical:
  """Numbers [n] in up to three slices of about as many rows, named by their lowest and highest number."""
  below = np.unique(values)[:-1]  # A number that most rows have is a slice, and all below it another.
  edges = np.minimum(np.quantile(values, [1 / 3, 2 / 3], method='inverted_cdf'), below.max(initial=values.min()))
  bins = np.searchsorted(np.unique(edges), values)
  names = {}
  for number in np.unique(bins):
    low, high = values[bins == number].min(), values[bins == number].max()
    names[number] = f'{low}' if low == high else f'{low} to {high}'
  return _named(np.searchsorted(list(names), bins), tuple(names.values()))


def _named(codes: np.ndarray, names: tuple[str, ...]) -> pd.Categorical:
  return pd.Categorical([names[code] for code in codes.astype(np.int64)], categories=np.array(names, object))


def measure(
  sliced: Mapping[str, pd.Categorical],
  targets: np.ndarray,
  queries: np.ndarray | None,
  logits: Mapping[str, np.ndarray],
  schema: config.Schema,
  num_repeats: int = 0,
) -> pd.DataFrame:
  """What each model is worth on each slice.

  Args:
    sliced: see `of_rows`.
    targets: float [n], the labels.
    queries: int [n], the query's number; None for single texts.
    logits: float [n, num_classes] by the model's name.
    schema: what the labels are.
    num_repeats: of the intervals, of which at most 200 are drawn; 0 for none.

  Returns:
    A row a slice: by, slice, rows, 'positive' (their share, of two classes), and of each model 'NAME accuracy', 'NAME
    interval' ([low, high] of 95 %, with repeats) and 'NAME auc' (of two classes; NaN without contrast).
  """
  right = {name: metrics.by_row(targets, each, schema.relevant_target)['accuracy'] for name, each in logits.items()}
  positive = metrics.relevant(targets, schema.relevant_target)
  drawn = bootstrap.Replicates(np.arange(len(targets)) if queries is None else queries, min(num_repeats, _MAX_REPEATS))
  lines = []
  for by, slices in sliced.items():
    for value in slices.categories:
      inside = np.asarray(slices == value)
      if not inside.any():
        continue
      line = {'by': by, 'slice': value, 'rows': int(inside.sum())}
      if schema.num_classes == 2:
        line['positive'] = float(positive[inside].mean())
      for name in logits:
        line[f'{name} accuracy'] = float(right[name][inside].mean())
        if num_repeats:
          line[f'{name} interval'] = bootstrap.interval(drawn.row_mean(np.where(inside, right[name], np.nan)))
        if schema.num_classes == 2:
          contrast = 0 < positive[inside].mean() < 1
          margins = metrics.margin(logits[name][inside])
          line[f'{name} auc'] = float(sklearn_metrics.roc_auc_score(positive[inside], margins)) if contrast else np.nan
      lines.append(line)
  return pd.DataFrame(lines)
