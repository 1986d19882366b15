"""Cheap transfer rows out of single texts: phrases cut from them, and their frequent words and pairs of words.

A student learns a word from the texts that hold it, each of which holds twenty others; labelled by itself the
word shows the teacher's opinion at once, at a fifth of the cost of a sentence.
"""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
import random
import zlib

import numpy as np

from b2d.data import rows
from b2d.data import words

_MAX_COUNTED = 3_000_000  # About half a gigabyte.
_BATCH_ROWS = 8192


def cut(batch: rows.Batch, phrases_per_row: int) -> rows.Batch:
  """Phrases of 2 to 12 words out of longer texts; which ones depends on the row's 'id' alone.

  Args:
    batch: 'id' and 'text'.
    phrases_per_row: at most so many a text, all different; texts of up to two words have none.

  Returns:
    'id' ('<id>#<number>') and 'text' of the phrases.
  """
  ids, texts = [], []
  for row_id, text in zip(batch['id'], batch['text']):
    split = _split(text)
    if len(split) < 3:
      continue
    generator = random.Random(zlib.crc32(row_id))
    spans = set()
    for _ in range(phrases_per_row):
      length = generator.randint(2, min(12, len(split) - 1))
      spans.add((generator.randint(0, len(split) - length), length))
    for number, (start, length) in enumerate(sorted(spans)):
      ids.append(b'%b#%d' % (row_id, number))
      texts.append(b''.join(split[start : start + length]).strip())
  return _batch(ids, texts)


class Ngrams:
  """Counts words and pairs of adjacent words in bounded memory.

  Args of the constructor:
    max_counted: when more different ones are held, the rarest go; their count begins anew if they come again.
  """

  def __init__(self, max_counted: int = _MAX_COUNTED):
    self._max_counted = max_counted
    self._counts: collections.Counter[bytes] = collections.Counter()

  def add(self, texts: Iterable[bytes]) -> None:
    """Counts the words of some texts."""
    for text in texts:
      split = _split(text)
      self._counts.update(word.strip() for word in split)
      self._counts.update((first + second).strip() for first, second in zip(split, split[1:]))
    rare = 1
    while len(self._counts) > self._max_counted:
      self._counts = collections.Counter({ngram: count for ngram, count in self._counts.items() if count > rare})
      rare += 1

  def frequent(self, min_count: int) -> Iterator[rows.Batch]:
    """Batches of 'id' ('ngram:<text>', alike whatever else was counted) and 'text': what was counted so often."""
    texts = [ngram for ngram, count in self._counts.items() if count >= min_count]
    for start in range(0, len(texts), _BATCH_ROWS):
      part = texts[start : start + _BATCH_ROWS]
      yield _batch([b'ngram:' + ngram for ngram in part], part)


def _split(text: bytes) -> list[bytes]:
  """As `words.split`; what is no UTF-8 stays as it is."""
  split = words.split(text.decode('utf-8', 'surrogateescape'))
  return [word.encode('utf-8', 'surrogateescape') for word in split]


def _batch(ids: list[bytes], texts: list[bytes]) -> rows.Batch:
  return {'id': np.array(ids, dtype=object), 'text': np.array(texts, dtype=object)}
