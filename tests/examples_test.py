"""The scripts of docs/examples: each from its input to what it promises, with a tiny BERT."""

import contextlib
import io
import os
import runpy
import sys
from unittest import mock

from absl.testing import absltest
import numpy as np

from b2d import config
from b2d.data import rows
from b2d.data import soft_labels
from tests import command_line
from tests import tiny_bert

_EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'docs', 'examples')
_THINGS = ('drill', 'saw', 'lamp', 'rug', 'mower', 'bucket')
_PAIRS = [(f'red {a}', f'big {b} 3"', a == b) for a in _THINGS for b in _THINGS]


class ExamplesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.rows = self._path('rows.tsv')
    with open(self.rows, 'w', encoding='utf-8') as file:
      file.write('query\ttitle\tlabel\n')
      file.writelines(f'{query}\t{title}\t{int(same)}\n' for query, title, same in _PAIRS)
      file.write('\t"\t\nred saw\tbig saw 3"\t\n')  # Without a query, and without a label.

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _run(self, script, *arguments):
    with mock.patch.object(sys, 'argv', [script, *arguments]):
      runpy.run_path(os.path.join(_EXAMPLES, script), run_name='__main__')

  def _import(self) -> tuple[str, rows.Batch]:
    said = command_line.run(
      config.Label,
      input_files=[self._path('scored.jsonl')],
      text_columns=['query', 'title'],
      label_column='label',
      scores_columns=['p_relevant'],
      output_dir=self._path('soft_labels'),
    )
    return said, rows.concatenate(list(soft_labels.read([self._path('soft_labels')])))

  def test_a_model_of_another_library(self):
    self._run(
      'cross_encoder.py', f'--train={self.rows}', f'--rows={self.rows}', f'--output={self._path("scored.jsonl")}'
    )
    said, found = self._import()
    self.assertRegex(said, r'labelled_rows 36, agreement [01][.\d]*, kappa [01][.\d]*, auc 1\n')
    self.assertEqual(found['query'][:-2].tolist(), [query.encode() for query, _, _ in _PAIRS])
    self.assertGreater(found['logits'][-1, 0, 1], 0)

  def test_a_language_model_s_batch(self):
    requests, responses = self._path('requests.jsonl'), self._path('responses.jsonl')
    self._run('llm_batch.py', 'requests', f'--rows={self.rows}', f'--output={requests}')
    self._run('llm_batch.py', 'fake', f'--requests={requests}', f'--output={responses}')
    self._run(
      'llm_batch.py',
      'scores',
      f'--rows={self.rows}',
      f'--responses={responses}',
      f'--output={self._path("scored.jsonl")}',
    )
    said, found = self._import()
    self.assertIn('rows 37', said)  # The request without a query has failed.
    self.assertIn('labelled_rows 36, agreement 1, kappa 1, auc 1', said)
    margins = found['logits'][:, 0, 1]
    expected = [0.5 if same else 0.05 for _, _, same in _PAIRS]
    np.testing.assert_allclose(1 / (1 + np.exp(-margins[:-1])), expected, atol=1e-6)
    self.assertTrue(np.isnan(found['label'][-1]))

  def _run_whole(self, script, **flags) -> str:
    teacher = tiny_bert.write_hugging_face(self._path('bert'))
    arguments = [f'--{name}={value}' for name, value in flags.items()]
    with contextlib.redirect_stdout(io.StringIO()) as said:
      self._run(script, f'--folder={self._path("whole")}', f'--init_checkpoint={teacher}', *arguments)
    self.assertTrue(os.path.exists(self._path('whole/export/1/saved_model.pb')))
    return said.getvalue()

  def test_a_classifier_of_five_named_classes(self):
    said = self._run_whole('five_classes.py', num_labelled=40, num_unlabelled=60)
    self.assertRegex(said, r'(terrible|poor|fair|good|excellent) \(0\.\d\d\): The lamp: never again')

  def test_a_shop_whose_results_were_graded(self):
    said = self._run_whole('graded_shop.py', num_judged=90, num_log=60)
    for line in (r'AUC 0\.\d{3}  hard_labels\n', r"0\.\d{3}  'red settee': Marlo red sofa, foldable\n"):
      self.assertRegex(said, line)
    for name in ('evaluation/report.html', 'scores/part-00000.parquet'):
      self.assertTrue(os.path.exists(self._path(f'whole/{name}')))


if __name__ == '__main__':
  absltest.main()
