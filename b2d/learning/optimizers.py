"""Optimisers whose cost does not grow with the embedding table.

Keras Adam decays the moments of *every* table row at every step: with 1 M rows that is all it does. Lazy Adam
lets the moments of the rows that a batch did not touch rest, so that a step costs what its batch holds.
"""

from official.nlp import optimization
import tensorflow as tf
import tf_keras

# Adam makes a first step as large for an n-gram seen once as for a frequent one, and a row learns itself by heart from
# its rare n-grams. Measured against the size of the gradients, this epsilon damps those steps.
_EPSILON = 1e-5


class LazyAdam(tf_keras.optimizers.Adam):
  """Adam that updates only the rows a sparse gradient names; dense gradients as in Adam.

  The gradient's indices must be unique (gather the unique rows, as `student.py` does): duplicates would
  overwrite one another, so the usual pass that merges them is left out.
  """

  def _deduplicate_sparse_grad(self, grads):
    return grads

  def update_step(self, gradient, variable):
    if not isinstance(gradient, tf.IndexedSlices):
      super().update_step(gradient, variable)
      return
    step = tf.cast(self.iterations + 1, variable.dtype)
    rate = tf.cast(self.learning_rate, variable.dtype)
    rate = rate * tf.sqrt(1 - tf.pow(self.beta_2, step)) / (1 - tf.pow(self.beta_1, step))
    key = self._index_dict[self._var_key(variable)]
    first, second = self._momentums[key], self._velocities[key]
    rows, values = gradient.indices, gradient.values
    m = self.beta_1 * tf.gather(first, rows) + (1 - self.beta_1) * values
    v = self.beta_2 * tf.gather(second, rows) + (1 - self.beta_2) * tf.square(values)
    first.scatter_update(tf.IndexedSlices(m, rows))
    second.scatter_update(tf.IndexedSlices(v, rows))
    changed = tf.gather(variable, rows) - rate * m / (tf.sqrt(v) + self.epsilon)
    variable.scatter_update(tf.IndexedSlices(changed, rows))  # scatter_sub takes twice as long as both.


class UniqueAdagrad(tf_keras.optimizers.Adagrad):
  """Adagrad, already sparse, under the same promise of unique indices."""

  def _deduplicate_sparse_grad(self, grads):
    return grads


class LazyAdamW(optimization.AdamWeightDecay):
  """BERT's AdamW, lazy on the word-piece embeddings: half the time of a training step on CPU was theirs."""

  def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
    # `indices` are unique: the caller, `_resource_apply_sparse_duplicate_indices`, has merged them.
    scale = apply_state[(var.device, var.dtype.base_dtype)]
    first, second = self.get_slot(var, 'm'), self.get_slot(var, 'v')
    m = scale['beta_1_t'] * tf.gather(first, indices) + scale['one_minus_beta_1_t'] * grad
    v = scale['beta_2_t'] * tf.gather(second, indices) + scale['one_minus_beta_2_t'] * tf.square(grad)
    change = scale['lr'] * m / (tf.sqrt(v) + scale['epsilon'])
    if self._do_use_weight_decay(var.name):
      change += scale['lr_t'] * self.weight_decay_rate * tf.gather(var, indices)
    return tf.group(
      first.scatter_update(tf.IndexedSlices(m, indices)),
      second.scatter_update(tf.IndexedSlices(v, indices)),
      var.scatter_sub(tf.IndexedSlices(change, indices)),
    )


def create(name: str, learning_rate) -> tf_keras.optimizers.Optimizer:
  """The student's optimiser by name: 'lazy_adam', or the paper's 'adagrad'.

  Raises:
    ValueError: another name.
  """
  if name == 'lazy_adam':
    return LazyAdam(learning_rate, epsilon=_EPSILON)
  if name == 'adagrad':
    return UniqueAdagrad(learning_rate)
  raise ValueError(f'optimizer {name!r}: expected lazy_adam or adagrad')
