"""The pieces are BERT's own, whatever the characters; case, accents and refusals follow the files of the checkpoint."""

import json
import os
import unicodedata

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from b2d.models import wordpiece
from tests import tiny_bert

_LETTERS = 'abcdefghijklmnopqrstuvwxyzß²½™″µμικροςσ我かﬁ'
_VOCAB = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', *_LETTERS, *(f'##{letter}' for letter in _LETTERS), '.', '「')


def _is_han(char):
  ranges = (
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2CEAF),
    (0x2F800, 0x2FA1F),
  )
  return any(low <= ord(char) <= high for low, high in ranges)


def _is_punctuation(char):
  return char in '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~' or unicodedata.category(char).startswith('P')


def _pieces(text, vocab, lower=True):
  """Reference: BERT's BasicTokenizer and WordpieceTokenizer."""
  kept = []
  for char in text:
    if char not in '\t\n\r' and (char == '\ufffd' or unicodedata.category(char) in ('Cc', 'Cf', 'Co')):
      continue
    kept.append(f' {char} ' if _is_han(char) else char)
  words = []
  for token in ''.join(kept).split():
    if lower:
      token = ''.join(
        char for char in unicodedata.normalize('NFD', token.lower()) if unicodedata.category(char) != 'Mn'
      )
    spaced = (f' {char} ' if _is_punctuation(char) else char for char in token)
    words += ''.join(spaced).split(' ')
  return [piece for word in words if word for piece in _greedy(word, vocab)]


def _greedy(word, vocab):
  pieces = []
  start = 0
  while start < len(word):
    ends = range(len(word), start, -1)
    found = (('##' if start else '') + word[start:end] for end in ends)
    piece = next((piece for piece in found if piece in vocab), None)
    if piece is None or len(word) > 100:
      return ['[UNK]']
    pieces.append(piece)
    start += len(piece.removeprefix('##') if start else piece)
  return pieces


class WordPieceTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _tokenizer(self, vocab=_VOCAB, marks=None, **settings):
    if settings:
      with open(os.path.join(self.folder, 'tokenizer_config.json'), 'w', encoding='utf-8') as file:
        json.dump(settings, file)
    return wordpiece.WordPiece(tiny_bert.write_vocab(self.folder, vocab), marks)

  def _found(self, tokenizer, texts):
    return [[tokenizer.vocab[piece] for piece in row] for row in tokenizer(tf.constant(texts, tf.string)).to_list()]

  def test_ids_as_berts(self):
    tokenizer = self._tokenizer(tiny_bert.VOCAB, wordpiece.BERT_MARKS)
    self.assertEqual((tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id), (0, 2, 3))
    found = tokenizer(tf.constant(['A  Fílm!', 'sh\x00oe\u0301s good\tbad', '', 'x' * 500]))
    self.assertEqual(found.to_list(), [[9, 7, 38], [23, 18, 5, 6], [], [1]])

  def test_cut_as_the_exact_pieces(self):
    tokenizer = self._tokenizer(tiny_bert.VOCAB)
    texts = tf.constant(['', 'Red shoes, zebra', ' not\u00a0very\u3000FUNNY . ', 'film-good'])
    exact = tokenizer(texts)
    ids, rows = tokenizer.cut(texts)
    self.assertEqual((ids.dtype, rows.dtype), (tf.int64, tf.int64))
    np.testing.assert_array_equal(ids, exact.values)
    np.testing.assert_array_equal(rows, exact.value_rowids())
    unknown = tiny_bert.VOCAB.index('[UNK]')
    marked, rows = tokenizer.cut(texts, 2)
    for row, pieces in enumerate(exact.to_list()):
      self.assertEqual(marked[rows == row].numpy().tolist(), [unknown, unknown, *pieces])

  @parameterized.parameters(
    ('fun\x97 go', 'f ##u ##n g ##o'),
    ('re\ufffdd \ufffd', 'r ##e ##d'),
    ('red\u200bshoe', 'r ##e ##d ##s ##h ##o ##e'),
    ('red\xa0s\u2028d\x0bx', 'r ##e ##d s d ##x'),
    ('m² ½ m™ 我″', 'm ##² ½ m ##™ 我 ″'),
    ('ΜΙΚΡΟΣ Fuß 5µ', 'μ ##ι ##κ ##ρ ##ο ##ς f ##u ##ß [UNK]'),
    ('我' * 101, '我 ' * 101),
    ('Ка', '[UNK]'),
  )
  def test_rare_characters(self, text, expected):
    self.assertEqual(self._found(self._tokenizer(), [text]), [expected.split()])

  @parameterized.parameters('x', 'か', 'μ', 'ﬁ')
  def test_words_of_100_characters(self, letter):
    found = self._found(self._tokenizer(), [letter * 100, letter * 101, f'{letter * 60}.{letter * 60}'])
    self.assertEqual(
      found, [[letter] + [f'##{letter}'] * 99, ['[UNK]'], _pieces(f'{letter * 60}.{letter * 60}', _VOCAB)]
    )

  @parameterized.parameters(True, False)
  def test_every_character_as_bert(self, lower):
    tokenizer = self._tokenizer(do_lower_case=lower)
    codes = (*range(0x3400), *range(0x3400, 0xD800, 101), *range(0xE000, 0x30000, 11))
    characters = map(chr, codes)
    characters = [char for char in characters if unicodedata.category(char) != 'Cn']  # Each Unicode has its own.
    texts = [f'a{char}b {char} x{char}{char}' for char in characters]
    wrong = [
      (ascii(char), found, expected)
      for char, text, found in zip(characters, texts, self._found(tokenizer, texts))
      if found != (expected := _pieces(text, set(_VOCAB), lower))
    ]
    self.assertEmpty(wrong[:5])

  def test_any_characters_together(self):
    rng = np.random.default_rng(1)
    some = [*'abΣΟΣ.「我か가ﬁÉ½ \t\x97\xad\u0301\u2028\u200d\ufffd', *map(chr, rng.integers(0x80, 0x3000, 40))]
    texts = [''.join(rng.choice(some, rng.integers(1, 150))) for _ in range(300)]
    texts = [''.join(char for char in text if unicodedata.category(char) != 'Cn') for text in texts]
    self.assertEqual(self._found(self._tokenizer(), texts), [_pieces(text, set(_VOCAB)) for text in texts])

  @parameterized.named_parameters(
    ('cased, said so', {'do_lower_case': False}, (), (False, False)),
    ('uncased, said so', {'do_lower_case': True}, ('Film',), (True, True)),
    ('accents kept', {'do_lower_case': True, 'strip_accents': False}, (), (True, False)),
    ('accents stripped alone', {'do_lower_case': False, 'strip_accents': True}, (), (False, True)),
    ('an uncased vocabulary', {}, (), (True, True)),
    ('an uncased vocabulary, settings of something else', {'model_max_length': 512}, (), (True, True)),
    ('a cased vocabulary', {}, ('Film',), (False, False)),
    ('an uncased vocabulary with accents', {}, ('für',), (True, False)),
    ('marks are no words', {}, ('[X]', '<S>'), (True, True)),
  )
  def test_case_and_accents(self, settings, more, expected):
    tokenizer = self._tokenizer((*tiny_bert.VOCAB, *more), **settings)
    self.assertEqual((tokenizer.lower_case, tokenizer.strip_accents), expected)

  def test_cased_texts(self):
    vocab = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', 'Für', 'für', 'fur', '가', 'ガ', '##ラ', '!')
    self.assertEqual(
      self._found(self._tokenizer(vocab), ['Für für fur FUR', '가!', 'ガラ']),
      [['Für', 'für', 'fur', '[UNK]'], ['가', '!'], ['ガ', '##ラ']],
    )
    self.assertEqual(self._found(self._tokenizer(vocab, do_lower_case=True), ['Für ガ']), [['fur', '[UNK]']])

  def test_a_copy_reads_texts_alike(self):
    tokenizer = self._tokenizer(do_lower_case=False, strip_accents=True)
    to = os.path.join(self.create_tempdir().full_path, 'vocab.txt')
    wordpiece.copy(os.path.join(self.folder, 'vocab.txt'), to)
    copied = wordpiece.WordPiece(to)
    self.assertEqual(copied.vocab, tokenizer.vocab)
    self.assertEqual((copied.lower_case, copied.strip_accents), (False, True))

  @parameterized.parameters(
    ({'tokenizer_class': 'BertJapaneseTokenizer'}, "tokenizer_class 'BertJapaneseTokenizer': expected one of Bert"),
    ({'tokenize_chinese_chars': False}, 'tokenize_chinese_chars False: expected True'),
    ({'do_basic_tokenize': False}, 'do_basic_tokenize False: expected True'),
    ({'never_split': ['18v']}, r"never_split \['18v'\]: expected none"),
    ({'unk_token': '<unk>'}, r"unk_token '<unk>': expected '\[UNK\]'"),
    ({'cls_token': {'content': '<s>'}}, r"cls_token '<s>': expected '\[CLS\]'"),
  )
  def test_refuses_what_it_would_cut_otherwise(self, settings, message):
    with self.assertRaisesRegex(ValueError, f'tokenizer_config.json: {message}'):
      self._tokenizer(tiny_bert.VOCAB, wordpiece.BERT_MARKS, **settings)

  def test_settings_as_transformers_writes_them(self):
    self._tokenizer(
      tiny_bert.VOCAB,
      wordpiece.BERT_MARKS,
      tokenizer_class='BertTokenizerFast',
      cls_token={'content': '[CLS]'},
      never_split=None,
      strip_accents=None,
      tokenize_chinese_chars=True,
    )

  def test_added_tokens(self):
    self._tokenizer(added_tokens_decoder={'0': {'content': '[PAD]'}, '90': {'content': '[BRAND]'}})
    with open(os.path.join(self.folder, 'added_tokens.json'), 'w', encoding='utf-8') as file:
      json.dump({'[SIZE]': 91}, file)
    vocab_file = os.path.join(self.folder, 'vocab.txt')
    self.assertEqual(wordpiece.added_tokens(vocab_file, _VOCAB), {'[BRAND]', '[SIZE]'})

  def _write(self, content: bytes) -> str:
    path = os.path.join(self.folder, 'wrong.txt')
    with open(path, 'wb') as file:
      file.write(content)
    return path

  def test_line_endings(self):
    self.assertEqual(wordpiece.read_vocab(self._write(b'[UNK]\r\nfilm\r\n\r\n')), ['[UNK]', 'film'])

  def test_byte_order_mark(self):
    self.assertEqual(wordpiece.read_vocab(self._write(b'\xef\xbb\xbf[UNK]\nfilm\n')), ['[UNK]', 'film'])

  def test_wrong_vocabularies(self):
    with self.assertRaisesRegex(ValueError, "wrong.txt, line 3: 'film' stands in line 2 too; expected it once"):
      wordpiece.read_vocab(self._write(b'[UNK]\nfilm\nfilm\n'))
    with self.assertRaisesRegex(ValueError, 'none.txt: no such vocabulary file; set --vocab_file'):
      wordpiece.WordPiece(os.path.join(self.folder, 'none.txt'))
    with self.assertRaisesRegex(ValueError, r'wrong.txt: lacks \[CLS\], \[SEP\]; expected a BERT'):
      wordpiece.read_vocab(self._write(b'[PAD]\n[UNK]\nfilm\n'), wordpiece.BERT_MARKS)
    with self.assertRaisesRegex(ValueError, 'wrong.txt: expected a BERT vocabulary in UTF-8'):
      wordpiece.read_vocab(self._write(b'[PAD]\n\xff\n'))


if __name__ == '__main__':
  absltest.main()
