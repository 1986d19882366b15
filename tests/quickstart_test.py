"""The quickstart's table comes from the evaluation; the commands that it proposes can be pasted."""

import json
import os
import shlex

from absl.testing import absltest

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


class NextCommandsTest(absltest.TestCase):
  def test_texts_with_quotes_can_be_pasted(self):
    shown = quickstart.next_commands('runs/q', "chef's knife", ['8" knife, $5'])
    *_, curl, query = map(shlex.split, shown.splitlines())
    self.assertEqual(json.loads(curl[2]), {'instances': [{'query': "chef's knife", 'title': '8" knife, $5'}]})
    self.assertEqual(query[1:], ['-m', 'serving.query', "--query=chef's knife", '--titles=8" knife, $5'])
    self.assertIn(' -m serving.server --model_base_path=runs/q/export\n', shown)


if __name__ == '__main__':
  absltest.main()
