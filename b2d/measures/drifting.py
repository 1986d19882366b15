"""Drift: whether live rows still look like the reference, to the model and in their n-grams."""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from absl import logging
import numpy as np
from scipy import stats
import tensorflow as tf

from b2d import config
from b2d import remembered
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.measures import markdown
from b2d.models import student
from b2d.models import trained

_BINS = 10
_SIGNIFICANT = 0.01
_BATCH_ROWS = 8192
_SIDES = ('reference', 'live')


def drift(run_config: config.Drift) -> dict[str, Any]:
  """Compares both sides.

  Returns:
    What metrics.json holds: psi, ks and ks_p_value of the scores; by side rows, mean_score, and where they are known
    unseen_ngrams (share) and agreement; 'exceeded', the names of the thresholds that are.

  Raises:
    ValueError: rows, models or run folder are not what the configuration says.
  """
  return runs.once(run_config, _drift, remake=True)


def _drift(run_config: config.Drift) -> dict[str, Any]:
  bad_rows = blocks.BadRows(run_config.schema.max_bad_rows)
  if run_config.model:
    schema = remembered.complete(run_config.schema, [run_config.model], labelled=False)
    model = trained.load(run_config.model)
    sides = {side: _of_model(run_config, schema, model, getattr(run_config, side), bad_rows) for side in _SIDES}
  else:
    sides = {side: _of_column(run_config, getattr(run_config, side), bad_rows) for side in _SIDES}
  bad_rows.write(run_config.output_dir)
  scores = [sides[side].pop('scores') for side in _SIDES]
  test = stats.ks_2samp(*(each if each.ndim == 1 else each.max(axis=1) for each in scores))
  result: dict[str, Any] = {
    'psi': population_stability_index(*_counts(*scores)),
    'ks': float(test.statistic),
    'ks_p_value': float(test.pvalue),
    **{f'{name}_{side}': value for side in _SIDES for name, value in sides[side].items()},
    **bad_rows.counted(),
  }
  result['exceeded'] = [name for name, value, highest in _held_against(run_config, result) if value > highest]
  runs.write_text(os.path.join(run_config.output_dir, 'table.md'), table(run_config, result))
  return result


def population_stability_index(reference: np.ndarray, live: np.ndarray) -> float:
  """Σ_b (q_b - p_b) · ln(q_b / p_b), of the shares p and q of two counts by bin, each half a row up."""
  p, q = ((counts + 0.5) / np.sum(counts + 0.5) for counts in (reference, live))
  return float(np.sum((q - p) * np.log(q / p)))


def _counts(reference: np.ndarray, live: np.ndarray) -> list[np.ndarray]:
  """Rows of both sides in each tenth of the reference's scores [n]; of probabilities [n, num_classes] by decision."""
  if reference.ndim == 2:
    return [np.bincount(each.argmax(axis=1), minlength=each.shape[1]) for each in (reference, live)]
  edges = np.unique(np.quantile(reference, np.arange(1, _BINS) / _BINS))
  return [np.bincount(np.searchsorted(edges, each), minlength=len(edges) + 1) for each in (reference, live)]


def _held_against(run_config: config.Drift, result: Mapping[str, Any]) -> list[tuple[str, float, float]]:
  """Name, value and threshold of all that was measured."""
  significant = result['ks'] if result['ks_p_value'] < _SIGNIFICANT else 0.0
  held = [('max_psi', result['psi'], run_config.max_psi), ('max_ks', significant, run_config.max_ks)]
  for name, measure, sign in (('max_unseen_rise', 'unseen_ngrams', 1), ('max_agreement_loss', 'agreement', -1)):
    if f'{measure}_live' in result:
      rise = sign * (result[f'{measure}_live'] - result[f'{measure}_reference'])
      held.append((name, rise, getattr(run_config, name)))
  return held


def _of_column(run_config: config.Drift, patterns: tuple[str, ...], bad_rows: blocks.BadRows) -> dict[str, Any]:
  """As `_of_model`, of scores made before."""
  column = run_config.scores_column
  schema = dataclasses.replace(run_config.schema, text_columns=(column,), id_column='', label_column='')
  scores = _sample(rows.expand(patterns), schema, run_config.max_rows, bad_rows, column)['scores'][:, 0]
  return {'scores': scores, 'rows': len(scores), 'mean_score': float(scores.mean())}


def _of_model(
  run_config: config.Drift,
  schema: config.Schema,
  model: trained.Model,
  patterns: tuple[str, ...],
  bad_rows: blocks.BadRows,
) -> dict[str, Any]:
  """What a side looks like: 'scores', [n] or [n, num_classes], and the measures that it has by itself."""
  batch = _sample(rows.expand(patterns), schema, run_config.max_rows, bad_rows)
  scores = model.probability(batch)
  found = {
    'scores': scores,
    'rows': len(scores),
    'mean_score': float(np.mean(scores if scores.ndim == 1 else scores.max(1))),
  }
  if model.kind == 'student':
    found['unseen_ngrams'] = unseen_ngrams(model.keras, batch)
  if run_config.teacher:
    few = rows.take(batch, np.unique(np.linspace(0, len(scores) - 1, run_config.teacher_rows).astype(np.int64)))
    decided = [_decisions(each.probability(few)) for each in (model, trained.load(run_config.teacher))]
    found['agreement'] = float(np.mean(decided[0] == decided[1]))
  return found


def _decisions(probability: np.ndarray) -> np.ndarray:
  return probability.argmax(axis=1) if probability.ndim == 2 else probability >= 0.5


def _sample(
  files: list[str], schema: config.Schema, max_rows: int, bad_rows: blocks.BadRows, scores_column: str = ''
) -> rows.Batch:
  """Every so manyth row of the files, `max_rows` at most (0: all): its texts, or its score alone."""
  total = rows.count(files, schema)
  step = -(-total // max_rows) if max_rows else 1
  names = ('scores',) if scores_column else schema.fields
  scores_columns = (scores_column,) if scores_column else ()
  kept, seen = [], 0
  for batch in rows.read(files, schema, _BATCH_ROWS, scores_columns, bad_rows):
    # Indices and not a slice, which would hold on to the whole batch.
    wanted = np.arange(-seen % step, rows.size(batch), step)
    kept.append({name: batch[name][wanted] for name in names})
    seen += rows.size(batch)
  logging.info('%s: %d of %d rows', ', '.join(files), sum(map(rows.size, kept)), seen)
  return rows.concatenate(kept)


def unseen_ngrams(model: student.StudentModel, batch: rows.Batch) -> float:
  """The share of a batch's n-grams that the student was never trained on, as its table tells.

  An n-gram that was trained on has moved its row; one that was not hits such a row all the same as often as rows were
  moved: of u unseen ones, u · (1 - share of rows moved) show.
  """
  moved = model.moved_rows()[: model.settings.num_buckets]
  if moved.all():
    logging.warning('every row of the table was trained: unseen n-grams show in none; raise --num_buckets')
    return 0.0
  untouched = total = 0
  for start in range(0, rows.size(batch), _BATCH_ROWS):
    texts = {field: tf.constant(batch[field][start : start + _BATCH_ROWS], tf.string) for field in model.fields}
    ids = model.featurize(texts).ids.numpy()
    ids = ids[ids < len(moved)]  # Matches have regions of their own.
    untouched += int(np.sum(~moved[ids]))
    total += len(ids)
  return min(1.0, untouched / max(total, 1) / float(np.mean(~moved)))


def table(run_config: config.Drift, result: Mapping[str, Any]) -> str:
  """What was found, in Markdown, and what of it exceeds its threshold."""
  lines = [['scores: population stability index', '', '', f'{result["psi"]:.3f}']]
  lines.append(['scores: Kolmogorov-Smirnov distance', '', '', f'{result["ks"]:.3f} (p = {result["ks_p_value"]:.2g})'])
  for measure, shown, digits in (
    ('rows', 'rows', 0),
    ('mean_score', 'mean score', 3),
    ('unseen_ngrams', 'n-grams never trained on', 3),
    ('agreement', 'decided as the teacher', 3),
  ):
    if f'{measure}_live' in result:
      sides = [result[f'{measure}_{side}'] for side in _SIDES]
      lines.append([shown, *(f'{value:,.{digits}f}' for value in sides), f'{sides[1] - sides[0]:+,.{digits}f}'])
  exceeded = [
    f'{value:.3f} is above --{name}={highest:g}'
    for name, value, highest in _held_against(run_config, result)
    if value > highest
  ]
  verdict = 'DRIFT: ' + '; '.join(exceeded) if exceeded else 'no drift: all within the thresholds'
  return markdown.table(['', *_SIDES, 'difference'], lines) + f'\n{verdict}\n'
