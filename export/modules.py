"""What is exported: a trained model as its variables and one function, strings in, logits out."""

import tensorflow as tf

from b2d import config
from b2d.models import ngrams
from b2d.models import student
from b2d.models import teacher

# Numbers that a convolution may hold for one request: its windows of table rows, and what its filters say of each.
# They take up to 5 bytes each, so some 0.6 GB.
MAX_CONVOLVED = 1 << 27


def max_tokens(settings: config.Student) -> int | None:
  """How many tokens a request may have that an exported student answers; None for any number."""
  if not settings.convolution_filters:
    return None
  return MAX_CONVOLVED // (settings.convolution_width * settings.vector_dim + settings.convolution_filters)


class StudentModule(tf.Module):
  """A student with its dense weights as constants, which the runtime fuses with their activations.

  The table stays a variable: as a constant it would be copied several times on loading. In `logits` a query
  that repeats is prepared again for each title: `tf.unique`, tried without match features, won 7 %
  at 1 query × 100 titles (505 → 471 µs) and lost 10 % at one row (15.5 → 17.2 µs); `ranking_logits`
  takes it once.

  Attributes:
    fields: names of the text inputs, ('text',) or ('query', 'title').
    num_classes: number of classes.
  """

  def __init__(self, model: student.StudentModel, table_dtype: str):
    super().__init__(name='student')
    self.fields, self.num_classes = model.fields, model.num_classes
    rows, units = model.poolable(tf.convert_to_tensor(model.table))
    self.table = tf.Variable(tf.cast(rows, table_dtype), name='table')
    self.units = None
    if units is not None:
      self.units = tf.Variable(tf.cast(units[: model.settings.num_buckets], table_dtype), name='units')
    layers = [_Frozen(layer) for layer in model.dense]
    # In closures, tf.Module does not see the Keras model, whose call functions would be saved too.
    self._logits = lambda bags: model.logits_of_poolable(self._ready(), bags, layers)
    self._featurize, self._settings = model.featurize, model.settings
    self._ranking_logits = lambda bags: model.ranking_logits(self._ready(), bags, layers)
    self._ranking_bags = lambda query, titles: ngrams.ranking_bags(query, titles, model.settings)

  def logits(self, texts: dict[str, tf.Tensor]) -> tf.Tensor:
    """String [N] by field → float32 [N] for two classes, else [N, num_classes]."""
    return self._logits(self._few(self._featurize(texts)))

  def ranking_logits(self, query: tf.Tensor, title: tf.Tensor) -> tf.Tensor:
    """Of pairs alone: string [1] and [N] → as `logits` of the query repeated."""
    return self._ranking_logits(self._ranking_bags(query, title))

  def _ready(self) -> student.Poolable:
    # As tensors: a gather from the variable itself makes every other read of it a copy of the whole.
    return student.Poolable(
      *(None if rows is None else tf.convert_to_tensor(rows) for rows in (self.table, self.units))
    )

  def _few(self, bags: ngrams.Bags) -> ngrams.Bags:
    """The bags, which a run refuses (INVALID_ARGUMENT) where their tokens would want too much memory."""
    limit = max_tokens(self._settings)
    if limit is None:
      return bags
    # The op itself: see `ngrams.ranking_bags`.
    few = tf.raw_ops.Assert(
      condition=tf.size(bags.ids) <= limit * len(self._settings.ngram_orders),
      data=[f'the texts have too many tokens: expected at most {limit} in a request; send fewer or shorter texts'],
    )
    with tf.control_dependencies([few]):
      return bags._replace(ids=tf.identity(bags.ids))


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


class _Frozen:
  """The Keras dense layer with its weights as constants."""

  def __init__(self, layer):
    self.kernel, self.bias, self.activation = layer.kernel.numpy(), layer.bias.numpy(), layer.activation

  def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
    return self.activation(tf.nn.bias_add(tf.matmul(inputs, self.kernel), self.bias))
