"""The binary b2d.label: an import from end to end, what it leaves in the folder, slips."""

import json
import os

from absl import app
from absl.testing import absltest
import numpy as np

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from tests import command_line


class LabelTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = os.path.join(self.folder, 'soft_labels')
    for name, content in (('1.csv', 'q,t,p\nshoe,red shoe,0.5\n'), ('2.csv', 'q,t,p\n"a, b",,1\n')):
      with open(os.path.join(self.folder, name), 'w') as file:
        file.write(content)

  def _label(self, **changes):
    settings = {
      'input_files': [os.path.join(self.folder, '*.csv')],
      'text_columns': ['q', 't'],
      'scores_columns': ['p'],
      'output_dir': self.output,
      **changes,
    }
    command_line.run(config.Label, **settings)

  def test_imports_and_leaves_the_run_on_record(self):
    self._label()
    found = rows.concatenate(list(soft_labels.read([self.output])))
    self.assertEqual(found['query'].tolist(), [b'shoe', b'a, b'])
    self.assertEqual(found['title'].tolist(), [b'red shoe', b''])
    np.testing.assert_allclose(found['logits'][:, 0, 1], [0, 13.815510], rtol=1e-5)
    self.assertCountEqual(
      os.listdir(self.output),
      [
        'config.json',
        'run.flags',
        'made_from.json',
        'plan.json',
        'part-00000.parquet',
        'manifest.json',
        'metrics.json',
      ],
    )
    before = runs.read_json(os.path.join(self.output, 'metrics.json'))
    self.assertEqual(before['rows'], 2)
    self._label()
    self.assertEqual(runs.read_json(os.path.join(self.output, 'metrics.json')), before)

  def test_refuses_a_folder_of_another_configuration(self):
    self._label()
    with self.assertRaisesRegex(ValueError, 'holds a run of another --rows_per_shard'):
      self._label(rows_per_shard=1)

  def test_slips_leave_no_folder(self):
    with self.assertRaisesRegex(ValueError, r'none\*: expected a file, found a pattern'):
      self._label(input_files=[os.path.join(self.folder, 'none*')])
    with self.assertRaisesRegex(app.UsageError, 'set --teacher_dir, or --scores_columns'):
      self._label(scores_columns=[])
    with self.assertRaisesRegex(app.UsageError, '--phrases_per_row'):
      self._label(phrases_per_row=1, text_columns=['q'])
    with self.assertRaisesRegex(ValueError, r"1.csv: row 1: expected a column 'price'"):
      self._label(scores_columns=['price'])
    self.assertFalse(os.path.exists(self.output))

  def test_bad_rows_are_skipped_counted_and_named(self):
    with open(os.path.join(self.folder, '1.csv'), 'a') as file:
      file.write('c,d,high\ne,f\ng,h,0\n')
    self._label(max_bad_rows=2)
    found = rows.concatenate(list(soft_labels.read([self.output])))
    self.assertEqual(found['query'].tolist(), [b'shoe', b'g', b'a, b'])
    result = runs.read_json(os.path.join(self.output, 'metrics.json'))
    self.assertEqual((result['rows'], result['bad_rows']), (3, 2))
    with open(os.path.join(self.output, 'rejected.jsonl'), encoding='utf-8') as file:
      self.assertEqual([json.loads(line)['number'] for line in file], [3, 2])  # Cells are looked at a block later.

  def test_bad_rows_leave_no_result(self):
    with open(os.path.join(self.folder, '2.csv'), 'a') as file:
      file.write('c,d,high\n')
    with self.assertRaisesRegex(ValueError, r"2.csv: row 2: expected a number in 'p', found"):
      self._label()
    self.assertFalse(os.path.exists(os.path.join(self.output, 'manifest.json')))
    self.assertFalse(runs.finished(self.output))


if __name__ == '__main__':
  absltest.main()
