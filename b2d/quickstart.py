"""The whole method on a generated shop: teacher, soft labels, student, baseline, SavedModel.

    python -m b2d.quickstart --output_dir=runs/quickstart

The steps are those of flags/recipes/quickstart/; the command of each is printed, so that it can be repeated by hand.
What is finished is not run again.
"""

import json
import os
import shlex

from absl import flags
import tensorflow as tf

from b2d import recipes
from b2d import runs
from b2d.data import synthetic
from b2d.models import scoring
from flags import quickstart_flags
from flags import recipe_flags

flags.adopt_module_key_flags(quickstart_flags)

_SHOWN_QUERIES = 3
_TITLES_SHOWN = 3


def table(evaluation: str) -> str:
  """Teacher, student and baseline side by side, from `metrics.json` of `b2d.evaluate`."""
  models = runs.read_json(os.path.join(evaluation, 'metrics.json'))['models']
  names = {'teacher': 'teacher (BERT)', 'student': 'student, distilled', 'baseline': 'student, hard labels alone'}
  lines = ["| model | AUC | accuracy | of the teacher's accuracy | µs a pair |", '|---|---|---|---|---|']
  for name, shown in names.items():
    values = models[name]
    lines.append(
      f'| {shown} | {values["auc"]:.3f} | {values["accuracy"]:.1%} | '
      f'{values["accuracy"] / models["teacher"]["accuracy"]:.1%} | {1e6 / values["rows_per_sec"]:,.0f} |'
    )
  return '\n'.join(lines)


def unseen_titles(test_file: str) -> dict[str, list[str]]:
  """A few queries of the test split, each with its titles."""
  with tf.io.gfile.GFile(test_file) as file:
    rows = [line.rstrip('\n').split('\t') for line in list(file)[1:400]]
  queries = list(dict.fromkeys(row[1] for row in rows))[:_SHOWN_QUERIES]
  return {query: [row[2] for row in rows if row[1] == query] for query in queries}


def score_some(export: str, titles_of_query: dict[str, list[str]]) -> str:
  """Ranks the titles of each query by the exported SavedModel, as a server would call it."""
  model = tf.saved_model.load(os.path.join(export, str(scoring.versions(export)[-1])))
  lines = []
  for query, titles in titles_of_query.items():
    scores = model.signatures['serving_default'](query=tf.constant([query] * len(titles)), title=tf.constant(titles))[
      'probability'
    ].numpy()
    lines.append(f'{query!r}')
    lines += [f'  {score:.3f}  {title}' for score, title in sorted(zip(scores, titles), reverse=True)[:_TITLES_SHOWN]]
  return '\n'.join(lines)


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


def main(argv: list[str]) -> None:
  del argv
  folder = quickstart_flags.OUTPUT_DIR.value
  shop = synthetic.write_shop(os.path.join(folder, 'shop'), synthetic.ShopConfig())
  export = os.path.join(folder, 'export')
  for arguments in recipes.steps(recipe_flags.folder('quickstart'), os.path.join(folder, 'shop'), folder):
    recipes.run(arguments)
  print('\nA few queries of the test split, which no step has seen, ranked by the exported SavedModel:\n')
  titles_of_query = unseen_titles(shop['test'])
  print(score_some(export, titles_of_query))
  print(f'\nOn {shop["test"]} (unseen queries; time: batches, in this process, on this machine):\n')
  print(table(os.path.join(folder, 'evaluation')))
  query, titles = next(iter(titles_of_query.items()))
  print(f'\nEverything lies in {folder}: teacher/ soft_labels/ student/ baseline/ evaluation/ export/\n')
  print(next_commands(folder, query, titles[:_TITLES_SHOWN]))


if __name__ == '__main__':
  runs.run(main)
