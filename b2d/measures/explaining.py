"""Rows explained, for the shell: each word's contribution to a model's score, beside the teacher's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from b2d import config
from b2d.data import rows
from b2d.models import explanation
from b2d.models import trained

_FEATURES_SHOWN = 12


def explain(run_config: config.Explain) -> list[dict[str, Any]]:
  """Explains every row.

  Returns:
    Of each row 'texts' by field, and by 'model' and, where one is given, 'teacher' the `explanation.Explanation` and
    the probability as {'explanation', 'probability'}.

  Raises:
    ValueError: there is no such model, or it reads other texts.
  """
  models = {'model': trained.load(run_config.model)}
  if run_config.teacher:
    models['teacher'] = trained.load(run_config.teacher)
  for model in models.values():
    if model.fields != run_config.fields:
      raise ValueError(
        f'{model.folder}: the model reads {", ".join(model.fields)}, found {", ".join(run_config.fields)}; set '
        f'{" and ".join("--" + field for field in model.fields)}, or --text_columns of --files'
      )
  return [_row(models, texts) for texts in _texts(run_config)]


def _texts(run_config: config.Explain) -> list[dict[str, str]]:
  if run_config.text:
    return [{'text': text} for text in run_config.text]
  if run_config.title:
    return [{'query': run_config.query, 'title': title} for title in run_config.title]
  return [
    {field: batch[field][index].decode('utf-8', 'replace') for field in run_config.fields}
    for batch in rows.read(rows.expand(run_config.files), run_config.schema)
    for index in range(rows.size(batch))
  ]


def _row(models: Mapping[str, trained.Model], texts: dict[str, str]) -> dict[str, Any]:
  found: dict[str, Any] = {'texts': texts}
  for name, model in models.items():
    explained = model.explain(**texts)
    probability = np.ravel(model.probability({field: [text] for field, text in texts.items()}))
    found[name] = {
      'explanation': explained,
      'probability': float(probability[explained.decided if len(probability) > 1 else 0]),
    }
  return found


def shown(found: Mapping[str, Any]) -> str:
  """A row's explanation as text: the scores, then each word, then a student's strongest n-grams and matches."""
  names = [name for name in ('model', 'teacher') if name in found]
  explained: dict[str, explanation.Explanation] = {name: found[name]['explanation'] for name in names}
  lines = [f'{field}: {text}' for field, text in found['texts'].items()]
  for name in names:
    decided = f' of class {explained[name].decided}' if explained[name].decided != 1 else ''
    lines.append(
      f'{name}: probability{decided} {found[name]["probability"]:.3f}, log-odds {explained[name].log_odds:+.2f}'
    )
  lines += ['', f'  {"".join(f"{name:>9}" for name in names)}  contributed by']
  for parts in zip(*(explained[name].words for name in names)):
    lines.append(
      '  ' + ''.join(f'{part.contribution:>+9.2f}' for part in parts) + f'  {parts[0].kind}: {parts[0].name}'
    )
  features = sorted(explained['model'].features, key=lambda part: -abs(part.contribution))
  if features:
    lines += ['', f'strongest of {len(features)} n-grams and matches (^ stands where a text begins or ends)']
    lines += [f'  {part.contribution:>+9.2f}  {part.kind}: {part.name}' for part in features[:_FEATURES_SHOWN]]
  return '\n'.join(lines)
