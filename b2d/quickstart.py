"""The whole method on a generated shop: teacher, soft labels, student, baseline, SavedModel.

    python -m b2d.quickstart --output_dir=runs/quickstart

The steps are those of flags/recipes/quickstart/; the command of each is printed, so that it can be repeated by hand.
What is finished is not run again.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import json
import os
import shlex
from typing import Any

from b2d import config
from b2d import recipes
from flags import binary
from flags import recipe_folders

_SHOWN_QUERIES = 3
_TITLES_SHOWN = 3


def table(evaluation: str) -> str:
  """Teacher, student and baseline side by side, from `metrics.json` of `b2d.evaluate`."""
  from b2d import runs  # Only now: TensorFlow takes seconds to import.
  from b2d.measures import markdown

  models = runs.read_json(os.path.join(evaluation, 'metrics.json'))['models']
  names = {'teacher': 'teacher (BERT)', 'student': 'student, distilled', 'baseline': 'student, hard labels alone'}
  lines = [
    [
      shown,
      f'{models[name]["auc"]:.3f}',
      f'{models[name]["accuracy"]:.1%}',
      f'{models[name]["accuracy"] / models["teacher"]["accuracy"]:.1%}',
      f'{1e6 / models[name]["rows_per_sec"]:,.0f}',
    ]
    for name, shown in names.items()
  ]
  return markdown.table(['model', 'AUC', 'accuracy', "of the teacher's accuracy", 'µs a pair'], lines)


def unseen_titles(test_file: str) -> dict[str, list[str]]:
  """A few queries of the test split, each with its titles."""
  with open(test_file, encoding='utf-8') as file:
    rows = [line.rstrip('\n').split('\t') for line in list(file)[1:400]]
  queries = list(dict.fromkeys(row[1] for row in rows))[:_SHOWN_QUERIES]
  return {query: [row[2] for row in rows if row[1] == query] for query in queries}


def side_by_side(evaluation: str, queries: Iterable[str]) -> str:
  """What the models say of the student's best titles of each query, and of the rows furthest from its teacher.

  Args:
    evaluation: run folder of `b2d.evaluate --predictions`.
    queries: of which the titles are shown.
  """
  import pandas as pd  # Only now, as above.

  found = pd.read_parquet(os.path.join(evaluation, 'predictions.parquet'))
  lines = ['  grade  teacher  student  hard labels alone']
  for query in queries:
    lines.append(f'{query!r}')
    best = found[found['query'] == query].sort_values('student probability', ascending=False, kind='stable')
    lines += [_scores(row) + row['title'] for row in best.head(_TITLES_SHOWN).to_dict('records')]
  apart = (found['student probability'] - found['teacher probability']).abs()
  lines.append('Where the student is furthest from its teacher:')
  furthest = found.loc[apart.sort_values(ascending=False, kind='stable').index[:_TITLES_SHOWN]]
  lines += [f'{_scores(row)}{row["query"]!r}: {row["title"]}' for row in furthest.to_dict('records')]
  return '\n'.join(lines)


def _scores(row: Mapping[Any, Any]) -> str:
  scores = [row[f'{name} probability'] for name in ('teacher', 'student', 'baseline')]
  return f'  {row["label"]:<5}  {scores[0]:<7.3f}  {scores[1]:<7.3f}  {scores[2]:.3f}  '


def next_commands(folder: str, query: str, titles: list[str]) -> str:
  """What can be done with the runs in `folder`: commands to paste in the folder that this runs in."""
  python = recipes.python()
  rows = json.dumps({'instances': [{'query': query, 'title': title} for title in titles]})
  flags_of_query = ' '.join(map(shlex.quote, (f'--query={query}', *(f'--titles={title}' for title in titles))))
  return f"""watch how they trained:

    {python} -m tensorboard.main --logdir={folder}

serve the student, on this machine alone:

    {python} -m serving.server --model_base_path={folder}/export

then, from another terminal (or open http://localhost:8501/):

    curl -d {shlex.quote(rows)} http://localhost:8501/v1/models/student:predict
    {python} -m serving.query {flags_of_query}"""


def quickstart(run_config: config.Quickstart) -> dict[str, str]:
  """Generates the shop and runs the steps, or what is left of them; returns the shop's files by name."""
  from b2d.data import synthetic

  folder = run_config.output_dir
  shop = synthetic.write_shop(os.path.join(folder, 'shop'), synthetic.ShopConfig())
  for arguments in recipes.steps(recipe_folders.folder('quickstart'), os.path.join(folder, 'shop'), folder):
    recipes.run(arguments)
  return shop


def show(run_config: config.Quickstart, shop: dict[str, str]) -> str:
  """What came of it, and what can be done with it."""
  folder = run_config.output_dir
  titles_of_query = unseen_titles(shop['test'])
  query, titles = next(iter(titles_of_query.items()))
  return f"""
The first queries of the test split, which no step has seen, with the student's {_TITLES_SHOWN} best titles of each:

{side_by_side(os.path.join(folder, 'evaluation'), titles_of_query)}

On {shop['test']} (unseen queries; time: batches, in this process, on this machine):

{table(os.path.join(folder, 'evaluation'))}

Curves, slices and more such rows, the words coloured by what they contribute: {folder}/evaluation/report.html
Everything lies in {folder}: teacher/ soft_labels/ student/ baseline/ evaluation/ export/

{next_commands(folder, query, titles[:_TITLES_SHOWN])}"""


if __name__ == '__main__':
  binary.run(config.Quickstart, quickstart, show)
