"""The text layer that teacher and student share: normalisation and tokenisation, in the graph.

Every function takes string tensors and gives tensors, so what training sees and what the exported
SavedModel computes are the same ops. Only ops that stock TensorFlow Serving knows since release 2.15 are
used. Hashing and n-grams are the student's (`ngrams.py`); packing for BERT is the teacher's
(`teacher.py`).
"""

import tensorflow as tf
import tensorflow_text as tf_text

from b2d.data import words
from b2d.models import wordpiece

MARK = '\x02'  # 'Start of text': stands before every text.


def normalize(strings: tf.Tensor, form: str) -> tf.Tensor:
  """Normalises texts.

  Args:
    strings: string [N], meant to be UTF-8; invalid bytes are replaced or kept, never an error.
    form: 'none'; 'lower_ascii' and 'lower' (of A to Z alone, and of Unicode, by a core op, for which a NUL ends the
      text: readers let none in, and an op that took it out would cost every call a microsecond); or
      'casefold_nfkc' (TF Text: full case folding, then NFKC, so that 'ＴＶ' is 'tv' and 'ß' is 'ss').

  Returns:
    string [N].

  Raises:
    ValueError: an unknown form.
  """
  if form == 'none':
    return strings
  if form == 'lower_ascii':
    return tf.strings.lower(strings)
  if form == 'lower':
    return tf.strings.lower(strings, encoding='utf-8')
  if form == 'casefold_nfkc':
    return tf_text.normalize_utf8(tf_text.case_fold_utf8(wordpiece.valid_utf8(strings)), 'NFKC')
  raise ValueError(f'normalization {form!r}: expected none, lower_ascii, lower or casefold_nfkc')


def split(
  strings: tf.Tensor,
  tokenizer: str,
  *,
  marks: int = 0,
  delimiters: str = '',
  part_numbers: bool = False,
  strip_suffix: str = '',
  vocab_file: str = '',
) -> tuple[tf.Tensor, tf.Tensor]:
  """Cuts texts into tokens.

  Args:
    strings: string [N].
    tokenizer: 'whitespace' (core ops, parts at Unicode's white space and `delimiters`), 'words' (the same, and each
      sign of a script without spaces apart; see `b2d.data.words`), 'unicode_script' (also where the script changes;
      digits and punctuation count as one), 'characters' (all one by one) or 'wordpiece'.
    marks: how many `MARK` tokens, or [UNK] pieces, are put before each text, so that n-grams see where it starts.
    delimiters: characters (one byte each) that part tokens of 'whitespace' and 'words', besides white space.
    part_numbers: whether a number is a token of its own, for these two: '12ft' is '12' and 'ft'.
    strip_suffix: RE2 expression dropped where it stands before a delimiter of these two; see `check_marks`.
    vocab_file: vocabulary of 'wordpiece'.

  Returns:
    tokens: string [T] in the order of the rows; of 'wordpiece' ids of the vocabulary, int64 [T].
    row_ids: int64 [T], ascending: the row of each token.

  Raises:
    ValueError: an unknown tokenizer.
  """
  if tokenizer in ('whitespace', 'words'):
    if marks or strip_suffix:
      strings = tf.strings.join([f'{MARK} ' * marks, strings, *([' '] if strip_suffix else [])])
    apart = [words.SIGN] * (tokenizer == 'words') + [words.NUMBER] * part_numbers
    if apart:
      strings = tf.strings.regex_replace(strings, '|'.join(apart), r' \0 ')  # Groups would take ten times as long.
    strings = tf.strings.regex_replace(strings, _spaces(strip_suffix, delimiters), ' ')
    # The first generation of the op takes a *set* of delimiters, and is the faster if it is a single one.
    indices, tokens, _ = tf.raw_ops.StringSplit(input=strings, delimiter=' ' + delimiters, skip_empty=True)
    return tokens, tf.unstack(indices, num=2, axis=1)[0]  # Half the time of indices[:, 0] at one row.
  if tokenizer == 'wordpiece':
    return wordpiece.WordPiece(vocab_file).cut(strings, marks)
  if tokenizer == 'unicode_script':
    spaced = tf.strings.regex_replace(wordpiece.valid_utf8(strings), _spaces(), ' ')
    # The op would read '12 34' as '1234'.
    ragged = tf_text.UnicodeScriptTokenizer().tokenize(tf.strings.split(spaced)).merge_dims(1, 2)
  elif tokenizer == 'characters':
    ragged = tf.strings.unicode_split(tf.strings.regex_replace(strings, _spaces(), ' '), 'UTF-8')
    ragged = tf.ragged.boolean_mask(ragged, tf.strings.strip(ragged) != '')
  else:
    raise ValueError(f'tokenizer {tokenizer!r}: expected whitespace, words, unicode_script, characters or wordpiece')
  ragged = tf.concat([tf.fill([tf.size(strings), marks], MARK), ragged], axis=1)
  return ragged.flat_values, ragged.value_rowids()


def check_marks(strip_suffix: str, delimiters: str = '') -> None:
  """Checks that what `split` strips and parts at leaves the marks.

  Raises:
    ValueError: they would be dropped, so that n-grams would run into the next text; or the suffix is no expression.
  """
  if MARK in delimiters:
    raise ValueError(
      f'--delimiters={delimiters!r}: holds the control character that marks where a text starts; leave it out'
    )
  marks = f'{MARK} {MARK} '
  try:
    kept = tf.strings.regex_replace(marks, _spaces(strip_suffix), ' ') == marks
  except tf.errors.InvalidArgumentError as error:
    raise ValueError(f'--strip_suffix={strip_suffix}: expected an RE2 expression') from error
  if not kept:
    raise ValueError(
      f'--strip_suffix={strip_suffix}: would drop the control character that marks where a text '
      r'starts; leave it out, e.g. [^\w\x02] in place of \W'
    )


def _spaces(strip_suffix: str = '', delimiters: str = '') -> str:
  """RE2 expression of what becomes a space: white space that is none, and delimiters with a suffix before them."""
  rare = f'[{words.RARE_SPACES}]'
  if not strip_suffix:
    return rare
  one_of = ''.join(f'\\x{ord(char):02x}' for char in ' ' + delimiters)
  return f'(?:{strip_suffix})[{one_of}{words.RARE_SPACES}]|{rare}'
