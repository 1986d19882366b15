"""b2d.evaluate from flags to table, over SavedModels that count words."""

import dataclasses
import json
import os
import shutil
from unittest import mock

from absl import app
from absl import flags
from absl.testing import absltest
import pandas as pd
import tensorflow as tf

from b2d import config
from b2d import evaluate
from b2d import runs
from b2d.measures import comparison
from b2d.measures import evaluation
from tests import command_line


class _WordsInCommon(tf.Module):
  """Logit: a factor times (whether the title begins as the query does, less a half)."""

  def __init__(self, factor):
    super().__init__()
    self.factor = tf.Variable(float(factor))

  @tf.function(
    input_signature=[tf.TensorSpec([None], tf.string, name='query'), tf.TensorSpec([None], tf.string, name='title')]
  )
  def serve(self, query, title):
    same = tf.strings.substr(query, 0, 1) == tf.strings.substr(title, 0, 1)
    logit = self.factor * (tf.cast(same, tf.float32) - 0.5)
    return {'logit': logit, 'probability': tf.sigmoid(logit)}


_FILE = (
  'query\ttitle\tgrade\n'
  'red shoe\tred boot\t3\nred shoe\tblue boot\t1\nred shoe\tround hat\t1.5\n'
  'blue hat\tblue cap\t2.5\nblue hat\tred cap\t1\n'
  'saw\tdrill\t1\nsaw\tcap\t3\n'
)


class EvaluateTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    for name, factor in (('good', 4), ('inverse', -4)):
      model = _WordsInCommon(factor)
      tf.saved_model.save(model, os.path.join(self.folder, name), {'serving_default': model.serve})
    self.file = self.create_tempfile('rows.tsv', _FILE).full_path

  def _run(self, **changes):
    values = {
      'models': [f'{name}={self.folder}/{name}' for name in ('good', 'inverse')],
      'reference': 'good',
      'files': [self.file],
      'text_columns': ['query', 'title'],
      'label_column': 'grade',
      'label_range': ['1', '3'],
      'relevant_from': 2.5,
      'bootstrap': 20,
      'output_dir': os.path.join(self.folder, 'evaluation'),
    } | changes
    return command_line.run(config.Evaluate, evaluate.show, **values)

  def test_from_flags_to_table(self):
    said = self._run()
    output = os.path.join(self.folder, 'evaluation')
    result = runs.read_json(os.path.join(output, 'metrics.json'))
    self.assertEqual((result['rows'], result['queries']), (7, 3))
    good, inverse = result['models']['good'], result['models']['inverse']
    self.assertAlmostEqual(good['accuracy'], 5 / 7)
    self.assertAlmostEqual(good['auc_by_query'], (3 / 4 + 1 + 1 / 2) / 3)
    self.assertEqual(inverse['agreement'], 0)
    self.assertAlmostEqual(inverse['recovered_auc'], inverse['auc'] / good['auc'])
    self.assertGreater(good['rows_per_sec'], 0)
    with open(os.path.join(output, 'table.md'), encoding='utf-8') as file:
      table = file.read()
    self.assertEqual(said, table)
    self.assertIn('|  | good | inverse |', table)
    self.assertIn('auc − good', table)
    self.assertTrue(os.path.exists(os.path.join(output, 'reliability.png')))

  def test_report_and_predictions(self):
    self._run(report=True, predictions=True, train_files=[self.file])
    output = os.path.join(self.folder, 'evaluation')
    with open(os.path.join(output, 'report.html'), encoding='utf-8') as file:
      page = file.read()
    self.assertIn('Rows on which good and inverse part most', page)
    self.assertRegex(
      page, r'<span title="\+0\.00" style="[^"]*">shoe</span>'
    )  # The model sees a word's first letter alone.
    found = pd.read_parquet(os.path.join(output, 'predictions.parquet'))
    self.assertEqual(list(found['label'][:3]), ['3', '1', '1.5'])
    self.assertEqual(list(found['good logit'][:2]), [2, -2])
    self.assertEqual(found['id'][0], 'rows.tsv:2')

  def test_slices_of_a_column(self):
    head, *lines = _FILE.splitlines()
    shops = ['north', 'south', 'north', '', 'south', 'north', 'north']
    text = f'{head}\tshop\n' + ''.join(f'{line}\t{shop}\n' for line, shop in zip(lines, shops))
    self.file = self.create_tempfile('shops.tsv', text).full_path
    self._run(report=True, slice_columns=['shop'])
    with open(os.path.join(self.folder, 'evaluation', 'report.html'), encoding='utf-8') as file:
      page = file.read()
    for name, rows in (('north', 4), ('south', 2), ('(none)', 1)):
      self.assertIn(f'<td>column shop</td><td>{name}</td><td class="number">{rows}</td>', page)

  def test_training_files_without_a_report_are_a_usage_error(self):
    with self.assertRaisesRegex(app.UsageError, '--train_files .* --report'):
      self._run(train_files=[self.file])

  def test_training_files_are_read_before_the_scoring(self):
    train = self.create_tempfile('train.tsv', _FILE + 'saw\n').full_path
    wrong = self.create_tempfile('wrong.tsv', 'search\ttitle\na\tb\n').full_path
    with mock.patch.object(evaluation, '_score', side_effect=AssertionError('scored')):
      with self.assertRaisesRegex(ValueError, "wrong.tsv:1: expected a column 'query'"):
        self._run(report=True, train_files=[wrong])
    self._run(report=True, train_files=[train], max_bad_rows=1)
    output = os.path.join(self.folder, 'evaluation')
    self.assertEqual(runs.read_json(os.path.join(output, 'metrics.json'))['bad_rows'], 1)
    with open(os.path.join(output, 'rejected.jsonl'), encoding='utf-8') as file:
      self.assertIn('train.tsv:9', file.read())

  def test_bad_and_unlabelled_rows(self):
    self.file = self.create_tempfile('bad.tsv', _FILE + 'saw\tsaw\t\nsaw\tsaw\t9\nsaw\n').full_path
    self._run(max_bad_rows=2)
    output = os.path.join(self.folder, 'evaluation')
    result = runs.read_json(os.path.join(output, 'metrics.json'))
    self.assertEqual((result['rows'], result['bad_rows']), (7, 2))
    self.assertTrue(os.path.exists(os.path.join(output, 'rejected.jsonl')))
    runs.write_text(self.file, _FILE)
    self._run(max_bad_rows=2)  # Measured again, of rows that are mended.
    self.assertFalse(os.path.exists(os.path.join(output, 'rejected.jsonl')))

  def test_measured_again_when_a_model_has_changed(self):
    output, run = os.path.join(self.folder, 'evaluation'), os.path.join(self.folder, 'good')
    self._run()
    runs.write_metrics(run, {'seconds': 1.0})  # Trained again, with the same result.
    with mock.patch.object(evaluation, '_evaluate', return_value={'models': {}}) as again:
      self._run()
      again.assert_not_called()
      runs.write_text(os.path.join(run, 'calibration.json'), '{"scale": 2.0, "offset": 0.0}')
      with mock.patch.object(comparison, 'table'):
        self._run()
        self._run()
      again.assert_called_once()
    runs.write_text(os.path.join(output, 'config.json'), '{"step": "finetune", "config": {}}')
    with self.assertRaisesRegex(ValueError, "holds a run of the step 'finetune'"):
      self._run()
    self.assertTrue(runs.finished(output))  # Nothing of another step is removed.

  def test_finished_it_needs_its_models_no_more(self):
    schema = config.Schema(text_columns=('query', 'title'), label_column='grade', label_range=(1, 3))
    for name in ('good', 'inverse'):
      export = {'run': {'schema': dataclasses.asdict(schema)}}
      os.makedirs(os.path.join(self.folder, name, 'assets.extra'), exist_ok=True)
      runs.write_text(os.path.join(self.folder, name, 'assets.extra', 'export.json'), json.dumps(export))
    unsaid = {'text_columns': [], 'label_column': '', 'label_range': [], 'relevant_from': None}
    said = self._run(**unsaid)
    for name in ('good', 'inverse'):
      shutil.rmtree(os.path.join(self.folder, name))
    self.assertEqual(self._run(**unsaid), said)

  def test_bad_input_is_a_value_error(self):
    good = f'good={self.folder}/good'
    for changes, message in (
      ({'models': ['good']}, "expected name=folder with different names, found 'good'"),
      ({'models': [good, good]}, 'different names'),
      ({'models': [f'good={self.folder}/none']}, 'expected a run folder'),
      ({'reference': 'bert'}, 'expected one of the models good, inverse'),
      ({'files': [f'{self.folder}/no.tsv']}, 'no.tsv'),
      ({'text_columns': ['title']}, 'the model reads query, title, the rows have text'),
    ):
      with self.subTest(message), self.assertRaisesRegex(ValueError, message):
        self._run(**changes)
      self.assertFalse(os.path.exists(os.path.join(self.folder, 'evaluation')))  # The corrected command finds none.

  def test_no_label_column(self):
    with self.assertRaisesRegex(ValueError, 'set --label_column'):
      self._run(label_column='')


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  absltest.main()
