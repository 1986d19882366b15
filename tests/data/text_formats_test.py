"""Text as its writer meant it, or the row named: quotes, delimiters, encodings, line ends, JSON Lines."""

import csv
import io
import json
import os
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized

from b2d import config
from b2d.data import rows
from b2d.data import text_formats

_PAIRS = config.Schema(text_columns=('query', 'title'), id_column='id')
_TEXTS = config.Schema(text_columns=('text',))


class TextFormatsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _write(self, name, content):
    path = os.path.join(self.folder, name)
    with open(path, 'wb') as file:
      file.write(content if isinstance(content, bytes) else content.encode('utf-8'))
    return path

  def _texts(self, path, **settings):
    return rows.concatenate(list(rows.read([path], config.Schema(**settings))))['text'].tolist()

  def _assert_refused(self, path, message, **settings):
    with self.assertRaisesRegex(ValueError, message):
      list(rows.read([path], config.Schema(**settings)))

  def test_tsv_has_no_quoting_but_says_what_looks_quoted(self):
    content = 'text\tother\n"lone quote\tx\n"all of it"\tx\n"27"" monitor"\tx\n'
    path = self._write('a.tsv', content)
    self._assert_refused(path, r'a.tsv:4: expected cells without quoting, found "27"" monitor", .* --tsv_quoting=csv')
    self.assertEqual(self._texts(path, tsv_quoting='none'), [b'"lone quote', b'"all of it"', b'"27"" monitor"'])
    self._assert_refused(self._write('b.tsv', '"text"\n"a"\n'), 'found "text", quoted; set --tsv_quoting=csv')

  def test_tsv_of_one_column_with_line_ends_inside_quotes(self):
    """As pandas writes them; they were read as several texts."""
    content = 'text\n"Great, really.\n\nWould ""buy""\nagain."\nBad\n'
    path = self._write('a.tsv', content)
    self._assert_refused(path, r'a.tsv:2: expected cells without quoting, found "Great, really.\\n\\nWould .*=csv')
    self.assertEqual(self._texts(path, max_bad_rows=4), [b'Bad'])
    self.assertEqual(self._texts(path, tsv_quoting='csv'), [b'Great, really.\n\nWould "buy"\nagain.', b'Bad'])
    self.assertLen(self._texts(path, tsv_quoting='none'), 5)

  @parameterized.parameters(
    '"lone quote\nand more',
    '"lone quote\na tv of 27" or so',
    '"lone quote\na "real" or "so" tv of 27"',  # The quotes inside would be doubled.
    '"lone quote\n' + 'x\n' * 60 + 'a tv of 27"',
    'no quote\na tv of 27"',
  )
  def test_lone_quotes_are_text(self, text):
    self.assertEqual(self._texts(self._write('a.tsv', f'text\n{text}\n')), text.encode().split(b'\n'))

  def test_tsv_as_csv_writer_writes_it(self):
    path = os.path.join(self.folder, 'a.tsv')
    written = [('1', '27" monitor', 'a\ttab'), ('2', 'two\nlines', ''), ('3', '', '"'), ('4', 'plain', 'rød')]
    with open(path, 'w', encoding='utf-8', newline='') as file:
      csv.writer(file, delimiter='\t').writerows([('n', 'text', 'title'), *written])
    schema = config.Schema(text_columns=('text', 'title'), tsv_quoting='csv')
    batch = next(rows.read([path], schema))
    self.assertEqual(batch['query'].tolist(), [row[1].encode() for row in written])
    self.assertEqual(batch['title'].tolist(), [row[2].encode() for row in written])
    self.assertEqual(batch['id'].tolist(), [b'a.tsv:2', b'a.tsv:3', b'a.tsv:5', b'a.tsv:6'])  # First lines.

  def test_blank_lines(self):
    self.assertEqual(self._texts(self._write('a.tsv', 'text\tlabel\na\t1\n\nb\t0\n\n')), [b'a', b'b'])
    self.assertEqual(self._texts(self._write('b.tsv', 'text\na\n\nb\n')), [b'a', b'', b'b'])
    self.assertEqual(self._texts(self._write('c.csv', 'text\na\n\n"",\n'[:-2] + '\n')), [b'a', b''])

  def test_line_ends_inside_a_line_are_text_in_tsv_and_txt(self):
    odd = 'a\rb\x01c\x0bd\x85e\u2028f'
    for name, header in (('a.tsv', 'text\n'), ('a.txt', '')):
      self.assertEqual(self._texts(self._write(name, f'{header}{odd}\r\n')), [odd.encode()])
    self._assert_refused(self._write('a.csv', 'text,x\nb,1\na\rb,1\n'), 'a.csv: row 2: expected no carriage return')
    self.assertEqual(self._texts(self._write('b.csv', 'text,x\n"a\rb",1\n')), [b'a\rb'])

  @parameterized.parameters(3, 50, 1 << 20)
  def test_odd_lines_across_chunks(self, chunk_bytes):
    texts = ['', '"', 'a\r', '\ufeff', 'rød\u2028', 'x' * 2000, 'y' * (1_000_000 if chunk_bytes > 50 else 0), 'last']
    lines = [f'\ttitle {number}\t{text}' for number, text in enumerate(texts)]
    path = self._write('a.tsv', '\ufeff' + '\r\n'.join(['x\ttitle\ttext', *lines]))
    empty = self._write('b.tsv', '\ufeff')
    with mock.patch.object(text_formats, '_CHUNK_BYTES', chunk_bytes):
      batch = rows.concatenate(list(rows.read([path, empty], config.Schema(text_columns=('text', 'title')))))
    self.assertEqual(batch['query'].tolist(), [text.encode() for text in texts])
    self.assertEqual(batch['title'].tolist(), [b'title %d' % number for number in range(len(texts))])
    self.assertEqual(batch['id'].tolist(), [b'a.tsv:%d' % number for number in range(2, 2 + len(texts))])

  def test_a_very_long_line_is_not_copied_at_every_chunk(self):
    stream = mock.Mock(wraps=io.BytesIO(b'x' * 1_000_000 + b'\ny\n'))
    with mock.patch.object(text_formats, '_CHUNK_BYTES', 1000):
      blocks = list(text_formats.read_txt('a.txt', stream, ['text'], self.fail))
    self.assertEqual([len(text) for block in blocks for text in block.columns[0].to_pylist()], [1_000_000, 1])
    self.assertLess(stream.read.call_count, 20)

  @parameterized.named_parameters(
    ('tabs', 'a.csv', 'id\ttext\n1\tb, c\n', 'a.csv:1: expected a header with commas, found tabs; rename .* .tsv'),
    ('semicolons', 'a.csv', 'id;text\n1;b\n', 'a.csv:1: expected a header with commas, found semicolons'),
    (
      'commas',
      'a.tsv',
      'id,text\n1,b\n',
      'a.tsv:1: expected a header with tabs, found commas; rename the file to .csv',
    ),
    ('twice_csv', 'a.csv', 'text,x,text\na,b,c\n', "a.csv: row 1: expected a column 'text', found it twice"),
    ('twice_tsv', 'a.tsv', 'text\tx\ttext\na\tb\tc\n', "a.tsv:1: expected a column 'text', found it twice"),
    ('latin1_header', 'a.csv', b'qualit\xe9,text\na,b\n', r"a.csv:1: expected UTF-8, .* b'\\xe9'; .*iconv -f latin1"),
    ('utf16', 'a.csv', 'text,x\na,b\n'.encode('utf-16'), 'a.csv:1: expected UTF-8, found UTF-16; .*iconv -f utf-16'),
    ('quoted_semicolons', 'a.csv', '"id";"text"\n"1";"b"\n', 'a.csv:1: expected a header with commas, found semicol'),
    ('quoted_tabs', 'a.csv', '"id"\t"text"\n"1"\t"b"\n', 'a.csv:1: .* commas, found tabs; rename .* --tsv_quoting=csv'),
    ('quoted_commas', 'a.tsv', '"id","text"\n"1","b"\n', 'a.tsv:1: expected a header with tabs, found commas; rename'),
    ('semicolons_and_comma', 'a.csv', 'text;price, EUR;x\na;1;2\n', 'a.csv:1: .* commas, found semicolons; write'),
    ('mac_csv', 'a.csv', 'text,x\ra,1\rb,2\r', r"a.csv:1: .* found CR alone; convert them, e.g. with tr '.r' '.n'"),
    ('mac_tsv', 'a.tsv', 'text\tx\ra\t1\rb\t2\r', 'a.tsv:1: expected lines that end at LF or CR LF, found CR alone'),
    ('broken_header', 'a.csv', '"a"b,text\na,b\n', 'a.csv:1: expected a comma or the end of the line after a closing'),
    (
      'backslash',
      'a.csv',
      'text,x\nb,1\n"27\\" screen",2\n',
      'a.csv: row 2: expected a comma or the end of the line after a closing quote, .*Spark',
    ),
    ('open_quote', 'a.csv', 'text,x\nb,1\n"27 screen,2\nc,3\n', 'a.csv: row 2: expected a closing quote, found'),
    ('array', 'a.json', '[\n{"text": "a"}\n]\n', r'a.json:1: expected a JSON object a line, found.* jq -c'),
    ('whole_array', 'a.json', '[{"text": "a"}]\n', r"a.json:1: expected a JSON object a line, found .* jq -c '.\[\]'"),
    ('key', 'a.jsonl', '{"text": "a"}\n\n{"txt": "b"}\n', "a.jsonl:3: expected the key 'text', found 'txt'; "),
    ('nested', 'a.jsonl', '{"text": {"b": "c"}}\n', "a.jsonl:1: expected a string or a number in 'text', found an ob"),
    ('null', 'a.jsonl', '{"text": null}\n', "a.jsonl:1: expected a value in 'text', found null"),
    (
      'half_a_pair',
      'a.jsonl',
      '{"text": "\\ud83d"}\n',
      r'a.jsonl:1: expected text in .text., found \\ud83d, half of a',
    ),
    ('other_half', 'a.jsonl', '{"text": "\\udca9"}\n', r'a.jsonl:1: expected text in .text., found \\udca9, half of a'),
    ('json_utf8', 'a.jsonl', b'{"text": "\xe9"}\n', r"a.jsonl:1: expected UTF-8, found the bytes b'\\xe9'"),
  )
  def test_refused(self, name, content, message):
    self._assert_refused(self._write(name, content), message)

  @parameterized.parameters('"id";"text"\n"1";"b"\n', '"a"b,text\na,b\n', 'text,x\ra,1\r', '"text,x\na,1\n')
  def test_a_broken_header_is_no_bad_row(self, content):
    self._assert_refused(self._write('a.csv', content), 'a.csv:1: expected ', max_bad_rows=10)

  def test_delimiters_in_names_do_not_matter(self):
    path = self._write('a.csv', '"a;b;c",text\n1,b\n')
    self.assertEqual(self._texts(path), [b'b'])
    self._assert_refused(
      self._write('b.csv', 'a,b;c,d\n1,2,3\n'), "row 1: expected a column 'text', found 'a', 'b;c', "
    )

  def test_large_csv_with_an_open_quote(self):
    content = 'text,x\na,1\n"b,2\n' + 'some words,3\n' * 500_000
    path = self._write('a.csv', content)
    self._assert_refused(path, 'a.csv: row 2: expected a cell of at most 4194304 characters, .* close its quote')
    found = self._texts(path, max_bad_rows=1)
    self.assertEqual((len(found), found[:2]), (500_001, [b'a', b'some words']))

  def test_reading_goes_on_after_the_line_of_an_open_quote(self):
    path = self._write('a.csv', 'text,x\n"27 in, tv",1\n"27 screen,2\nc,3\n"d ""e""",4\n')
    self.assertEqual(self._texts(path, max_bad_rows=1), [b'27 in, tv', b'c', b'd "e"'])

  def test_columns_that_nobody_asked_for_do_not_matter(self):
    many = 200_000
    content = b'text,id,x,flag\n' + b'some words in a row,12,,true\n' * many + b'last,a1,\xff\xfe,maybe\n'
    self.assertGreater(len(content), 1 << 22)
    self.assertEqual(self._texts(self._write('a.csv', content))[-1], b'last')
    tsv = self._texts(self._write('a.tsv', content.replace(b',', b'\t')))
    self.assertEqual((len(tsv), tsv[-1]), (many + 1, b'last'))

  def test_escaped_pairs_and_halves_that_nobody_asked_for(self):
    path = self._write('a.jsonl', '{"text": "\\uD83D\\uDCA9", "other": "\\ud83d"}\n')
    self.assertEqual(self._texts(path), ['\U0001f4a9'.encode()])

  def test_json_lines(self):
    lines = [
      {'id': 2**64 + 1, 'query': 'rød', 'product': {'title': 'a "b"', 'tags': ['x']}, 'label': True, 'p': 0.25},
      {'id': '7', 'query': 1984, 'product': {'title': 12.50}, 'label': 0, 'p': '0.5'},
      {'id': 'x', 'query': '\u2028', 'product': {'title': ''}, 'label': None, 'p': 1},
    ]
    schema = config.Schema(text_columns=('query', 'product.title'), id_column='id', label_column='label')
    content = ''.join(json.dumps(line, ensure_ascii=False) + '\n' for line in lines).replace('12.5', '12.50')
    for name in ('a.jsonl', 'a.ndjson', 'a.json'):
      batch = next(rows.read([self._write(name, content)], schema, scores_columns=['p']))
      self.assertEqual(batch['id'].tolist(), [b'18446744073709551617', b'7', b'x'])
      self.assertEqual(batch['query'].tolist(), ['rød'.encode(), b'1984', '\u2028'.encode()])
      self.assertEqual(batch['title'].tolist(), [b'a "b"', b'12.50', b''])
      self.assertEqual(batch['label'][:2].tolist(), [1, 0])
      self.assertTrue(batch['label'][2] != batch['label'][2])  # NaN: unlabelled.
      self.assertEqual(batch['scores'][:, 0].tolist(), [0.25, 0.5, 1])


if __name__ == '__main__':
  absltest.main()
