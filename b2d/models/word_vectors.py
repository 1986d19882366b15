"""Vectors of single words from a sentence encoder, to start the student's unigrams from.

A student that has seen few queries knows few words; an encoder trained on a billion sentences knows which words mean
the like. Its vector of a word alone, reduced by PCA to the width of the table, is where the word's row starts.
"""

import collections
from collections.abc import Iterable

from absl import logging
import numpy as np
import tensorflow as tf

from b2d import config
from b2d.data import rows
from b2d.models import ngrams
from b2d.models import student
from b2d.models import teacher
from b2d.models import text

_SAMPLED_ROWS = 500_000  # Enough to meet the words that are worth a vector.
_MAX_WORDS = 1 << 16
_MIN_COUNT = 3
_MAX_PIECES = 16
_MIN_LENGTH = 1e-3  # Below it the vectors are all the same: nothing but rounding to blow up.


def load_encoder(checkpoint: str, dim: int) -> teacher.TeacherModel:
  """The encoder for a student that pools vectors of `dim` columns.

  Args:
    checkpoint: a BERT sentence encoder, as `config.Teacher.init_checkpoint` names one.
    dim: width of a pooled vector.

  Raises:
    ValueError: no such encoder, or a narrower one.
  """
  encoder = teacher.build(
    config.Teacher(init_checkpoint=checkpoint, max_seq_length=_MAX_PIECES, pooling='mean'), num_classes=2
  )
  width = encoder.architecture.hidden_size
  if dim > width:
    raise ValueError(
      f'vectors of {dim} columns: expected at most the {width} of {checkpoint}; lower --embedding_dim '
      'or leave --init_embeddings out'
    )
  return encoder


def start(model: student.StudentModel, encoder: teacher.TeacherModel, batches: Iterable[rows.Batch]) -> None:
  """Starts the unigram rows of the words that are frequent in the first `_SAMPLED_ROWS` rows.

  Args:
    model: a new student.
    encoder: from `load_encoder`.
    batches: rows that hold the words.
  """
  words = frequent_words(batches, model.fields, model.settings)
  if len(words) < 2:
    return
  logging.info('%d words start from their vectors', len(words))
  vectors = reduce(encoder.embed({'text': np.array(words, object)}), model.settings.vector_dim)
  vectors = np.pad(vectors, [(0, 0), (model.settings.embedding_dim - model.settings.vector_dim, 0)])  # Equal weights.
  # Of words that share a row, the most frequent is written last and stays.
  model.table.scatter_update(
    tf.IndexedSlices(vectors[::-1], ngrams.unigram_ids(tf.constant(words[::-1]), model.settings))
  )


def frequent_words(batches: Iterable[rows.Batch], fields: Iterable[str], settings: config.Student) -> list[bytes]:
  """The words that the student's tokenizer finds, their suffixes still on; the most frequent first."""
  counts: collections.Counter[bytes] = collections.Counter()
  seen = 0
  for batch in batches:
    for field in fields:
      tokens, _ = text.split(
        text.normalize(tf.constant(batch[field], tf.string), settings.normalization),
        settings.tokenizer,
        delimiters=settings.delimiters,
        part_numbers=settings.part_numbers,
      )
      counts.update(tokens.numpy().tolist())
    seen += rows.size(batch)
    if seen >= _SAMPLED_ROWS:
      break
  return [word for word, count in counts.most_common(_MAX_WORDS) if count >= _MIN_COUNT]


def reduce(vectors: np.ndarray, dim: int) -> np.ndarray:
  """PCA.

  Args:
    vectors: float32 [n, width].
    dim: axes to keep, at most `width`.

  Returns:
    float32 [n, dim], scaled to a mean squared length of 1.
  """
  lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
  centred = vectors / lengths
  centred -= centred.mean(axis=0)
  _, axes = np.linalg.eigh(centred.T @ centred)  # Ascending.
  kept = centred @ axes[:, ::-1][:, :dim]
  length = np.sqrt(np.mean(np.sum(kept**2, axis=1)))
  return (kept / max(length, _MIN_LENGTH)).astype(np.float32)
