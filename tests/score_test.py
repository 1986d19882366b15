"""The binary b2d.score: probabilities as the model's own, columns kept, resumed, checked."""

import os
import shutil
from unittest import mock

from absl.testing import absltest
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

import b2d
from b2d import config
from b2d import lease
from b2d import runs
from b2d.learning import copying
from b2d.learning import engines
from b2d.learning import local_workers
from b2d.models import calibration
from b2d.models import student
from tests import command_line

_STUDENT = config.Student(num_buckets=64, embedding_dim=4, hidden_layers=(4,))
_LINES = [('drill', '20V drill', 'A', '19.50'), ('oven mitt', 'sofa', '', '007'), ('sofa', 'red sofa', 'Ü', 'n/a')]


def _write_student(folder, num_classes=2):
  """A run folder of b2d.distill with fresh weights and a calibration."""
  schema = config.Schema(text_columns=('query', 'title'), num_classes=num_classes)
  runs.start(config.Distill(soft_labels=('s',), output_dir=folder, schema=schema, student=_STUDENT))
  model = student.StudentModel(_STUDENT, schema.fields, num_classes)
  tf.train.CheckpointManager(tf.train.Checkpoint(model=model), os.path.join(folder, 'best'), max_to_keep=1).save()
  if num_classes == 2:
    runs.write_text(calibration.path(folder), '{"scale": 2.0, "offset": -1.0}')
  runs.write_text(os.path.join(folder, 'made_from.json'), '{}')
  runs.write_metrics(folder, {})
  return folder


class ScoreTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.output = self._path('scores')
    self.student = _write_student(self._path('student'))
    with open(self._path('in.tsv'), 'w', encoding='utf-8') as file:
      file.write('q\tt\tbrand\tprice\n' + ''.join('\t'.join(line) + '\n' for line in _LINES))
    self.enter_context(mock.patch.object(lease, '_SETTLE_SECS', 0))

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _score(self, **changes):
    settings = {
      'model': self.student,
      'input_files': [self._path('in.tsv')],
      'text_columns': ['q', 't'],
      'keep_columns': ['price', 'q', 'brand'],
      'rows_per_shard': 2,
      'num_workers': 1,
      'output_dir': self.output,
      **changes,
    }
    return command_line.run(config.Score, **settings)

  def _read(self):
    return pq.read_table([self._path(f'scores/part-0000{index}.parquet') for index in (0, 1)])

  def test_the_model_s_own_probability_beside_what_was_asked_for(self):
    self.assertIn('rows 3', self._score())
    found = self._read()
    self.assertEqual(found.column_names, ['id', 'probability', 'price', 'q', 'brand'])
    queries, titles, brands, prices = zip(*_LINES)
    self.assertEqual(found['id'].to_pylist(), ['in.tsv:2', 'in.tsv:3', 'in.tsv:4'])
    self.assertEqual(tuple(found['q'].to_pylist()), queries)
    self.assertEqual(tuple(found['price'].to_pylist()), prices)
    self.assertEqual(tuple(found['brand'].to_pylist()), brands)
    expected = b2d.load(self.student).probability(query=queries, title=titles)
    np.testing.assert_allclose(found['probability'], expected, rtol=1e-5)
    manifest = runs.read_json(self._path('scores/manifest.json'))
    self.assertEqual((manifest['kind'], manifest['calibrated'], list(manifest['sha256'])),
                     ('student', True, ['part-00000.parquet', 'part-00001.parquet']))  # fmt: skip
    self.assertNotIn('inputs', os.listdir(self.output))

  def test_odd_texts_are_kept_as_they_are(self):
    queries, titles = ['', None, 'x' * 1_000_000, '"a" \u2028', ' \t\n'], ['a', 'b', None, '\x01', '']
    rest = ['1', None, '', '\0', '\ufeff']
    pq.write_table(pa.table({'q': queries, 't': titles, 'rest': rest}), self._path('odd.parquet'))
    settings = {'input_files': [self._path('odd.parquet')], 'keep_columns': ['t', 'rest', 'q'], 'rows_per_shard': 9}
    self._score(null_text='empty', **settings)
    found = pq.read_table(self._path('scores/part-00000.parquet'))
    self.assertEqual([found[name].to_pylist() for name in ('q', 't', 'rest')], [queries, titles, rest])
    expected = b2d.load(self.student).probability(query=[text or '' for text in queries],
                                                  title=[text or '' for text in titles])  # fmt: skip
    np.testing.assert_allclose(found['probability'], expected, rtol=1e-5)
    with self.assertRaisesRegex(ValueError, "odd.parquet: row 2: expected a value in 'q', found null"):
      self._score(output_dir=self._path('other'), **settings)
    with open(self._path('in.tsv'), 'wb') as file:
      file.write(b'q\tt\nsaw\ta\nr\xf8d\tb\nr\0d\tc\nlast\td\n')
    self._score(max_bad_rows=2, keep_columns=['q', 't'], rows_per_shard=9, output_dir=self._path('other'))
    found = pq.read_table(self._path('other/part-00000.parquet'))
    self.assertEqual(found['q'].to_pylist(), ['saw', 'last'])
    self.assertEqual(found['id'].to_pylist(), ['in.tsv:2', 'in.tsv:5'])

  def test_of_a_folder_of_versions_the_one_that_is_recorded(self):
    exported = self._path('exported')
    b2d.run(config.Export(model=self.student, output_dir=exported))
    copy = copying.copy

    def copy_while_another_is_exported(*arguments):
      runs.write_text(calibration.path(self.student), '{"scale": 1.0, "offset": 3.0}')
      b2d.run(config.Export(model=self.student, output_dir=exported))
      return copy(*arguments)

    with mock.patch.object(copying, 'copy', copy_while_another_is_exported):
      self._score(model=exported, keep_columns=['q'], rows_per_shard=9)
    found = pq.read_table(os.path.join(self.output, 'part-00000.parquet'))
    texts = {'query': found['q'].to_pylist(), 'title': [line[1] for line in _LINES]}
    expected, other = (b2d.load(os.path.join(exported, version)).probability(**texts) for version in '12')
    np.testing.assert_allclose(found['probability'], expected, rtol=1e-5)
    self.assertTrue(np.all(np.abs(found['probability'].to_numpy() - other) > 0.01))

  def test_columns_are_those_of_the_model(self):
    with open(self._path('in.tsv'), encoding='utf-8') as file:
      content = file.read().replace('q\tt', 'query\ttitle', 1)
    with open(self._path('in.tsv'), 'w', encoding='utf-8') as file:
      file.write(content)
    b2d.run(config.Export(model=self.student, output_dir=self._path('export'), table_dtype='float32'))
    for model in (self.student, self._path('export')):
      self._score(model=model, text_columns=[], keep_columns=['query'], output_dir=model + '-scores', rows_per_shard=9)
      found = pq.read_table(model + '-scores/part-00000.parquet')
      expected = b2d.load(model).probability(query=found['query'].to_pylist(), title=[line[1] for line in _LINES])
      np.testing.assert_allclose(found['probability'], expected, rtol=1e-5)

  def test_a_student_s_workers_are_worth_their_start(self):
    with mock.patch.object(engines, 'run_tasks', wraps=engines.run_tasks) as run_tasks:
      self._score(num_workers=0)
    self.assertIsInstance(run_tasks.call_args.args[1], local_workers.Here)

  def test_a_probability_for_each_of_several_classes(self):
    model = _write_student(self._path('classes'), num_classes=3)
    self._score(model=model)
    expected = b2d.load(model).probability(query=[line[0] for line in _LINES], title=[line[1] for line in _LINES])
    np.testing.assert_allclose(np.stack(self._read()['probability'].to_pylist()), expected, rtol=1e-5)

  def test_a_removed_shard_is_made_anew_and_damage_is_named(self):
    self._score()
    before = self._read()
    path = self._path('scores/part-00001.parquet')
    os.remove(path)
    self._score()
    self.assertTrue(self._read().equals(before))
    with open(path, 'r+b') as file:
      file.write(b'X')
    for changes in ({}, {'verify': True}):
      with self.assertRaisesRegex(ValueError, f'{path}: .* rm -f {path} && python -m b2d.score --flagfile='):
        self._score(**changes)

  def test_a_finished_run_needs_its_model_no_more(self):
    model = _write_student(self._path('classes'), num_classes=3)
    self._score(model=model)
    shutil.rmtree(model)
    self._score(model=model)
    os.remove(self._path('scores/part-00001.parquet'))
    with self.assertRaisesRegex(ValueError, 'classes: expected a run folder .*, found none'):
      self._score(model=model)

  def test_slips(self):
    for changes, message in (
      ({'text_columns': ['q']}, '--text_columns=q: expected query,title, as .*student has'),
      ({'keep_columns': ['colour']}, r"in.tsv:1: expected a column 'colour'"),
      ({'model': self._path('none')}, 'expected a run folder of b2d.finetune or b2d.distill, or a SavedModel'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        self._score(**changes)
      self.assertFalse(os.path.exists(self.output))


if __name__ == '__main__':
  absltest.main()
