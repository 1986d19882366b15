r"""Scores query–title pairs with a model of another library, for `b2d.label --scores_columns` to import.

    python docs/examples/cross_encoder.py --train=train.tsv --rows=rows.tsv --output=scored.jsonl
    python -m b2d.label --input_files=scored.jsonl --text_columns=query,title --label_column=label \
        --scores_columns=p_relevant --output_dir=runs/mine/cross_encoder

`rows.tsv` may have labels or not: those that it has are kept, and the import says how far they agree with the scores.

The model is a stand-in that needs no download: a logistic regression of scikit-learn on the pieces of words that query
and title share. Of a cross-encoder `score` alone is another:

    model = sentence_transformers.CrossEncoder('cross-encoder/ms-marco-MiniLM-L6-v2')
    scores = model.predict(list(zip(rows['query'], rows['title'])))  # Logits: import with --scores_kind=logit.
"""

import argparse
import csv

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn import linear_model
from sklearn import pipeline
from sklearn import preprocessing
from sklearn.feature_extraction import text


def read(path: str) -> pd.DataFrame:
  """The cells as they stand: nothing is guessed to be a number or missing."""
  return pd.read_csv(path, sep='\t', quoting=csv.QUOTE_NONE, dtype=str, keep_default_na=False)


def score(train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
  """Probability that the title is relevant, float [rows]."""
  train = train[train['label'] != '']
  vectorizer = text.TfidfVectorizer(analyzer='char_wb', ngram_range=(2, 4), sublinear_tf=True)
  vectorizer.fit([*train['query'], *train['title']])

  def features(pairs: pd.DataFrame):
    shared = vectorizer.transform(pairs['query']).multiply(vectorizer.transform(pairs['title'])).tocsr()
    return sparse.hstack([shared, shared.sum(axis=1)]).tocsr()

  model = pipeline.make_pipeline(preprocessing.MaxAbsScaler(), linear_model.LogisticRegression(max_iter=300))
  model.fit(features(train), train['label'].astype(int))
  return model.predict_proba(features(rows))[:, 1]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--train', required=True, help='TSV with query, title and label, 0 or 1.')
  parser.add_argument('--rows', required=True, help='TSV with query and title.')
  parser.add_argument('--output', required=True, help='JSON Lines: the rows, and p_relevant.')
  arguments = parser.parse_args()
  rows = read(arguments.rows)
  rows['p_relevant'] = score(read(arguments.train), rows)
  rows.to_json(arguments.output, orient='records', lines=True, force_ascii=False)
  print(f'{arguments.output}: {len(rows)} rows scored')


if __name__ == '__main__':
  main()
