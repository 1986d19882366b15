"""Parquet and TFRecord give what a CSV file would: numbers exactly, and nothing that is no row."""

import decimal
import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from b2d import config
from b2d.data import rows

_SCHEMA = config.Schema(id_column='id', label_column='label')


class TypedFormatsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _parquet(self, **columns):
    path = os.path.join(self.folder, 'a.parquet')
    pq.write_table(pa.table(columns), path)
    return path

  def _records(self, *records):
    path = os.path.join(self.folder, 'a.tfrecord')
    with tf.io.TFRecordWriter(path) as writer:
      for record in records:
        writer.write(record)
    return path

  def _example(self, text, number):
    features = {
      'text': tf.train.Feature(bytes_list=tf.train.BytesList(value=[text])),
      'id': tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

  @parameterized.named_parameters(
    ('int64', [2**53, 2**53 + 1], pa.int64()),
    ('uint64', [2**64 - 1, 2**64 - 2], pa.uint64()),
    ('negative', [-(2**63), 0], pa.int64()),
    ('decimal', [decimal.Decimal(10**20 + 1), decimal.Decimal(10**20)], pa.decimal128(21, 0)),
  )
  def test_whole_ids_are_exact(self, values, kind):
    path = self._parquet(text=['a', 'b'], id=pa.array(values, kind), label=[0, 1])
    found = next(rows.read([path], _SCHEMA))['id']
    self.assertEqual(found.tolist(), [b'%d' % int(value) for value in values])

  def test_ids_in_tfrecord_are_exact(self):
    path = self._records(self._example(b'a', 2**53 + 1), self._example(b'b', 2**53))
    batch = next(rows.read([path], config.Schema(id_column='id')))
    self.assertEqual(batch['id'].tolist(), [b'9007199254740993', b'9007199254740992'])

  def test_floats(self):
    path = self._parquet(text=['a', 'b', 'c'], id=[12.0, 0.1, 1e300], label=pa.array([1, 0, None], pa.float32()))
    batch = next(rows.read([path], _SCHEMA))
    self.assertEqual(batch['id'].tolist(), [b'12', b'0.1', b'1e+300'])
    np.testing.assert_array_equal(batch['label'], np.float32([1, 0, np.nan]))

  @parameterized.parameters(float('nan'), float('inf'), None)
  def test_no_finite_id(self, value):
    path = self._parquet(text=['a', 'b'], id=pa.array([1.0, value], pa.float64()), label=[0, 1])
    with self.assertRaisesRegex(ValueError, "a.parquet: row 2: expected a value in 'id', found null"):
      next(rows.read([path], _SCHEMA))

  @parameterized.named_parameters(
    ('decimal', pa.array([decimal.Decimal('1.0'), decimal.Decimal('0.0')], pa.decimal128(3, 1))),
    ('bool', pa.array([True, False])),
    ('dictionary', pa.array(['True', 'FALSE']).dictionary_encode()),
    ('text', pa.array(['1', ' 0 '])),
  )
  def test_labels_of_any_type(self, values):
    batch = next(rows.read([self._parquet(text=['a', 'b'], id=[1, 2], label=values)], _SCHEMA))
    self.assertEqual(batch['label'].tolist(), [1, 0])

  def test_numbers_as_texts(self):
    path = self._parquet(query=[1984, 2**53 + 1])
    self.assertEqual(list(rows.read_column([path], 'query')), ['1984', '9007199254740993'])

  def test_a_string_that_is_no_utf8_is_named(self):
    texts = pa.array([b'a', b'\xff', None, b'b'])
    path = self._parquet(text=pa.Array.from_buffers(pa.string(), len(texts), texts.buffers()))
    with self.assertRaisesRegex(ValueError, r"a.parquet: row 2: expected UTF-8, found the bytes b'\\xff'"):
      next(rows.read([path], config.Schema(null_text='empty')))
    batch = next(rows.read([path], config.Schema(null_text='empty', max_bad_rows=1)))
    self.assertEqual(batch['text'].tolist(), [b'a', b'', b'b'])

  def test_a_column_of_a_name_that_stands_twice(self):
    path = os.path.join(self.folder, 'a.parquet')
    table = pa.table([['a'], ['b'], [1]], names=['text', 'text', 'id'])
    pq.write_table(table, path)
    with self.assertRaisesRegex(ValueError, "a.parquet: row 1: expected a column 'text', found it twice"):
      next(rows.read([path], config.Schema()))
    self.assertEqual(list(rows.read_column([path], 'id')), ['1'])

  def test_records_that_are_no_examples(self):
    path = self._records(b'plain line', self._example(b'a', 1), b'\xff\xff', self._example(b'b', 2))
    with self.assertRaisesRegex(ValueError, "a.tfrecord: row 1: expected a tf.Example, found b'plain line'"):
      next(rows.read([path], config.Schema()))
    batch = next(rows.read([path], config.Schema(max_bad_rows=2)))
    self.assertEqual(batch['text'].tolist(), [b'a', b'b'])
    self.assertEqual(batch['id'].tolist(), [b'a.tfrecord:2', b'a.tfrecord:4'])

  def test_empty_shards(self):
    paths = [self._parquet(text=['a']), os.path.join(self.folder, 'b.parquet')]
    paths += [os.path.join(self.folder, name) for name in ('b.tfrecord', 'b.csv.gz', 'b.jsonl')]
    for path in paths[1:]:
      open(path, 'wb').close()
    self.assertEqual(next(rows.read(paths, config.Schema()))['text'].tolist(), [b'a'])
    self.assertEqual(rows.count(paths, config.Schema()), 1)


if __name__ == '__main__':
  absltest.main()
