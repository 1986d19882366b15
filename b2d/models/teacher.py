"""The teacher: a BERT or MPNet encoder with a head, strings in, logits out.

A row is packed as `[CLS] text [SEP]` or `[CLS] query [SEP] title [SEP]` (MPNet: `<s> query </s></s> title </s>`), with
ops that model servers since 2.15 know. Rows are batched by length, so that little is spent on padding. Weights come
from `pretrained`, the training loop is `training`'s.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import os
from typing import Any

from absl import logging
import numpy as np
import tensorflow as tf
import tf_keras

from b2d import config
from b2d import runs
from b2d.learning import optimizers
from b2d.learning import run_state
from b2d.learning import training
from b2d.models import checkpoints
from b2d.models import fused_encoder
from b2d.models import packed_rows
from b2d.models import pretrained
from b2d.models import wordpiece

_WINDOW_BATCHES = 64  # Batches whose rows are sorted by length together.
_INITIAL_STDDEV = 0.02
_TARGETS = ('label', 'logits')
_MAX_PADDING = 1024  # Embeddings beyond the vocabulary, for the sake of a round size.


class TeacherModel(tf_keras.Model):
  """Strings → logits of all classes.

  Attributes:
    fields: names of the text inputs, ('text',) or ('query', 'title').
    num_classes: number of classes.
    architecture: sizes of the encoder.
  """

  def __init__(
    self,
    settings: config.Teacher,
    architecture: pretrained.Architecture,
    vocab_file: str,
    num_classes: int,
    fields: tuple[str, ...],
  ):
    super().__init__(name='teacher')
    self.fields = tuple(fields)
    self.num_classes = num_classes
    self.architecture = architecture
    self._settings = settings
    self._vocab_file = vocab_file
    self._marks = architecture.marks
    self.tokenizer = wordpiece.WordPiece(vocab_file, self._marks)
    self.encoder = pretrained.make_encoder(
      architecture, dropout=settings.dropout, first_position_only=settings.pooling == 'cls'
    )
    self.encoder.pooler_layer.trainable = settings.pooling == 'cls'
    self._get_constants: Callable[[], fused_encoder.Weights | None] = lambda: None
    self._dropout = tf_keras.layers.Dropout(settings.dropout, dtype=tf.float32)
    self._head = tf_keras.layers.Dense(
      num_classes,
      kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=_INITIAL_STDDEV),
      name='classifier',
      dtype=tf.float32,
    )
    # Nothing branches on tensors: without AutoGraph, whose rewriting takes longer than the tracing.
    self._pack_strings = tf.function(
      self.pack, input_signature=[{name: tf.TensorSpec([None], tf.string) for name in self.fields}], autograph=False
    )
    some_rows = [tf.RaggedTensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int64)]
    self._classify_some = tf.function(
      lambda ids, rows: self.classify(self.dense(ids, rows), weights=self._get_constants()),
      input_signature=some_rows,
      autograph=False,
    )
    self._pool_some = tf.function(
      lambda ids, rows: self.pool(self.dense(ids, rows), weights=self._get_constants()),
      input_signature=some_rows,
      autograph=False,
    )
    self.classify(tf.zeros([1, 2], tf.int32))

  def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
    """Strings [n] for each field → float32 logits [n, num_classes]."""
    return self.classify(self.pack(inputs).to_tensor(self.tokenizer.pad_id), training)

  def pack(self, inputs: Mapping[str, tf.Tensor]) -> tf.RaggedTensor:
    """Strings [n] for each field → int32 ids [n, None], with the encoder's marks around and between them.

    At most `max_seq_length` ids. Of two texts too long together the longer one is cut, and neither
    below half.
    """
    pieces = [self.tokenizer(inputs[name]) for name in self.fields]
    between = [self.tokenizer.end_id] * self._marks.ends_between
    room = self._settings.max_seq_length - 2 - len(between) * (len(pieces) - 1)
    if len(pieces) == 1:
      pieces = [pieces[0][:, :room]]
    else:
      query, title = (piece.row_lengths() for piece in pieces)
      title_room = tf.maximum(room - query, room // 2)
      pieces = [_truncate(pieces[0], room - tf.minimum(title, title_room)), _truncate(pieces[1], title_room)]
    parts = [_repeated([self.tokenizer.start_id], pieces[0]), pieces[0]]
    for piece in pieces[1:]:
      parts += [_repeated(between, piece), piece]
    return tf.concat([*parts, _repeated([self.tokenizer.end_id], pieces[0])], axis=1)

  def dense(self, ids: tf.RaggedTensor, rows: tf.Tensor) -> tf.Tensor:
    """Those rows of packed ids, padded to the longest: int32 [len(rows), longest]."""
    return tf.gather(ids, rows).to_tensor(self.tokenizer.pad_id)

  def classify(self, ids: tf.Tensor, training: bool = False, weights: fused_encoder.Weights | None = None) -> tf.Tensor:
    """Packed and padded int32 ids [n, length] → float32 logits [n, num_classes]."""
    return self._head(self._dropout(self.pool(ids, training, weights), training=training))

  def pool(self, ids: tf.Tensor, training: bool = False, weights: fused_encoder.Weights | None = None) -> tf.Tensor:
    """Packed and padded int32 ids [n, length] → what the head reads, float32 [n, hidden_size].

    Args:
      ids: the rows.
      training: whether gradients are wanted, and dropout.
      weights: of the encoder, where it is not trained; None: its variables.
    """
    mask = tf.cast(ids != self.tokenizer.pad_id, tf.int32)
    separators = tf.cumsum(tf.cast(ids == self.tokenizer.end_id, tf.int32), axis=1, exclusive=True)
    inputs = {'input_word_ids': ids, 'input_mask': mask, 'input_type_ids': mask * tf.minimum(separators, 1)}
    first_only = self._settings.pooling == 'cls'
    if training:
      states = self.encoder(inputs, training=True)['sequence_output']
    else:
      weights = weights or fused_encoder.variables(self.encoder)
      states = fused_encoder.encode(self.encoder, self.architecture, weights, inputs, first_only)
    if first_only:
      return tf.cast(self.encoder.pooler_layer(states[:, 0]), tf.float32)
    seen = tf.cast(mask, tf.float32)[:, :, tf.newaxis]
    return tf.reduce_sum(tf.cast(states, tf.float32) * seen, axis=1) / tf.reduce_sum(seen, axis=1)

  def predict_logits(
    self, batch: Mapping[str, np.ndarray], max_tokens: int = 4096, report: Callable[[int], Any] = lambda num_rows: None
  ) -> np.ndarray:
    """Logits of every row, computed in batches of rows of like length.

    Args:
      batch: bytes [n] for each field.
      max_tokens: padded word pieces a batch.
      report: told the number of rows of each batch that is done.

    Returns:
      float32 [n, num_classes].
    """
    return self._of_rows(self._classify_some, self.num_classes, batch, max_tokens, report)

  def embed(self, batch: Mapping[str, np.ndarray], max_tokens: int = 4096) -> np.ndarray:
    """What the head reads of every row, float32 [n, hidden_size]; arguments as in `predict_logits`."""
    return self._of_rows(self._pool_some, self.architecture.hidden_size, batch, max_tokens, lambda num_rows: None)

  def _of_rows(self, function, width, batch, max_tokens, report):
    ids = self._pack_strings({name: tf.convert_to_tensor(batch[name], tf.string) for name in self.fields})
    return packed_rows.compute(function, width, ids, max_tokens, report)

  def train_batches(
    self, windows: Iterator[Mapping[str, np.ndarray]], batch_size: int, seed: int
  ) -> Iterator[dict[str, Any]]:
    """Batches of like length, in random order.

    Args:
      windows: batches of rows, each shuffled and long enough to sort (`window_rows`), with the `targets`.
      batch_size: rows a batch.
      seed: of the order.

    Yields:
      'ids': int32 [batch, length], packed and padded; the targets 'label', float32 [batch], and where the windows have
      them 'logits', [batch, num_classes].
    """
    rng = np.random.default_rng(seed)
    for window in windows:
      ids = self._pack_strings({name: tf.convert_to_tensor(window[name], tf.string) for name in self.fields})
      order = np.argsort(ids.row_lengths().numpy(), kind='stable')
      for start in rng.permutation(range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        yield {'ids': self.dense(ids, rows), **{name: window[name][rows] for name in _TARGETS if name in window}}

  def freeze(self) -> None:
    """Makes constants of the encoder's weights for `predict_logits` and `embed`: for one that is trained no more."""
    constants = fused_encoder.constants(self.encoder)
    self._get_constants = lambda: constants  # A function, since Keras would look for variables in a dictionary.

  def save_description(self, folder: str) -> None:
    """Writes vocabulary and sizes into `folder`, so that it needs the checkpoint no more."""
    wordpiece.copy(self._vocab_file, os.path.join(folder, 'vocab.txt'))
    runs.write_text(os.path.join(folder, 'bert_config.json'), self.architecture.to_json())


def window_rows(batch_size: int) -> int:
  """Rows of a window of `train_batches`."""
  return _WINDOW_BATCHES * batch_size


def build(
  settings: config.Teacher, num_classes: int, fields: tuple[str, ...] = ('text',), precision: str = 'float32'
) -> TeacherModel:
  """A teacher with the weights of `settings.init_checkpoint` (a checkpoint or a teacher's run), or fresh ones.

  Args:
    settings: the teacher's configuration.
    num_classes: number of classes.
    fields: ('text',) or ('query', 'title').
    precision: of the matrix products, 'float32' or 'bfloat16'; weights and logits stay float32.

  Raises:
    ValueError: the checkpoint is missing, of another shape, or of another vocabulary.
  """
  if not settings.init_checkpoint:
    architecture = pretrained.Architecture(
      vocab_size=len(wordpiece.read_vocab(settings.vocab_file, wordpiece.BERT_MARKS)),
      hidden_size=settings.hidden_size,
      num_layers=settings.num_layers or 12,
      num_attention_heads=settings.num_attention_heads,
      intermediate_size=settings.intermediate_size,
      max_positions=max(512, settings.max_seq_length),
    )
    with _dtype_policy(precision):
      return TeacherModel(settings, architecture, settings.vocab_file, num_classes, fields)
  path = pretrained.resolve(settings.init_checkpoint)
  whole = pretrained.read_architecture(path)
  vocab_file = settings.vocab_file or pretrained.beside(path, 'vocab.txt')
  _check(settings, whole, vocab_file, path)
  used = dataclasses.replace(whole, num_layers=settings.num_layers or whole.num_layers)
  with _dtype_policy(precision):
    model = TeacherModel(settings, used, vocab_file, num_classes, fields)
  if runs.config_of(path, config.Finetune):
    run_state.restore_best(model, path)
  else:
    checkpoints.load_weights(model.encoder, path, whole)
  logging.info(
    '%s: texts are read %s, %s',
    path,
    'in lower case' if model.tokenizer.lower_case else 'with their case',
    'without accents' if model.tokenizer.strip_accents else 'with accents',
  )
  return model


def load(folder: str, precision: str = 'float32') -> TeacherModel:
  """The teacher that b2d.finetune trained in `folder`, with its best weights.

  Args:
    folder: its run folder.
    precision: of the matrix products, 'float32' or 'bfloat16'; weights and logits stay float32.

  Raises:
    ValueError: the folder holds no trained teacher.
  """
  model = _untrained(folder, pretrained.read_architecture(folder), precision)
  run_state.restore_best(model, folder)
  model.freeze()
  return model


def shallow(folder: str, precision: str) -> TeacherModel:
  """The teacher of `folder` with two layers and fresh weights: its layers' time can be told in a moment."""
  architecture = pretrained.read_architecture(folder)
  # Not one: with --pooling=cls the last one computes the first position alone.
  model = _untrained(folder, dataclasses.replace(architecture, num_layers=min(2, architecture.num_layers)), precision)
  model.freeze()
  return model


def _untrained(folder: str, architecture: pretrained.Architecture, precision: str) -> TeacherModel:
  run_config = runs.load_config(folder, config.Finetune)
  vocab_file = os.path.join(folder, 'vocab.txt')
  with _dtype_policy(precision):
    return TeacherModel(
      run_config.teacher, architecture, vocab_file, run_config.schema.num_classes, run_config.schema.fields
    )


def adamw(settings: config.Training, steps: int):
  """AdamW as BERT uses it: warm-up, linear decay, gradients clipped to a global norm of 1."""
  return optimizers.LazyAdamW(
    training.learning_rate_schedule(settings, steps),
    weight_decay_rate=settings.weight_decay,
    epsilon=1e-6,
    exclude_from_weight_decay=['LayerNorm', 'layer_norm', 'bias'],
    gradient_clip_norm=1.0,
  )


def _check(settings, architecture, vocab_file, path):
  """Raises ValueError where vocabulary, flags and checkpoint contradict each other."""
  vocab = wordpiece.read_vocab(vocab_file, architecture.marks)
  added = wordpiece.added_tokens(vocab_file, vocab)
  unused = architecture.vocab_size - len(vocab) - len(added)
  padded = not architecture.vocab_size % 8 and 0 < unused < _MAX_PADDING
  if unused and not padded:
    raise ValueError(
      f'{vocab_file}: expected the {architecture.vocab_size} word pieces of {path}, '
      f'found {len(vocab) + len(added)}; set --vocab_file to the vocabulary that it was trained with'
    )
  if added:
    logging.warning(
      '%s: %d tokens were added later; texts that hold them are cut as any other: %s',
      path,
      len(added),
      ' '.join(sorted(added)[:10]),
    )
  if settings.max_seq_length > architecture.max_length:
    raise ValueError(f'--max_seq_length={settings.max_seq_length}: {path} has {architecture.max_length} positions')
  if settings.num_layers > architecture.num_layers:
    raise ValueError(f'--num_layers={settings.num_layers}: {path} has {architecture.num_layers} layers')


def _repeated(ids: list[int], pieces: tf.RaggedTensor) -> tf.Tensor:
  """The same ids for each row of `pieces`: int32 [n, len(ids)]."""
  return tf.tile(tf.constant([ids], tf.int32), [pieces.nrows(out_type=tf.int32), 1])


def _truncate(pieces: tf.RaggedTensor, limits: tf.Tensor) -> tf.RaggedTensor:
  """The first `limits` [n] of each row."""
  positions = tf.ragged.range(pieces.row_lengths())
  kept = positions.values < tf.gather(limits, positions.value_rowids())
  return tf.ragged.boolean_mask(pieces, positions.with_values(kept))


@contextlib.contextmanager
def _dtype_policy(precision: str):
  """Keras layers made inside multiply matrices in `precision`."""
  before = tf_keras.mixed_precision.global_policy()
  tf_keras.mixed_precision.set_global_policy('mixed_bfloat16' if precision == 'bfloat16' else precision)
  try:
    yield
  finally:
    tf_keras.mixed_precision.set_global_policy(before)
