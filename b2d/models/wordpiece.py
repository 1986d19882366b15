"""BERT's tokenisation in the graph, as the files of a checkpoint say: word pieces, case, accents.

The pieces are those of BERT's own `BasicTokenizer` and `WordpieceTokenizer`; beyond the vocabulary, the file
tokenizer_config.json beside it says how a text is read. Where it says nothing of case or accents the vocabulary does.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any
import unicodedata

import tensorflow as tf
import tensorflow_text as tf_text

from b2d import runs

_SETTINGS = 'tokenizer_config.json'
# Without Fast at their end. Others (MeCab's words, SentencePiece) cut texts before or without word pieces.
_TOKENIZER_CLASSES = (
  'BertTokenizer',
  'DistilBertTokenizer',
  'ElectraTokenizer',
  'MPNetTokenizer',
  'PreTrainedTokenizer',
)
_MAX_WORD = 100  # Characters; longer words are [UNK].
_MAX_BYTES = 4 * _MAX_WORD
_DELETED = r'[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}\p{Cf}\p{Co}\x{fffd}]'
_HAN = (
  r'\x{3400}-\x{4dbf}\x{4e00}-\x{9fff}\x{f900}-\x{faff}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}'
  r'\x{2b820}-\x{2ceaf}\x{2f800}-\x{2fa1f}'
)
_WORD_OF_ITS_OWN = r'[\p{P}\p{Z}!-/:-@\[-`{-~' + _HAN + ']'  # Or white space that \S does not know.
_IN_NO_VOCABULARY = '\ue000'  # Of a private use, and deleted from texts.


@dataclasses.dataclass(frozen=True)
class Marks:
  """The pieces with which a kind of encoder packs a row: `start a end`, or `start a end b end`."""

  pad: str
  start: str
  end: str
  ends_between: int  # How often `end` stands between the texts of a pair.


BERT_MARKS = Marks('[PAD]', '[CLS]', '[SEP]', 1)
MPNET_MARKS = Marks('<pad>', '<s>', '</s>', 2)


class WordPiece:
  """Texts → ids of word pieces.

      tokenizer = wordpiece.WordPiece('vocab.txt')
      tokenizer(tf.constant(['Cordless drill']))  # <tf.RaggedTensor [[11520, 3238, 12913]]>

  Args of the constructor:
    vocab_file: path of the vocabulary, one piece a line; tokenizer_config.json may lie beside it.
    marks: those of the encoder, if its rows are to be packed.

  Attributes:
    vocab: the pieces.
    lower_case: whether texts are read in lower case.
    strip_accents: whether texts are read without accents.
    pad_id, start_id, end_id: ids of the marks, if there are any.

  Raises:
    ValueError: from the constructor: the vocabulary is missing or lacks pieces, or texts would have to be cut
      otherwise than BERT cuts them.
  """

  def __init__(self, vocab_file: str, marks: Marks | None = None):
    vocab_file = os.fspath(vocab_file)
    self.vocab = read_vocab(vocab_file, marks)
    if marks:
      self.pad_id, self.start_id, self.end_id = map(self.vocab.index, (marks.pad, marks.start, marks.end))
    settings = _read_settings(vocab_file, marks)
    self.lower_case, self.strip_accents = _casing(settings, self.vocab)
    self._tokenizer = tf_text.FastWordpieceTokenizer(
      self.vocab, suffix_indicator='##', unknown_token='[UNK]', token_out_type=tf.int32, max_bytes_per_word=_MAX_BYTES
    )

  def __call__(self, strings: tf.Tensor) -> tf.RaggedTensor:
    """Word-piece ids of texts.

    Args:
      strings: string [N]; bytes that are not UTF-8 are left out.

    Returns:
      int32 [N, None], without marks.
    """
    strings = valid_utf8(strings)
    strings = tf.strings.regex_replace(strings, _DELETED, '')  # Before lower, which stops at a NUL.
    strings = self._folded(strings)
    # One expression of both, a hundred times a class of characters as large as this, would be too much for RE2.
    parted = tf.strings.regex_replace(strings, _WORD_OF_ITS_OWN, r' \0 ')
    return self._tokenizer.tokenize(tf.strings.regex_replace(parted, rf'\S{{{_MAX_WORD + 1},}}', _IN_NO_VOCABULARY))

  def cut(self, strings: tf.Tensor, num_marks: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """The pieces for a student, in a third of the ops of BERT's exact ones.

    They differ from those where a word holds a control character, a sign of no width or bytes that are not UTF-8: it is
    [UNK] here.

    Args:
      strings: string [N].
      num_marks: how many [UNK] stand before the pieces of each text.

    Returns:
      Ids int64 [T], text by text, and the text each belongs to, int64 [T].
    """
    if not self.lower_case:  # Which replaces bytes that are not UTF-8, too.
      strings = valid_utf8(strings)
    strings = self._folded(strings)
    if num_marks:
      strings = tf.strings.join([f'{_IN_NO_VOCABULARY} ' * num_marks, strings])
    pieces = self._tokenizer.tokenize(strings)
    ids = tf.cast(pieces.values, tf.int64)
    # The op itself: value_rowids() takes a dozen nodes. Each piece lies behind the starts of its text and those before.
    starts = tf.raw_ops.UpperBound(
      sorted_inputs=tf.expand_dims(pieces.row_splits, 0),
      values=tf.expand_dims(tf.range(tf.size(ids, out_type=tf.int64)), 0),
      out_type=tf.int64,
    )
    return ids, tf.reshape(starts, [-1]) - 1

  def _folded(self, strings: tf.Tensor) -> tf.Tensor:
    """Texts in lower case and without accents, as far as the vocabulary wants it."""
    if self.lower_case:
      strings = tf.strings.lower(strings, encoding='utf-8')
    if self.strip_accents:
      strings = tf.strings.regex_replace(tf_text.normalize_utf8(strings, 'NFD'), r'\p{Mn}', '')
    return strings


def valid_utf8(strings: tf.Tensor) -> tf.Tensor:
  """Replaces bytes that are not UTF-8, at which TF Text's normalisation would fail the whole batch."""
  return tf.strings.unicode_transcode(strings, 'UTF-8', 'UTF-8', errors='replace')


def read_vocab(vocab_file: str, marks: Marks | None = None) -> list[str]:
  """Reads a WordPiece vocabulary, one piece a line.

  Raises:
    ValueError: the file is missing, is not UTF-8, holds a piece twice, or lacks [UNK] or one of the marks.
  """
  if not tf.io.gfile.exists(vocab_file):
    raise ValueError(f'{vocab_file}: no such vocabulary file; set --vocab_file')
  with tf.io.gfile.GFile(vocab_file) as file:
    try:
      vocab = [line.rstrip('\r\n') for line in file]
    except UnicodeDecodeError as error:
      raise ValueError(f'{vocab_file}: expected a BERT vocabulary in UTF-8, found other bytes ({error})') from error
  vocab[:1] = [piece.removeprefix('\ufeff') for piece in vocab[:1]]  # A byte order mark.
  while vocab and not vocab[-1]:  # Blank lines at the end.
    vocab.pop()
  line_of: dict[str, int] = {}
  for line, piece in enumerate(vocab, 1):
    if line_of.setdefault(piece, line) != line:
      raise ValueError(f'{vocab_file}, line {line}: {piece!r} stands in line {line_of[piece]} too; expected it once')
  needed = ('[UNK]', marks.pad, marks.start, marks.end) if marks else ('[UNK]',)
  missing = [piece for piece in needed if piece not in vocab]
  if missing:
    raise ValueError(f'{vocab_file}: lacks {", ".join(missing)}; expected a BERT vocabulary, one piece a line')
  return vocab


def copy(vocab_file: str, to: str) -> None:
  """Copies a vocabulary, and what beside it says how texts are read, to the path `to`."""
  tf.io.gfile.copy(vocab_file, to, overwrite=True)
  settings = _settings_file(vocab_file)
  if tf.io.gfile.exists(settings):
    tf.io.gfile.copy(settings, _settings_file(to), overwrite=True)


def added_tokens(vocab_file: str, vocab: Sequence[str]) -> set[str]:
  """Tokens beyond the vocabulary that were added to the checkpoint later, as the files beside it say."""
  folder = os.path.dirname(vocab_file)
  found: set[str] = set()
  path = os.path.join(folder, 'added_tokens.json')
  if tf.io.gfile.exists(path):
    found.update(runs.read_json(path))
  if tf.io.gfile.exists(_settings_file(vocab_file)):
    decoder = runs.read_json(_settings_file(vocab_file)).get('added_tokens_decoder') or {}
    found.update(_content(token) for token in decoder.values())
  return found.difference(vocab)


def _settings_file(vocab_file: str) -> str:
  return os.path.join(os.path.dirname(vocab_file), _SETTINGS)


def _content(token: Any) -> Any:
  """The text of a token, which the file may hold with its properties."""
  return token.get('content') if isinstance(token, dict) else token


def _read_settings(vocab_file: str, marks: Marks | None) -> dict[str, Any]:
  """tokenizer_config.json beside the vocabulary, or nothing.

  Raises:
    ValueError: texts would have to be cut otherwise than BERT cuts them.
  """
  path = _settings_file(vocab_file)
  if not tf.io.gfile.exists(path):
    return {}
  settings = runs.read_json(path)
  name = settings.get('tokenizer_class') or _TOKENIZER_CLASSES[0]
  if name.removesuffix('Fast') not in _TOKENIZER_CLASSES:
    raise ValueError(f'{path}: tokenizer_class {name!r}: expected one of {", ".join(_TOKENIZER_CLASSES)}')
  fixed = {'do_basic_tokenize': True, 'tokenize_chinese_chars': True, 'unk_token': '[UNK]'}
  if marks:
    fixed |= {'pad_token': marks.pad, 'cls_token': marks.start, 'sep_token': marks.end}
  for key, expected in fixed.items():
    found = _content(settings.get(key))
    if found not in (None, expected):
      raise ValueError(f'{path}: {key} {found!r}: expected {expected!r}; texts are cut and packed in no other way')
  if settings.get('never_split'):
    raise ValueError(f'{path}: never_split {settings["never_split"]!r}: expected none; such words would be split')
  return settings


def _casing(settings: dict[str, Any], vocab: Sequence[str]) -> tuple[bool, bool]:
  """(lower case?, without accents?): what the settings say, or else the pieces."""
  words = [piece for piece in vocab if not (piece[:1] in ('[', '<') and piece[-1:] in (']', '>'))]
  lower_case, strip_accents = settings.get('do_lower_case'), settings.get('strip_accents')
  if strip_accents is None:
    strip_accents = lower_case  # As in transformers.
  if lower_case is None:
    lower_case = not any(piece != piece.lower() for piece in words)
  if strip_accents is None:
    strip_accents = lower_case and not any(piece != unicodedata.normalize('NFD', piece) for piece in words)
  return bool(lower_case), bool(strip_accents)
