"""The shared text layer: what each normalisation and tokeniser makes of texts, good and hostile."""

from absl.testing import absltest
from absl.testing import parameterized
import tensorflow as tf

from b2d import config
from b2d.data import words
from b2d.models import text
from tests import tiny_bert

_HOSTILE = (
  b'',
  b' ',
  b'\xff\xfe',
  b'\xc3',
  b'\xed\xa0\x80x',
  b'a\x00b',
  b'\x02 \x02',
  '\u202e\ufeff\u0301'.encode(),
  '👩‍👩‍👧'.encode(),
  b'long ' * 20_000,
  b'x' * 100_000,
)


def _tokens(strings, tokenizer, **settings):
  """Token lists, one a text."""
  tokens, row_ids = text.split(tf.constant(strings, tf.string), tokenizer, **settings)
  tf.debugging.assert_non_negative(row_ids[1:] - row_ids[:-1])
  by_row = [[] for _ in strings]
  for token, row in zip(tokens.numpy(), row_ids.numpy()):
    by_row[row].append(token.decode('utf-8', 'backslashreplace') if isinstance(token, bytes) else int(token))
  return by_row


class NormalizeTest(parameterized.TestCase):
  @parameterized.parameters(
    ('none', 'ＴＶ Straße ÉCLAIR', 'ＴＶ Straße ÉCLAIR'),
    ('lower_ascii', 'ＴＶ Straße ÉCLAIR', 'ＴＶ straße Éclair'),
    ('lower', 'ＴＶ Straße ÉCLAIR', 'ｔｖ straße éclair'),
    ('casefold_nfkc', 'ＴＶ Straße ÉCLAIR', 'tv strasse éclair'),
    ('casefold_nfkc', 'e\u0301 ﬁne ½', 'é fine 1⁄2'),
  )
  def test_forms(self, form, given, expected):
    found = text.normalize(tf.constant([given, '']), form).numpy()
    self.assertEqual([value.decode() for value in found], [expected, ''])

  def test_a_nul_ends_the_text_for_lower_alone(self):
    found = {form: text.normalize(tf.constant(['A\0B']), form).numpy()[0] for form in config.groups.NORMALIZATIONS}
    self.assertEqual(found, {'none': b'A\0B', 'lower_ascii': b'a\0b', 'lower': b'a', 'casefold_nfkc': b'a\0b'})

  def test_unknown_form(self):
    with self.assertRaisesRegex(ValueError, "'NFD': expected none, lower_ascii, lower or casefold_nfkc"):
      text.normalize(tf.constant(['a']), 'NFD')


class SplitTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.vocab_file = tiny_bert.write_vocab(self.create_tempdir().full_path)

  def _mark(self, tokenizer):
    return tiny_bert.VOCAB.index('[UNK]') if tokenizer == 'wordpiece' else text.MARK

  @parameterized.parameters(
    ('whitespace', 'Red\tshoe,\n 18V', ['Red', 'shoe,', '18V']),
    ('whitespace', '\u3000red\u00a0shoe\u200b我的\ufeff\u0085', ['red', 'shoe', '我的']),
    ('words', '我的iPhone 15，很\u3000好!', ['我', '的', 'iPhone', '15', '，', '很', '好', '!']),
    (
      'words',
      'ラーメン か\u3099ﾞ ฟ้าสวย हिन्दी 한국어',
      ['ラ', 'ー', 'メ', 'ン', 'か\u3099ﾞ', 'ฟ้', 'า', 'ส', 'ว', 'ย', 'हिन्दी', '한국어'],
    ),
    ('unicode_script', 'Red shoe, 12\u00a034V日本', ['Red', 'shoe', ',', '12', '34', 'V', '日本']),
    ('characters', 'a\u3000日本\t!', ['a', '日', '本', '!']),
    ('wordpiece', 'Red shoes, zebra', [21, 23, 18, 37, 1]),
  )
  def test_tokens(self, tokenizer, given, expected):
    found = _tokens(['', given, '  '], tokenizer, vocab_file=self.vocab_file)
    self.assertEqual(found, [[], expected, []])
    found = _tokens(['', given], tokenizer, vocab_file=self.vocab_file, marks=2)
    self.assertEqual(found, [[self._mark(tokenizer)] * 2, [self._mark(tokenizer)] * 2 + expected])

  def test_delimiters_and_suffix(self):
    texts = ['cat-eye shoes/boots.', 's bus a.b.']
    self.assertEqual(
      _tokens(texts, 'whitespace', delimiters='-/'), [['cat', 'eye', 'shoes', 'boots.'], ['s', 'bus', 'a.b.']]
    )
    self.assertEqual(
      _tokens(texts, 'whitespace', delimiters='-/', strip_suffix=r'\Bs|\.', marks=1),
      [[text.MARK, 'cat', 'eye', 'shoe', 'boots'], [text.MARK, 's', 'bu', 'a.b']],
    )

    for tokenizer in ('whitespace', 'words'):
      self.assertEqual(
        _tokens(['shoes\u3000boots\u00a0\u00a0a.b. c'], tokenizer, delimiters='/', strip_suffix=r'\Bs|\.'),
        [['shoe', 'boot', 'a.b', 'c']],
      )

  @parameterized.parameters('whitespace', 'words')
  def test_numbers_of_their_own(self, tokenizer):
    self.assertEqual(
      _tokens(['12ft. M18 3/4in', '1.5x2', ''], tokenizer, part_numbers=True, strip_suffix=r'\.', marks=1),
      [[text.MARK, '12', 'ft', 'M', '18', '3/4', 'in'], [text.MARK, '1.5', 'x', '2'], [text.MARK]],
    )

  def test_numbers_among_signs(self):
    self.assertEqual(_tokens(['买2件iPhone15'], 'words', part_numbers=True), [['买', '2', '件', 'iPhone', '15']])

  @parameterized.parameters(
    '我的iPhone 15，很好！\u3000“不错”',
    'ラーメン か\u3099ﾞ\u200bฟ้าสวย',
    ' red\u00a0 cafe\u0301\u2028हिन्दी\x1c한국어 ',
    '\u0301 \U0001f469\u200d\U0001f467',
    '',
  )
  def test_words_as_phrases_have_them(self, given):
    self.assertEqual(_tokens([given], 'words'), [[word.strip(' ') for word in words.split(given)]])

  def test_suffixes_refused(self):
    with self.assertRaisesRegex(ValueError, r'strip_suffix=\\W\+: would drop'):
      text.check_marks(r'\W+')
    with self.assertRaisesRegex(ValueError, r'strip_suffix=\(s: expected an RE2 expression'):
      text.check_marks('(s')

  def test_marks_are_no_delimiters(self):
    with self.assertRaisesRegex(ValueError, r"delimiters='/\\x02': holds the control character"):
      text.check_marks('', '/\x02')

  def test_delimiters_that_mean_something_in_expressions(self):
    self.assertEqual(
      _tokens(['as]bs^c\\d'], 'whitespace', delimiters=']^\\-', strip_suffix='s'), [['a', 'b', 'c', 'd']]
    )

  @parameterized.product(tokenizer=config.groups.TOKENIZERS, form=config.groups.NORMALIZATIONS)
  def test_hostile_texts_are_data(self, tokenizer, form):
    strings = text.normalize(tf.constant([*_HOSTILE, b'red shoe']), form)
    found = _tokens(strings.numpy(), tokenizer, marks=1, vocab_file=self.vocab_file)
    self.assertEqual(found[0], [self._mark(tokenizer)])
    self.assertEqual(found[-1], _tokens(['red shoe'], tokenizer, marks=1, vocab_file=self.vocab_file)[0])
    if tokenizer == 'characters':
      self.assertLen(found[_HOSTILE.index(b'x' * 100_000)], 100_001)

  @parameterized.parameters(*config.groups.TOKENIZERS)
  def test_no_texts(self, tokenizer):
    tokens, row_ids = text.split(tf.constant([], tf.string), tokenizer, marks=2, vocab_file=self.vocab_file)
    self.assertEqual((tokens.shape, row_ids.shape), ((0,), (0,)))

  def test_unknown_tokenizer(self):
    with self.assertRaisesRegex(ValueError, "'bpe': expected whitespace, words, unicode_script"):
      text.split(tf.constant(['a']), 'bpe')


if __name__ == '__main__':
  absltest.main()
