"""Soft labels in different shards and orders come together by id; nothing is ever mispaired."""

import os
import tempfile
from unittest import mock

from absl.testing import absltest
import numpy as np

from b2d.data import joining
from b2d.data import rows
from tests import soft_label_folders


class JoinTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _write(self, name, *args, **kwargs):
    return soft_label_folders.write(os.path.join(self.folder, name), *args, **kwargs)

  def _join(self, *folders, partition_rows=5):
    with (
      tempfile.TemporaryDirectory(dir=self.folder) as temporary,
      mock.patch.object(joining, '_PARTITION_ROWS', partition_rows),
      mock.patch.object(joining, '_READ_ROWS', 4),
    ):
      return list(joining.join(folders, temporary))

  def test_rows_in_any_order_and_shards(self):
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(40) % 3, np.arange(40) % 2, np.nan)
    folders = [
      self._write('a', rng.permutation(40), 1, labels=labels),
      self._write('b', rng.permutation(40), 2, shard_rows=13),
      self._write('c', np.arange(40), 3, shard_rows=40),
    ]
    batches = self._join(*folders)
    self.assertLen(batches, 8)
    joined = rows.concatenate([batch for batch in batches if rows.size(batch)])
    numbers = np.array([int(each[2:]) for each in joined['id']])
    np.testing.assert_array_equal(np.sort(numbers), np.arange(40))
    np.testing.assert_array_equal(
      joined['logits'], np.concatenate([soft_label_folders.logits_of(numbers, t) for t in (1, 2, 3)], axis=1)
    )
    np.testing.assert_array_equal(joined['text'], [f'text {row}'.encode() for row in numbers])
    np.testing.assert_array_equal(joined['label'], np.float32(labels)[numbers])

  def test_partitions_hold_about_the_rows_they_should(self):
    folders = [self._write(name, np.arange(400), 1, shard_rows=200) for name in 'ab']
    sizes = [rows.size(batch) for batch in self._join(*folders, partition_rows=100)]
    self.assertLen(sizes, 4)
    self.assertLess(max(sizes), 150)

  def test_rows_that_one_lacks_are_left_out(self):
    joined = self._join(self._write('a', np.arange(10), 1), self._write('b', np.arange(5, 20), 2))
    numbers = sorted(int(each[2:]) for batch in joined for each in batch['id'])
    self.assertEqual(numbers, [5, 6, 7, 8, 9])

  def test_three_classes(self):
    joined = self._join(self._write('a', [3, 1], 1, num_classes=3), self._write('b', [1, 3], 2, num_classes=3))
    self.assertEqual(joined[0]['logits'].shape, (2, 2, 3))

  def test_other_text_under_one_id_is_an_error(self):
    folders = [self._write('a', np.arange(10), 1), self._write('b', np.arange(10), 2, texts={4: 'else'})]
    with self.assertRaisesRegex(ValueError, "b: the id 'id4' stands for another text than in .*a"):
      self._join(*folders)

  def test_id_twice_is_an_error(self):
    folders = [self._write('a', np.arange(10), 1), self._write('b', [0, 1, 2, 1], 2)]
    with self.assertRaisesRegex(ValueError, "b: expected each id once, found 'id1' again"):
      self._join(*folders)

  def test_other_classes_are_an_error(self):
    folders = [self._write('a', [0], 1), self._write('b', [0], 2, num_classes=3)]
    with self.assertRaisesRegex(ValueError, 'b: expected num_classes 2 as in .*a, found 3'):
      self._join(*folders)
    folders = [self._write(name, [0], 1, classes=tuple(name.split())) for name in ('neg pos', 'pos neg')]
    with self.assertRaisesRegex(ValueError, r"pos neg: expected classes \('neg', 'pos'\) as in .*neg pos, found"):
      self._join(*folders)


if __name__ == '__main__':
  absltest.main()
