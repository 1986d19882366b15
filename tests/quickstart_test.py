"""The quickstart's table comes from the evaluation; the commands that it proposes can be pasted."""

import json
import os
import shlex

from absl.testing import absltest
import pandas as pd

from b2d import quickstart
from b2d import runs


class TableTest(absltest.TestCase):
  def test_rows(self):
    folder = self.create_tempdir().full_path
    runs.write_metrics(
      folder,
      {
        'models': {
          'baseline': {'auc': 0.71, 'accuracy': 0.6, 'rows_per_sec': 1e5},
          'student': {'auc': 0.88, 'accuracy': 0.78, 'rows_per_sec': 1e5},
          'teacher': {'auc': 0.9, 'accuracy': 0.8, 'rows_per_sec': 250.0},
        }
      },
    )
    self.assertEqual(
      quickstart.table(folder).splitlines()[2:],
      [
        '| teacher (BERT) | 0.900 | 80.0% | 100.0% | 4,000 |',
        '| student, distilled | 0.880 | 78.0% | 97.5% | 10 |',
        '| student, hard labels alone | 0.710 | 60.0% | 75.0% | 10 |',
      ],
    )

  def test_unfinished_evaluation(self):
    with self.assertRaisesRegex(ValueError, os.path.join('nowhere', 'metrics.json')):
      quickstart.table('nowhere')


class SideBySideTest(absltest.TestCase):
  def test_best_titles_by_the_student_and_its_worst_rows(self):
    folder = self.create_tempdir().full_path
    pd.DataFrame(
      {
        'query': ['mitt', 'mitt', 'saw'],
        'title': ['Hat', 'Oven Mitt', 'Saw'],
        'label': ['1', '3', '2.33'],
        'teacher probability': [0.1, 0.9, 0.8],
        'student probability': [0.3, 0.7, 0.2],
        'baseline probability': [0.5, 0.4, 0.6],
      }
    ).to_parquet(os.path.join(folder, 'predictions.parquet'))
    self.assertEqual(
      quickstart.side_by_side(folder, ['mitt']).splitlines()[1:5],
      [
        "'mitt'",
        '  3      0.900    0.700    0.400  Oven Mitt',
        '  1      0.100    0.300    0.500  Hat',
        'Where the student is furthest from its teacher:',
      ],
    )
    self.assertIn("  2.33   0.800    0.200    0.600  'saw': Saw\n", quickstart.side_by_side(folder, []))


class NextCommandsTest(absltest.TestCase):
  def test_texts_with_quotes_can_be_pasted(self):
    shown = quickstart.next_commands('runs/q', "chef's knife", ['8" knife, $5'])
    *_, curl, query = map(shlex.split, shown.splitlines())
    self.assertEqual(json.loads(curl[2]), {'instances': [{'query': "chef's knife", 'title': '8" knife, $5'}]})
    self.assertEqual(query[1:], ['-m', 'serving.query', "--query=chef's knife", '--titles=8" knife, $5'])
    self.assertIn(' -m serving.server --model_base_path=runs/q/export\n', shown)


if __name__ == '__main__':
  absltest.main()
