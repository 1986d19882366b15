"""The report of an evaluation: one HTML file that asks no network for anything, light and dark, for phone and print.

What it shows: the comparison, curves, thresholds, slices, and where the reference (the teacher) and each other model
part most, query by query and row by row. Scores are the probabilities that are served.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import html
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from sklearn import metrics as sklearn_metrics

from b2d import config
from b2d.measures import charts
from b2d.measures import comparison
from b2d.measures import markup
from b2d.measures import metrics
from b2d.measures import slices
from b2d.models import calibration
from b2d.models import explanation
from b2d.models import trained

_WORST_ROWS, _WORST_QUERIES = 20, 15
_ROWS_OF_QUERY = 3  # A query of fewer rows says more of the row than of the query.
_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_PRECISIONS = (0.8, 0.9, 0.95)


@dataclasses.dataclass(frozen=True)
class Scored:
  """Labelled rows, and what the models say of them.

  Attributes:
    batch: the texts, 'id' and 'label', n rows.
    queries: int [n], the query's number; None for single texts.
    logits: float [n, num_classes] by the model's name.
    calibrations: by the name of each model of two classes.
    schema: what the labels are.
  """

  batch: Mapping[str, np.ndarray]
  queries: np.ndarray | None
  logits: Mapping[str, np.ndarray]
  calibrations: Mapping[str, calibration.Calibration]
  schema: config.Schema

  def probabilities(self, name: str) -> np.ndarray:
    """What the model would serve: float [n] of the positive class, of more classes [n, num_classes]."""
    logits = self.logits[name]
    if self.schema.num_classes > 2:
      return special.softmax(logits.astype(np.float64), axis=1)
    return calibration.apply(self.calibrations[name], metrics.margin(logits))

  def distance(self, name: str, reference: str) -> np.ndarray:
    """How far the probabilities of two models part, float [n] in [0, 1]: |p - q|, of more classes Σ |p - q| / 2."""
    apart = np.abs(self.probabilities(name) - self.probabilities(reference))
    return apart.sum(axis=1) / 2 if apart.ndim == 2 else apart

  @property
  def names(self) -> list[str]:
    """The classes' names, or their indices."""
    return list(self.schema.classes) or [str(index) for index in range(self.schema.num_classes)]


def predictions(scored: Scored) -> pd.DataFrame:
  """Every row with id, texts, label, and of each model probability and logit (of more classes one each)."""
  columns: dict[str, Any] = {
    key: [text.decode('utf-8', 'replace') for text in scored.batch[key]] for key in ('id', *scored.schema.fields)
  }
  columns['label'] = slices.label_names(scored.batch['label'], scored.schema)
  for name, logits in scored.logits.items():
    if scored.schema.num_classes == 2:
      columns |= {f'{name} probability': scored.probabilities(name), f'{name} logit': metrics.margin(logits)}
      continue
    for index, label in enumerate(scored.names):
      columns |= {
        f'{name} probability of {label}': scored.probabilities(name)[:, index],
        f'{name} logit of {label}': logits[:, index],
      }
  return pd.DataFrame(columns)


def page(
  scored: Scored,
  compared: Mapping[str, Mapping[str, Any]],
  reference: str = '',
  num_repeats: int = 0,
  seen: set[str] | None = None,
  models: Mapping[str, trained.Model] | None = None,
) -> str:
  """The report as HTML.

  Args:
    scored: rows and logits.
    compared: what `comparison.compare` found of them.
    reference: name of the model that the others are held against; '' for none.
    num_repeats: of the slices' intervals; 0 for none.
    seen: words of the training rows, in lower case; None where they are not known.
    models: by their names: what the words of the rows shown contribute is then coloured.
  """
  schema, targets = scored.schema, scored.batch['label']
  measured = slices.measure(
    slices.of_rows(scored.batch, schema, seen), targets, scored.queries, scored.logits, schema, num_repeats
  )
  others = [name for name in scored.logits if name != reference] if reference else []
  sections = [
    f'<h1>Evaluation</h1><p>{len(targets):,} labelled rows. {_probability(scored)}</p>',
    markup.section('Comparison', markup.table(comparison.cells(compared, reference))),
    *(_curves(scored) if schema.num_classes == 2 else _confusions(scored)),
    markup.section('Slices', markup.table(_slice_cells(measured, list(scored.logits)))),
    *(section for name in others for section in _apart(scored, name, reference, (models or {}).get(name))),
  ]
  if not reference:
    sections.append('<p>Set --reference to see where a student and its teacher part.</p>')
  return markup.PAGE % '\n'.join(sections)


def _probability(scored: Scored) -> str:
  """What the scores are, in a sentence."""
  schema = scored.schema
  if schema.num_classes > 2:
    return 'A score is the probability of the class that the model decides for, as it is served.'
  return html.escape(f'A score is the probability, as it is served, of {schema.event}.')


def _curves(scored: Scored) -> list[str]:
  positive = metrics.relevant(scored.batch['label'], scored.schema.relevant_target)
  probabilities = {name: scored.probabilities(name) for name in scored.logits}
  pictures = charts.curves(probabilities, positive) | {'Reliability': calibration.diagram(probabilities, positive)}
  shown = ''.join(
    f'<figure><figcaption>{html.escape(title)}</figcaption>'
    f'<img alt="{html.escape(title)}" src="{charts.as_url(png)}"></figure>'
    for title, png in pictures.items()
  )
  lines = [['threshold', *(f'{name}: {what}' for name in probabilities for what in ('precision', 'recall'))]]
  for threshold in _THRESHOLDS:
    found = [_precision_and_recall(scores >= threshold, positive) for scores in probabilities.values()]
    lines.append([f'{threshold:g}', *(_number(value) for pair in found for value in pair)])
  wanted = [['precision wanted', *(f'{name}: {what}' for name in probabilities for what in ('threshold', 'recall'))]]
  for precision in _PRECISIONS:
    lowest = [_lowest_threshold(scores, positive, precision) for scores in probabilities.values()]
    wanted.append([f'{precision:g}', *(value for pair in lowest for value in pair)])
  return [
    markup.section('Curves', f'<div class="curves">{shown}</div>'),
    markup.section(
      'Thresholds', markup.table(lines) + '<p>The lowest threshold that reaches a precision:</p>' + markup.table(wanted)
    ),
  ]


def _precision_and_recall(taken: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
  right = float(np.sum(taken & positive))
  return (right / taken.sum() if taken.any() else np.nan), right / positive.sum()


def _lowest_threshold(scores: np.ndarray, positive: np.ndarray, wanted: float) -> tuple[str, str]:
  """Threshold and its recall, as shown; dashes where no threshold reaches the precision."""
  precision, recall, thresholds = sklearn_metrics.precision_recall_curve(positive, scores)
  reached = np.flatnonzero(precision[:-1] >= wanted)
  return (f'{thresholds[reached[0]]:.3f}', f'{recall[reached[0]]:.3f}') if len(reached) else ('–', '–')


def _confusions(scored: Scored) -> list[str]:
  labels = np.asarray(scored.batch['label']).astype(np.int64)
  sections = []
  for name, logits in scored.logits.items():
    decided, indices = metrics.decisions(logits), range(scored.schema.num_classes)
    counts = sklearn_metrics.confusion_matrix(labels, decided, labels=indices)
    f1 = sklearn_metrics.f1_score(labels, decided, labels=indices, average=None, zero_division=0)
    lines = [['label', *(f'decided {label}' for label in scored.names), 'F1']]
    for label, row, value in zip(scored.names, counts, f1):
      lines.append([label, *(f'{count:,}' for count in row), f'{value:.3f}'])
    sections.append(markup.section(f'Decisions of {name}', markup.table(lines)))
  return sections


def _slice_cells(measured: pd.DataFrame, names: Sequence[str]) -> list[list[str]]:
  lines = [['by', 'slice', 'rows', 'positive']]
  lines[0] += [f'{name}: {what}' for name in names for what in ('accuracy', 'AUC')]
  for row in measured.to_dict('records'):
    line = [row['by'], row['slice'], f'{row["rows"]:,}', _number(row.get('positive'), 2)]
    for name in names:
      low_high = row.get(f'{name} interval')
      brackets = f' [{low_high[0]:.3f}, {low_high[1]:.3f}]' if low_high else ''
      line += [_number(row[f'{name} accuracy']) + brackets, _number(row.get(f'{name} auc'))]
    lines.append(line)
  return lines


def _apart(scored: Scored, name: str, reference: str, model: trained.Model | None) -> list[str]:
  """Where a model and the reference part most, and where both miss the label: queries, then rows."""
  distance = scored.distance(name, reference)
  targets, target = scored.batch['label'], scored.schema.relevant_target
  right = {each: metrics.by_row(targets, scored.logits[each], target)['accuracy'] for each in (reference, name)}
  sections = []
  if scored.queries is not None:
    columns = {'query': scored.batch['query'], 'apart': distance, 'reference': right[reference], 'model': right[name]}
    by_query = pd.DataFrame(columns).groupby('query')
    found = by_query.mean().assign(rows=by_query.size())
    found = found[found['rows'] >= _ROWS_OF_QUERY].sort_values('apart', ascending=False).head(_WORST_QUERIES)
    lines = [['query', 'rows', 'mean difference', f'{reference}: accuracy', f'{name}: accuracy']]
    for row in found.reset_index().to_dict('records'):
      shown = [f'{row[each]:.3f}' for each in ('apart', 'reference', 'model')]
      lines.append([row['query'].decode('utf-8', 'replace'), f'{row["rows"]:.0f}', *shown])
    sections.append(markup.section(f'Queries on which {reference} and {name} part most', markup.table(lines)))
  worst = np.argsort(-distance, kind='stable')[:_WORST_ROWS]
  sections.append(
    markup.section(f'Rows on which {reference} and {name} part most', _rows(scored, worst, name, reference, model))
  )
  missed = np.flatnonzero((right[reference] == 0) & (right[name] == 0))
  losses = [metrics.by_row(targets, scored.logits[each], target)['log_loss'] for each in (reference, name)]
  loss = np.sum(losses, axis=0)
  missed = missed[np.argsort(-loss[missed], kind='stable')][:_WORST_ROWS]
  sections.append(
    markup.section(f'Rows whose label both {reference} and {name} miss', _rows(scored, missed, name, reference, model))
  )
  return sections


def _rows(scored: Scored, chosen: Iterable[int], name: str, reference: str, model: trained.Model | None) -> str:
  """Rows with their scores, the words coloured by what they contribute to the model's."""
  labels = slices.label_names(scored.batch['label'], scored.schema)
  lines = [[*scored.schema.fields, 'label', reference, name, 'id']]
  for index in chosen:
    texts = [scored.batch[field][index].decode('utf-8', 'replace') for field in scored.schema.fields]
    if model:
      texts = _coloured(model.explain(**dict(zip(scored.schema.fields, texts))), scored.schema.fields)
    scores = [_score(scored, each, index) for each in (reference, name)]
    lines.append([*texts, labels[index], *scores, scored.batch['id'][index].decode('utf-8', 'replace')])
  told = (
    f'<p>The stronger its colour, the more a word moves the score of {html.escape(name)}: green up, red down (of more '
    'classes: towards the class decided for).</p>'
  )
  return (told if model and len(lines) > 1 else '') + markup.table(lines)


def _coloured(explained: explanation.Explanation, fields: Iterable[str]) -> list[str]:
  """The words of each text on green or red; their contributions show under the pointer."""
  most = max((abs(part.contribution) for part in explained.words), default=0) or 1
  cells: list[str] = []
  for field in fields:
    spans = [
      f'<span title="{part.contribution:+.2f}" style="background: rgba('
      f'{"0, 160, 80" if part.contribution > 0 else "220, 40, 40"}, {abs(part.contribution) / most / 2:.2f})">'
      f'{html.escape(part.name)}</span>'
      for part in explained.words
      if part.kind == field
    ]
    cells.append(markup.Markup(' '.join(spans)))
  return cells


def _score(scored: Scored, name: str, index: int) -> str:
  found = scored.probabilities(name)[index]
  return f'{found:.3f}' if scored.schema.num_classes == 2 else f'{scored.names[found.argmax()]} {found.max():.3f}'


def _number(value: float | None, digits: int = 3) -> str:
  return '–' if value is None or np.isnan(value) else f'{value:.{digits}f}'
