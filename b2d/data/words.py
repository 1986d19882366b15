r"""What a word is, for the students' graphs, for phrases and for pairs alike.

White space is all of Unicode's, and what is written without being seen at the edge of words (U+200B, U+FEFF, marks of
direction). Where a script is written without spaces, each of its signs is a word: Han, Kana, Thai and the others in
which lines break anywhere or by a dictionary (classes ID, CJ, SA of UAX #14), and their punctuation. A combining mark
stays with what it stands on.

The expressions mean the same to RE2 (TensorFlow's ops) and to the package `regex`.
"""

from collections.abc import Sequence

import numpy as np
import regex

# Inside of a class. All but U+0020: that nothing has to be replaced in most texts is what makes it cheap.
RARE_SPACES = '\t-\r\x85\xa0\u1680\u2000-\u200b\u200e\u200f\u2028-\u202f\u205f-\u2069\u3000\ufeff'
_SIGNS = (
  r'\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}'
  r'\p{Tai_Tham}\p{Tai_Viet}\p{Ahom}\p{Tibetan}'
  # Common to several scripts: punctuation, long and middle marks of Kana, full and half width.
  '\u3001-\u303f\u30a0\u30fb\u30fc\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uff70'
)
NUMBER = '[0-9]+(?:[./][0-9]+)*'  # '3/4' and '1.5' stay whole.
SIGN = f'[{_SIGNS}][\\p{{M}}\uff9e\uff9f]*'
_SPACES = ' ' + RARE_SPACES
_WORD = regex.compile(rf'([{_SPACES}]*)({SIGN}|[^{_SPACES}{_SIGNS}]+)')
_UNSPACED = regex.compile(rf'(?:{SIGN}){{8}}')  # Longer than a word that somebody has parted by spaces.
# Punctuation is none.
_WITHOUT_PUNCTUATION = regex.compile(rf'\d+(?:[./]\d+)+|(?=\w){SIGN}|(?:(?![{_SIGNS}])\w)+')


def split(text: str) -> list[str]:
  """The words of a text, each with a space before it where white space stands there.

  So `''.join(words[i:j]).strip()` is a phrase as it was written.
  """
  return [' ' + word if gap else word for gap, word in _WORD.findall(text)]


def split_without_punctuation(text: str) -> list[str]:
  """The words of a text alone, numbers such as 3/4 whole."""
  return _WITHOUT_PUNCTUATION.findall(text)


def unspaced_share(texts: Sequence[bytes] | np.ndarray) -> float:
  """The share of texts that hold eight signs or more of a script without spaces in one go."""
  return sum(bool(_UNSPACED.search(text.decode('utf-8', 'replace'))) for text in texts) / max(1, len(texts))
