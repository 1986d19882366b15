"""Every format gives the same rows; every bad input an error that names file, line, finding."""

import bz2
import csv
import gzip
import json
import lzma
import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from b2d import config
from b2d.data import blocks
from b2d.data import file_formats
from b2d.data import rows

_PAIRS = config.Schema(text_columns=('q', 't'), id_column='n', label_column='grade', label_range=(1.0, 3.0))
_TEXTS = config.Schema(text_columns=('text',), label_column='label')
_ROWS = [('a', 'red "shoe"', 'röd sko', '1'), ('b', '', 'x' * 100_000, '2.5'), ('c', '靴', ' two  spaces ', '3')]
_HEADER = ('n', 'q', 't', 'grade')


def _write_csv(path):
  with open(path, 'w', encoding='utf-8', newline='') as file:
    csv.writer(file).writerows([_HEADER, *_ROWS])


def _write_json(path):
  with open(path, 'w', encoding='utf-8') as file:
    for n, q, t, grade in _ROWS:
      file.write(json.dumps({'t': t, 'n': n, 'q': q, 'grade': float(grade), 'other': [1]}, ensure_ascii=False) + '\n')


def _write_parquet(path):
  columns = {name: list(values) for name, values in zip(_HEADER, zip(*_ROWS))}
  columns['grade'] = [float(grade) for grade in columns['grade']]
  pq.write_table(pa.table(columns), path, row_group_size=2)


def _example(**features):
  made = {}
  for name, value in features.items():
    if isinstance(value, float):
      made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    elif isinstance(value, int):
      made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    else:
      made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
  return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def _write_tfrecord(path, compression=''):
  with tf.io.TFRecordWriter(path, compression) as writer:
    for n, q, t, grade in _ROWS:
      writer.write(_example(n=n.encode(), q=q.encode(), t=t.encode(), grade=float(grade)))


class RowsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _write(self, name, content):
    if isinstance(content, str):
      content = content.encode('utf-8')
    with open(self._path(name), 'wb') as file:
      file.write(content)
    return self._path(name)

  def _tsv(self):
    return ''.join('\t'.join(row) + '\n' for row in (_HEADER, *_ROWS)).encode('utf-8')

  def _files(self):
    tsv = self._tsv()
    yield self._write('a.tsv', tsv)
    yield self._write('crlf.tsv', b'\xef\xbb\xbf' + tsv.replace(b'\n', b'\r\n'))
    yield self._write('no_last_newline.tsv', tsv[:-1])
    yield self._write('a.tsv.gz', gzip.compress(tsv[:50]) + gzip.compress(tsv[50:]))
    yield self._write('a.tsv-00000-of-00001.bz2', bz2.compress(tsv))
    yield self._write('a.tsv.zst', pa.compress(tsv, 'zstd', asbytes=True))
    yield self._write('a.tsv.xz', lzma.compress(tsv))
    yield self._write('blank.tsv', tsv + b'\n\r\n')
    for name, write in (
      ('a.csv', _write_csv),
      ('a.jsonl', _write_json),
      ('a.parquet', _write_parquet),
      ('a.tfrecord', _write_tfrecord),
    ):
      write(self._path(name))
      yield self._path(name)
      with open(self._path(name), 'rb') as file:
        yield self._write(name + '.gz', gzip.compress(file.read()))

  def test_every_format_gives_the_same_rows(self):
    for path in self._files():
      with self.subTest(os.path.basename(path)):
        batches = list(rows.read([path], _PAIRS, batch_size=2))
        self.assertEqual([rows.size(batch) for batch in batches], [2, 1])
        batch = rows.concatenate(batches)
        self.assertCountEqual(batch, ['query', 'title', 'id', 'label'])
        self.assertEqual(batch['id'].tolist(), [row[0].encode() for row in _ROWS])
        self.assertEqual(batch['query'].tolist(), [row[1].encode() for row in _ROWS])
        self.assertEqual(batch['title'].tolist(), [row[2].encode() for row in _ROWS])
        np.testing.assert_array_equal(batch['label'], np.float32([0, 0.75, 1]))
        self.assertEqual(batch['label'].dtype, np.float32)
        self.assertEqual(rows.count([path], _PAIRS), 3)
        self.assertEqual(list(rows.read_column([path], 'q')), [row[1] for row in _ROWS])

  def test_parts_of_a_file_give_the_rows_of_the_whole(self):
    texts = [f'text {n} ü' if n % 7 else '\ufeffmarked' for n in range(40)]
    made = {
      'a.tsv': '\ufefftext\tlabel\r\n' + ''.join(f'{text}\t1\r\n' for text in texts) + 'no label\n\nlast\t0',
      'a.txt': '\n'.join(texts),
      'a.jsonl': '\n\n'.join(json.dumps({'text': text}) for text in texts) + '\n{"bad"\n',
    }
    paths = [self._write(name, content) for name, content in made.items()] + [self._path('a.parquet')]
    pq.write_table(pa.table({'text': texts}), paths[-1], row_group_size=3)
    for path in paths:
      for max_bytes in (1, 20, 100, 10_000):
        schema, parts = config.Schema(max_bad_rows=1), file_formats.spans(path, max_bytes)
        self.assertEqual(len(parts) > 1, max_bytes < 10_000)
        whole_bad, bad = blocks.BadRows(1), blocks.BadRows(1)
        whole = rows.concatenate(list(rows.read([path], schema, bad_rows=whole_bad)))
        sources = [rows.sources([path])[0]._replace(span=span) for span in parts]
        found = pa.concat_tables([table for each in sources for table in rows.read_sources([each], schema, bad)])
        found = rows.batch_of(found)
        for name in whole:
          self.assertEqual(found[name].tolist(), whole[name].tolist())
        self.assertEqual(bad.listed(), whole_bad.listed())

  def test_what_can_only_be_read_from_its_start_has_no_parts(self):
    for path in self._files():
      if not path.endswith(('.tsv', '.jsonl', '.parquet')):
        self.assertEqual(file_formats.spans(path, 1), [None], path)
    self.assertEqual(file_formats.spans(self._write('a.tsv', 'text\n"a\nb"\n'), 1, 'csv'), [None])

  def test_plain_lines_across_blocks(self):
    lines = [b'', b'a\tb "c"', 'ü'.encode() * 3_000_000, b'x' * 100_000, b'']
    path = self._write('lines.txt.gz', gzip.compress(b'\n'.join(lines) + b'\n', 1))
    batch = rows.concatenate(list(rows.read([path], config.Schema())))
    self.assertEqual(batch['text'].tolist(), lines)
    self.assertEqual(batch['id'].tolist(), [b'lines.txt.gz:%d' % line for line in range(1, 6)])
    self.assertLen(list(rows.read_column([path], None)), 5)

  def test_lines_of_a_tsv_are_counted_across_blocks(self):
    num_rows = 400_000
    content = 'text\tlabel\n' + 'some words in a row\t1\n' * num_rows + 'last\t7\n'
    path = self._write('big.tsv', content)
    with self.assertRaisesRegex(ValueError, f'big.tsv:{num_rows + 2}: expected a class from 0'):
      list(rows.read([path], _TEXTS))
    last = list(rows.read([path], config.Schema()))[-1]
    self.assertEqual(last['id'][-1], b'big.tsv:%d' % (num_rows + 2))

  def test_several_files_make_full_batches(self):
    first = self._write('1.txt', 'a\nb\nc\n')
    second = self._write('2.tsv', 'label\ttext\n0\td\n1\te\n')
    batches = list(rows.read([first, second], config.Schema(), batch_size=4))
    self.assertEqual([batch['text'].tolist() for batch in batches], [[b'a', b'b', b'c', b'd'], [b'e']])
    self.assertEqual(batches[1]['id'].tolist(), [b'2.tsv:3'])

  def test_numeric_identifiers_and_classes(self):
    path = self._path('a.parquet')
    pq.write_table(pa.table({'text': ['a', 'b'], 'n': [12, 2**40], 'label': [0, 2]}), path)
    found = next(rows.read([path], config.Schema(id_column='n', label_column='label', num_classes=3)))
    self.assertEqual(found['id'].tolist(), [b'12', b'1099511627776'])
    np.testing.assert_array_equal(found['label'], np.float32([0, 2]))

  @parameterized.named_parameters(
    ('missing_column', 'a.tsv', 'txt\tlabel\na\t1\n', r"a.tsv:1: expected a column 'text', found 'txt', 'label'"),
    ('missing_column_csv', 'a.csv', 'txt,label\na,1\n', r"expected a column 'text', found 'txt', 'label'"),
    ('too_few_columns', 'a.tsv', 'text\tlabel\na\t1\nb\n', r'a.tsv:3: expected 2 columns .*, found 1; '),
    ('columns_that_cancel_out', 'a.tsv', 'text\tlabel\na\nb\t1\t1\n', r'a.tsv:2: expected 2 columns .*, found 1; '),
    ('too_many_columns_csv', 'a.csv', 'text,label\na,1\nb,1,2\n', r'a.csv: row 2: expected 2 columns .*, found 3; '),
    (
      'class_too_high',
      'a.tsv',
      'text\tlabel\na\t1\nb\t2\n',
      r"a.tsv:3: expected a class from 0 to 1 in 'label', found '2'; .*--num_classes",
    ),
    (
      'class_not_whole',
      'a.tsv',
      'text\tlabel\na\t0.5\n',
      r"a.tsv:2: expected a class .*, found '0.5'; .*--label_range",
    ),
    ('no_number', 'a.tsv', 'text\tlabel\na\t1\nb\tgood\n', r"a.tsv:3: expected a class .*, found 'good'"),
    ('infinite', 'a.tsv', 'text\tlabel\na\tinf\n', r"a.tsv:2: expected a class .*, found 'inf'"),
    ('nan', 'a.tsv', 'text\tlabel\na\tnan\n', r"a.tsv:2: expected a class .*, found 'nan'"),
    ('invalid_utf8', 'a.tsv', b'text\tlabel\na\t1\nb\xff\t1\n', r"a.tsv:3: expected UTF-8, found the bytes b'\\xff'"),
    ('invalid_utf8_csv', 'a.csv', b'text,label\na,1\nb\xff,1\n', r'a.csv: row 2: expected UTF-8, found'),
    ('empty', 'a.tsv', '', r'a.tsv: expected rows, found none; '),
    ('empty_tfrecord', 'a.tfrecord.gz', gzip.compress(b''), r'a.tfrecord.gz: expected rows, found none; '),
    ('header_alone', 'a.tsv', 'text\tlabel\n', r'a.tsv: expected rows, found none; '),
    ('header_alone_csv', 'a.csv', 'text,label\n', r'a.csv: expected rows, found none; '),
    ('not_gzip', 'a.tsv.gz', 'text\tlabel\na\t1\n', r'a.tsv.gz: expected a whole compressed tsv file, found: '),
    ('not_parquet', 'a.parquet', 'text\tlabel\na\t1\n', r'a.parquet: expected a (whole p|P)arquet file, found: '),
    ('not_tfrecord', 'a.tfrecord', 'text\tlabel\na\t1\n', r'a.tfrecord: expected a whole tfrecord file, found: '),
    ('unknown_name', 'a.xlsx', '{}', r'a.xlsx: expected a file named .tsv, .csv'),
    ('labels_of_plain_lines', 'a.txt', 'a\n', r'a.txt: expected one column, a text a line, .* clear .*--label_column'),
  )
  def test_bad_input(self, name, content, message):
    path = self._write(name, content)
    with self.assertRaisesRegex(ValueError, message):
      list(rows.read([path], _TEXTS))

  def test_grade_outside_the_range(self):
    path = self._write('a.tsv', 'text\tlabel\na\t1\nb\t3.5\n')
    graded = config.Schema(label_column='label', label_range=(1.0, 3.0))
    with self.assertRaisesRegex(ValueError, r"a.tsv:3: expected a grade from 1 to 3 .*, found '3.5'"):
      list(rows.read([path], graded))

  @parameterized.parameters('txt', 'tsv', 'csv', 'parquet', 'tfrecord')
  def test_truncated_gzip(self, file_format):
    generator = np.random.default_rng(0)
    texts = [generator.bytes(40).hex() for _ in range(5000)]
    path = self._path('a.' + file_format)
    if file_format == 'parquet':
      pq.write_table(pa.table({'text': texts}), path)
    elif file_format == 'tfrecord':
      with tf.io.TFRecordWriter(path) as writer:
        for text in texts:
          writer.write(_example(text=text.encode()))
    else:
      self._write('a.' + file_format, 'text\n' + '\n'.join(texts) + '\n')
    with open(path, 'rb') as file:
      whole = gzip.compress(file.read())
    path = self._write(f'a.{file_format}.gz', whole[: len(whole) // 2])
    message = f'a.{file_format}.gz: expected a whole compressed {file_format} file'
    with self.assertRaisesRegex(ValueError, message):
      list(rows.read([path], config.Schema()))

  def test_nulls_and_wrong_types_in_parquet(self):
    path = self._path('a.parquet')
    pq.write_table(pa.table({'text': ['a', 'b', None], 'label': [0, 1, 0]}), path, row_group_size=1)
    with self.assertRaisesRegex(ValueError, "a.parquet: row 3: expected a value in 'text', found nu"):
      list(rows.read([path], _TEXTS))
    pq.write_table(pa.table({'text': [['a'], ['b']]}), path)
    with self.assertRaisesRegex(ValueError, "expected strings or numbers in 'text', found list"):
      list(rows.read([path], config.Schema()))
    pq.write_table(pa.table({'text': pa.array([b'a', b'\xff'])}), path)
    with self.assertRaisesRegex(ValueError, 'a.parquet: row 2: expected UTF-8'):
      list(rows.read([path], config.Schema()))

  def test_records_that_differ(self):
    path = self._path('a.tfrecord')
    with tf.io.TFRecordWriter(path) as writer:
      writer.write(_example(text=b'a', label=1))
      writer.write(_example(text=b'b', label=b'0'))
    with self.assertRaisesRegex(ValueError, "row 2: expected one value of int64 in 'label', .*, found 1 of string"):
      list(rows.read([path], _TEXTS))
    with self.assertRaisesRegex(ValueError, "expected a column 'words', found 'label', 'text'"):
      list(rows.read([path], config.Schema(text_columns=('words',))))

  def test_ids_tell_files_of_one_name_apart(self):
    paths = []
    for folder in ('x/1', 'x/2', 'y'):
      os.makedirs(self._path(folder))
      paths.append(self._write(f'{folder}/log.txt', 'a\n'))
    paths.append(self._write('other.txt', 'a\n'))
    batch = next(rows.read(paths, config.Schema()))
    self.assertEqual(batch['id'].tolist(), [b'x/1/log.txt:1', b'x/2/log.txt:1', b'y/log.txt:1', b'other.txt:1'])
    batch = next(rows.read(paths[:2], config.Schema()))
    self.assertEqual(batch['id'].tolist(), [b'1/log.txt:1', b'2/log.txt:1'])

  def test_nulls(self):
    path = self._path('a.parquet')
    pq.write_table(pa.table({'text': ['a', None], 'id': [None, 'b'], 'label': [None, 1]}), path)
    schema = config.Schema(label_column='label', null_text='empty')
    batch = next(rows.read([path], schema))
    self.assertEqual(batch['text'].tolist(), [b'a', b''])
    np.testing.assert_array_equal(batch['label'], np.float32([np.nan, 1]))
    with self.assertRaisesRegex(ValueError, "a.parquet: row 1: expected a value in 'id', found null"):
      next(rows.read([path], config.Schema(id_column='id', null_text='empty')))
    with self.assertRaisesRegex(ValueError, "a.parquet: row 1: expected a number in 'label', found null"):
      next(rows.read([path], schema, scores_columns=['label']))

  def test_a_nul_in_a_text_is_named(self):
    path = self._write('a.tsv', 'text\tlabel\nred\0 drill\t1\nsaw\t0\n')
    for read in (lambda: list(rows.read([path], _TEXTS)), lambda: list(rows.read_column([path], 'text'))):
      with self.assertRaisesRegex(ValueError, "a.tsv:2: expected text in 'text', found a NUL in it; remove it"):
        read()
    self.assertEqual(list(rows.read_column([path], 'text', blocks.BadRows(1))), ['saw'])

  def test_labelled_rows_alone(self):
    path = self._write('a.tsv', 'text\tlabel\na\t\nb\t1\nc\t \n')
    self.assertEqual([batch['text'].tolist() for batch in rows.read_labelled([path], _TEXTS)], [[b'b']])
    with self.assertRaisesRegex(ValueError, 'b.tsv: expected labelled rows, found no label in 1 rows'):
      rows.load_labelled([self._write('b.tsv', 'text\tlabel\na\t\n')], _TEXTS)

  def test_bad_rows_are_left_out_and_remembered(self):
    good = self._write('a.tsv', 'text\tlabel\na\t1\nb\nc\t7\nd\xff\t1\ne\t0\n'.encode('latin1'))
    other = self._path('b.parquet')
    pq.write_table(pa.table({'text': ['f', None], 'label': [1, 9]}), other)
    bad_rows = blocks.BadRows(4)
    for _ in range(2):  # Each counts once.
      batch = next(rows.read([good, other], _TEXTS, bad_rows=bad_rows))
      self.assertEqual(batch['text'].tolist(), [b'a', b'e', b'f'])
      self.assertEqual(batch['id'].tolist(), [b'a.tsv:2', b'a.tsv:6', b'b.parquet:1'])
    bad_rows.write(self.folder)
    with open(self._path('rejected.jsonl'), encoding='utf-8') as file:
      found = [json.loads(line) for line in file]
    self.assertEqual([(line['file'], line['number']) for line in found], [(good, 3), (good, 5), (good, 4), (other, 2)])
    self.assertEqual(found[0]['where'], f'{good}:3')
    self.assertRegex(found[0]['reason'], 'expected 2 columns')
    self.assertEqual(bad_rows.counted(), {'bad_rows': 4})
    schema = config.Schema(label_column='label', max_bad_rows=3)
    with self.assertRaisesRegex(
      ValueError, r'b.parquet: row 2: expected .* \(3 bad rows before it: all that --max_bad_r'
    ):
      list(rows.read([good, other], schema))

  def test_a_path_that_is_there_is_no_pattern(self):
    os.makedirs(self._path('in[1]'))
    path = self._write('in[1]/log[1].txt', 'a\n')
    self.assertEqual(rows.expand([path]), [path])

  def test_expand(self):
    paths = [self._write(name, 'a\n') for name in ('b.txt', 'a.txt')]
    self.assertEqual(rows.expand([self._path('*.txt'), paths[0]]), sorted(paths))
    with self.assertRaisesRegex(ValueError, r'\*\.tsv: expected a file, found a pattern that'):
      rows.expand([self._path('*.tsv')])
    with self.assertRaisesRegex(ValueError, 'c.txt: expected a file, found no such file'):
      rows.expand([self._path('c.txt')])
    with self.assertRaisesRegex(ValueError, 'expected a file, found a folder'):
      rows.expand([self.folder])
    with self.assertRaisesRegex(ValueError, "row 2: expected a value in 'q', found null"):
      pq.write_table(pa.table({'q': ['a', None]}), self._path('q.parquet'))
      list(rows.read_column([self._path('q.parquet')], 'q'))
    with self.assertRaisesRegex(ValueError, 'expected the name of a column'):
      list(rows.read_column([self._write('a.tsv', 'a\nb\n')], None))


class ShuffleTest(absltest.TestCase):
  def test_permutes_within_windows_and_keeps_rows_whole(self):
    def batches(batch_size):
      for start in range(0, 100, batch_size):
        numbers = np.arange(start, min(start + batch_size, 100))
        yield {'text': np.array([b'%d' % n for n in numbers], dtype=object), 'logits': numbers[:, None, None] * 1.0}

    found = list(rows.shuffle(batches(7), batch_size=16, window_rows=30, seed=1))
    self.assertEqual([rows.size(batch) for batch in found], [16] * 6 + [4])
    whole = rows.concatenate(found)
    numbers = whole['logits'][:, 0, 0].astype(int)
    self.assertEqual([int(text) for text in whole['text']], numbers.tolist())
    for start in range(0, 100, 30):
      window = numbers[start : start + 30]
      self.assertCountEqual(window, range(start, min(start + 30, 100)))
      self.assertNotEqual(window.tolist(), sorted(window))
    again = rows.concatenate(list(rows.shuffle(batches(50), batch_size=9, window_rows=30, seed=1)))
    np.testing.assert_array_equal(again['logits'][:, 0, 0], numbers)
    other = rows.concatenate(list(rows.shuffle(batches(50), batch_size=9, window_rows=30, seed=2)))
    self.assertNotEqual(other['text'].tolist(), whole['text'].tolist())
    later = list(batches(32))[2:]
    later = rows.concatenate(list(rows.shuffle(later, batch_size=9, window_rows=32, seed=1, windows_before=2)))
    expected = rows.concatenate(list(rows.shuffle(batches(7), batch_size=9, window_rows=32, seed=1)))
    self.assertEqual(later['text'].tolist(), expected['text'][64:].tolist())


if __name__ == '__main__':
  absltest.main()
