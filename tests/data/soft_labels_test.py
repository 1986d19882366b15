"""Soft labels survive writing and reading; what does not fit together is refused."""

import os
from unittest import mock

from absl.testing import absltest
import numpy as np

from b2d.data import rows
from b2d.data import shards as shards_lib
from b2d.data import soft_labels

_GROUP_ROWS = 4096


def _batch(start, num_rows, num_teachers=2, num_classes=3):
  numbers = np.arange(start, start + num_rows)
  logits = numbers[:, None, None] + np.zeros((num_rows, num_teachers, num_classes))
  logits += np.arange(num_teachers * num_classes).reshape(num_teachers, num_classes) / 10
  return {
    'id': np.array([b'%d' % n for n in numbers], dtype=object),
    'text': np.array([f'téxt {n}'.encode() if n else b'' for n in numbers], dtype=object),
    'label': np.where(numbers % 2 == 0, np.nan, numbers % 3).astype(np.float32),
    'logits': logits.astype(np.float32),
  }


def _write(folder, sizes, start=0, classes=(), **shape):
  os.makedirs(folder, exist_ok=True)
  shards = {}
  for index, num_rows in enumerate(sizes):
    batch = _batch(start, num_rows, **shape)
    shards[shards_lib.name(index)] = soft_labels.write_shard(folder, index, batch)
    start += num_rows
  num_teachers, num_classes = batch['logits'].shape[1:]
  manifest = soft_labels.Manifest(tuple('ab'[:num_teachers]), num_classes, ('text',), shards, classes=classes)
  soft_labels.write_manifest(folder, manifest)
  return manifest


def _ids(batches):
  return [int(value) for batch in batches for value in batch['id']]


class SoftLabelsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def test_reads_what_was_written(self):
    manifest = _write(self.folder, [5, 3])
    self.assertEqual(soft_labels.read_manifest(self.folder), manifest)
    self.assertEqual(soft_labels.num_rows([self.folder, self.folder]), 16)
    found = rows.concatenate(list(soft_labels.read([self.folder])))
    expected = _batch(0, 8)
    self.assertCountEqual(found, expected)
    for key in expected:
      np.testing.assert_array_equal(found[key], expected[key])
      self.assertEqual(found[key].dtype, expected[key].dtype)
    self.assertEmpty([name for name in os.listdir(self.folder) if 'tmp' in name])

  def test_rows_yet_to_be_labelled(self):
    batch = _batch(0, 4)
    del batch['logits']
    found = soft_labels.batch_of('inputs', soft_labels.table(batch))
    self.assertCountEqual(found, ['id', 'text', 'label'])
    np.testing.assert_array_equal(found['text'], batch['text'])

  def test_seed_mixes_groups_and_folders_and_loses_nothing(self):
    other = self.create_tempdir().full_path
    _write(self.folder, [2 * _GROUP_ROWS, 100])
    _write(other, [_GROUP_ROWS + 7], start=10_000)
    folders = [self.folder, other]
    written = _ids(soft_labels.read(folders))
    batches = list(soft_labels.read(folders, batch_size=1000, seed=1))
    self.assertEqual([rows.size(batch) for batch in batches[:-1]], [1000] * (len(batches) - 1))
    self.assertNotEqual(_ids(batches), written)
    self.assertCountEqual(_ids(batches), written)
    self.assertEqual(_ids(batches), _ids(soft_labels.read(folders, batch_size=999, seed=1)))
    self.assertNotEqual(_ids(batches), _ids(soft_labels.read(folders, seed=2)))

  def test_max_rows_are_the_same_whatever_the_seed_and_spread_over_all_shards(self):
    _write(self.folder, [_GROUP_ROWS + 10, _GROUP_ROWS])
    for max_rows in (1, 16, _GROUP_ROWS + 12):
      found = _ids(soft_labels.read([self.folder], max_rows=max_rows))
      self.assertLen(set(found), max_rows)
      self.assertCountEqual(_ids(soft_labels.read([self.folder], seed=3, max_rows=max_rows)), found)
      self.assertAlmostEqual(sum(row < _GROUP_ROWS + 10 for row in found), max_rows // 2, delta=10)
    self.assertLen(_ids(soft_labels.read([self.folder], max_rows=10**6)), 2 * _GROUP_ROWS + 10)

  def test_rows_that_are_skipped_are_not_read(self):
    _write(self.folder, [2 * _GROUP_ROWS + 10])
    for skip_rows in (0, 5, _GROUP_ROWS, 2 * _GROUP_ROWS + 9, 2 * _GROUP_ROWS + 10):
      expected = _ids(soft_labels.read([self.folder], seed=1))[skip_rows:]
      with mock.patch.object(shards_lib, 'read_groups', wraps=shards_lib.read_groups) as read:
        self.assertEqual(_ids(soft_labels.read([self.folder], seed=1, skip_rows=skip_rows)), expected)
      self.assertLessEqual(read.call_count, 1 + len(expected) // _GROUP_ROWS + 1)
    self.assertEqual(read.call_count, 0)

  def test_refuses_folders_of_different_tasks(self):
    _write(self.folder, [2])
    for shape, message in (
      ({'num_classes': 2}, r'expected num_classes 3 as in .*, found 2'),
      ({'num_teachers': 1}, 'expected number of teachers 2'),
    ):
      other = self.create_tempdir().full_path
      _write(other, [2], **shape)
      with self.assertRaisesRegex(ValueError, message):
        list(soft_labels.read([self.folder, other]))

  def test_refuses_classes_in_another_order(self):
    folders = [self.create_tempdir().full_path for _ in range(3)]
    for folder, classes in zip(folders, ((), ('bad', 'fair', 'good'), ('good', 'fair', 'bad'))):
      _write(folder, [2], classes=classes)
    self.assertLen(_ids(soft_labels.read(folders[:2])), 4)  # One does not know their names.
    with self.assertRaisesRegex(ValueError, rf"{folders[2]}: expected classes \('bad', .* as in {folders[1]}, found"):
      list(soft_labels.read(folders))

  def test_refuses_a_manifest_that_the_shards_contradict(self):
    manifest = _write(self.folder, [5, 3])
    soft_labels.write_shard(self.folder, 1, _batch(5, 2))
    with self.assertRaisesRegex(ValueError, r'part-00001.parquet: expected 3 rows .*, found 2'):
      soft_labels.write_manifest(self.folder, manifest)
    with self.assertRaisesRegex(ValueError, 'part-00001.parquet: expected the contents that were written'):
      list(soft_labels.read([self.folder]))
    os.remove(os.path.join(self.folder, 'part-00001.parquet'))
    with self.assertRaisesRegex(ValueError, 'part-00001.parquet: .*no such file'):
      soft_labels.write_manifest(self.folder, manifest)

  def test_refuses_logits_of_another_shape(self):
    table = soft_labels.table(_batch(0, 4))
    with self.assertRaisesRegex(ValueError, 'in: expected logits of 1 teachers .*, found 24 numbers in 4'):
      soft_labels.batch_of('in', table, num_teachers=1, num_classes=3)

  def test_refuses_a_folder_without_or_with_a_foreign_manifest(self):
    with self.assertRaisesRegex(ValueError, 'manifest.json: no such file'):
      soft_labels.read_manifest(self.folder)
    with open(os.path.join(self.folder, 'manifest.json'), 'w') as file:
      file.write('{"shards": {}}')
    with self.assertRaisesRegex(ValueError, 'expected teachers, num_classes'):
      soft_labels.read_manifest(self.folder)


if __name__ == '__main__':
  absltest.main()
