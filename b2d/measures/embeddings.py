"""The student's vectors of a corpus' n-grams: for TensorBoard's projector, and their neighbourhoods.

N-grams share rows of the hashed table. An n-gram's *own share* is its part of all that falls on its row in the corpus:
1 where no other does, near 0 where its vector was learnt from others.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import csv
import dataclasses
import io
import os
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.measures import markdown
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import ngrams
from b2d.models import student
from b2d.models import trained

_PROJECTOR = """embeddings {
  tensor_name: "n-grams"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""
_LEAST_LENGTH = 1e-9


def project_embeddings(run_config: config.ProjectEmbeddings) -> dict[str, Any]:
  """Writes the projector's files, and finds the neighbours.

  Returns:
    What metrics.json holds: ngrams (their number), rows_in_use (share of the table's rows that the corpus' n-grams
    fall on), collisions (share of n-gram occurrences that fall on a row of which another n-gram has more), and
    'neighbors', by word {'own_share', 'nearest': [{'ngram', 'cosine', 'count', 'teacher', 'own_share'}]}.

  Raises:
    ValueError: model, soft labels or run folder are not what the configuration says.
  """
  model = trained.load(run_config.model)
  if not isinstance(model.keras, student.StudentModel):
    raise ValueError(
      f'{run_config.model}: expected a run of b2d.distill, found a {model.kind}; only students have n-grams'
    )
  fields = soft_labels.read_manifest(run_config.soft_labels[0]).fields
  if fields != model.fields:
    raise ValueError(
      f'{run_config.soft_labels[0]}: expected {", ".join(model.fields)} as {run_config.model} reads, found '
      f'{", ".join(fields)}; name its own soft labels'
    )
  folder = runs.start(run_config)
  batches = soft_labels.read(run_config.soft_labels, seed=0, max_rows=run_config.max_rows)
  counted = count_ngrams(model.keras, model.run.schema, batches)
  frequent = counted.nlargest(run_config.max_ngrams, 'count')
  table = model.keras.table.numpy()[:, model.keras.settings.weighted_pooling :]
  _write_projector(folder, frequent, table)
  result = {
    'ngrams': len(counted),
    'rows_in_use': counted['row'].nunique() / model.keras.settings.num_buckets,
    'collisions': float(counted['count'][~counted['leads']].sum() / counted['count'].sum()),
    'neighbors': {
      word: nearest(word, model.keras, counted, frequent, table, run_config.num_neighbors)
      for word in run_config.neighbors_of
    },
  }
  runs.write_text(os.path.join(folder, 'table.md'), shown(result))
  runs.write_metrics(folder, result)
  return result


def count_ngrams(model: student.StudentModel, schema: config.Schema, batches: Iterable[rows.Batch]) -> pd.DataFrame:
  """The n-grams of soft labels.

  Returns:
    By n-gram: 'row' of the table, 'count', 'teacher' (mean probability of the rows that hold it, of more than two
    classes that of the last class), 'own_share' in (0, 1], and 'leads', whether no other of its row has more.
  """
  parts = []
  for batch in batches:
    texts = [tf.constant(batch[field], tf.string) for field in model.fields]
    bags = ngrams.bags(texts, model.settings)
    names = ngrams.ngram_names(texts, model.settings)
    ids, segments = (each.numpy()[: len(names)] for each in (bags.ids, bags.segment_ids))
    columns = {'ngram': names, 'row': ids, 'count': 1, 'teacher': _teacher(batch, schema)[segments % rows.size(batch)]}
    parts.append(_summed(pd.DataFrame(columns)))
  counted = _summed(pd.concat(parts)).set_index('ngram')
  counted['teacher'] /= counted['count']
  of_row = counted.groupby('row')['count']
  counted['own_share'] = counted['count'] / of_row.transform('sum')
  counted['leads'] = counted['count'] == of_row.transform('max')
  return counted


def _summed(found: pd.DataFrame) -> pd.DataFrame:
  return found.groupby(['ngram', 'row'], as_index=False).sum()


def _teacher(batch: rows.Batch, schema: config.Schema) -> np.ndarray:
  """The teacher's probability, float [n], of the mean of the teachers' logits."""
  logits = batch['logits'].mean(axis=1)
  if logits.shape[1] > 2:
    return special.softmax(logits, axis=1)[:, -1]
  return calibration.apply(calibration.unfitted(schema), metrics.margin(logits))


def nearest(
  word: str, model: student.StudentModel, counted: pd.DataFrame, frequent: pd.DataFrame, table: np.ndarray, number: int
) -> dict[str, Any]:
  """The n-grams among the frequent ones whose vectors have the highest cosine with a word's: see `project_embeddings`.

  A word that the corpus lacks has the own share 0: its vector is chance, or another's.
  """
  row = int(ngrams.unigram_ids(tf.constant([word]), model.settings)[0])
  name = ngrams.ngram_names([tf.constant([word])], dataclasses.replace(model.settings, ngram_orders=(1,)))[-1]
  others = frequent[frequent.index != name]
  vectors = table[others['row']]
  lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(table[row])
  others = others.assign(cosine=vectors @ table[row] / np.maximum(lengths, _LEAST_LENGTH)).nlargest(number, 'cosine')
  own = float(counted['own_share'].get(name, 0.0))
  columns = others.reset_index()[['ngram', 'cosine', 'count', 'teacher', 'own_share']]
  return {'own_share': own, 'nearest': columns.to_dict('records')}


def _write_projector(folder: str, frequent: pd.DataFrame, table: np.ndarray) -> None:
  vectors = io.StringIO()
  np.savetxt(vectors, table[frequent['row']], fmt='%.5g', delimiter='\t')
  runs.write_text(os.path.join(folder, 'vectors.tsv'), vectors.getvalue())
  metadata = frequent[['count', 'teacher', 'own_share']].to_csv(sep='\t', float_format='%.3f', quoting=csv.QUOTE_NONE)
  runs.write_text(os.path.join(folder, 'metadata.tsv'), metadata)
  runs.write_text(os.path.join(folder, 'projector_config.pbtxt'), _PROJECTOR)


def shown(result: Mapping[str, Any]) -> str:
  """The neighbourhoods in Markdown, and how much of them is hash collision."""
  lines = []
  for word, found in result['neighbors'].items():
    lines.append([word, '', '', '', '', f'{found["own_share"]:.0%}'])
    for near in found['nearest']:
      numbers = [f'{near["cosine"]:.2f}', f'{near["count"]:,}', f'{near["teacher"]:.2f}', f'{near["own_share"]:.0%}']
      lines.append(['', near['ngram'], *numbers])
    mean = np.mean([1 - near['own_share'] for near in found['nearest']])
    lines.append(['', '(of them collision)', '', '', '', f'{mean:.0%}'])
  header = ['word', 'nearest n-gram', 'cosine', 'count', 'teacher', 'own share of its row']
  told = (
    f'{result["ngrams"]:,} n-grams on {result["rows_in_use"]:.1%} of the rows; {result["collisions"]:.1%} of what the '
    'texts hold falls on a row of which another n-gram has more.\n'
  )
  return told + ('\n' + markdown.table(header, lines, 2) if lines else '')
