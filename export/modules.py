"""What is exported: a trained model as its variables and one function, strings in, logits out."""

from typing import Callable

import numpy as np
import tensorflow as tf

from b2d import ngrams
from b2d import student
from b2d import teacher

_INT8_LIMIT = 127


class StudentModule(tf.Module):
  """A student with its dense weights as constants, which the runtime fuses with their activations.

  The table stays a variable: as a constant it would be copied several times on loading. A query
  that repeats is prepared again for each title: `tf.unique`, tried without match features, won 7 %
  at 1 query × 100 titles (505 → 471 µs) and lost 10 % at one row (15.5 → 17.2 µs); the match
  features compare row by row all the same.

  Attributes:
    fields: names of the text inputs, ('text',) or ('query', 'title').
    num_classes: number of classes.
  """

  def __init__(self, model: student.StudentModel, table_dtype: str = 'float32'):
    super().__init__(name='student')
    self.fields, self.num_classes = model.fields, model.num_classes
    dtype = tf.dtypes.as_dtype(table_dtype)
    self.table = _Int8Table(model.table) if dtype == tf.int8 else _FloatTable(model.table, dtype)
    layers = [_frozen(layer) for layer in model.dense]
    # In a closure, tf.Module does not see the Keras model, whose call functions would be saved too.
    self._logits = lambda bags: model.logits_of_pooled(self.table.pool(bags), layers)
    self._featurize = model.featurize

  def logits(self, texts: dict[str, tf.Tensor]) -> tf.Tensor:
    """String [N] by field → float32 [N] for two classes, else [N, num_classes]."""
    return self._logits(self._featurize(texts))


class TeacherModule(tf.Module):
  """A teacher, for comparison with its students. Attributes as `StudentModule`."""

  def __init__(self, model: teacher.TeacherModel):
    super().__init__(name='teacher')
    self.fields, self.num_classes = model.fields, model.num_classes
    self.weights = model.variables
    self._call = lambda texts: model(texts, training=False)

  def logits(self, texts: dict[str, tf.Tensor]) -> tf.Tensor:
    """String [N] by field → float32 [N] for two classes, else [N, num_classes]."""
    stacked = tf.stack([texts[field] for field in self.fields])
    ensured = tf.ensure_shape(stacked, [len(self.fields), None])
    logits = self._call(dict(zip(self.fields, tf.unstack(ensured))))
    return logits[:, 1] - logits[:, 0] if self.num_classes == 2 else logits


class _FloatTable(tf.Module):

  def __init__(self, table: tf.Variable, dtype: tf.DType):
    super().__init__()
    self._rows = table if dtype == table.dtype else tf.Variable(tf.cast(table, dtype), name='table')

  def pool(self, bags: ngrams.Bags) -> tf.Tensor:
    """float32 [num_segments, dim], each the sum of its bag's rows over the root of their number."""
    pooled = tf.sparse.segment_sqrt_n(self._rows, bags.ids, bags.segment_ids, num_segments=bags.num_segments)
    return tf.cast(pooled, tf.float32)


class _Int8Table(tf.Module):
  """Whole numbers of a unit that each row has for itself: rows of rare n-grams are small."""

  def __init__(self, table: tf.Variable):
    super().__init__()
    rows = table.numpy()
    units = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30) / _INT8_LIMIT
    self._rows = tf.Variable(np.rint(rows / units).astype(np.int8), name='table')
    self._units = tf.Variable(units.astype(np.float32), name='units')

  def pool(self, bags: ngrams.Bags) -> tf.Tensor:
    """As `_FloatTable`."""
    rows = tf.cast(tf.gather(self._rows, bags.ids), tf.float32) * tf.gather(self._units, bags.ids)
    return tf.sparse.segment_sqrt_n(rows, tf.range(tf.size(bags.ids)), bags.segment_ids, num_segments=bags.num_segments)


def _frozen(layer) -> Callable[[tf.Tensor], tf.Tensor]:
  """The Keras dense layer with its weights as constants."""
  kernel, bias = layer.kernel.numpy(), layer.bias.numpy()
  return lambda inputs: layer.activation(tf.nn.bias_add(tf.matmul(inputs, kernel), bias))
