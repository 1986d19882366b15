"""Lazy optimisers: on rows that every step touches as the dense ones, all other rows rest."""

import functools

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from official.nlp import optimization
import tensorflow as tf
import tf_keras

from b2d.learning import optimizers

_ROWS, _DIM, _STEPS = 6, 3, 5


def _start() -> np.ndarray:
  return np.random.default_rng(1).normal(size=[_ROWS, _DIM]).astype(np.float32)


def _gradients() -> np.ndarray:
  return np.random.default_rng(2).normal(size=[_STEPS, _ROWS, _DIM]).astype(np.float32)


def _minimize(optimizer, gradients, name='table') -> np.ndarray:
  """The variable after one step for each gradient."""
  variable = tf.Variable(_start(), name=name)

  @tf.function
  def apply(gradient):
    optimizer.apply_gradients([(gradient, variable)])

  for gradient in gradients:
    apply(gradient)
  return variable.numpy()


def _slices(values, rows) -> tf.IndexedSlices:
  rows = np.array(rows, np.int64)
  return tf.IndexedSlices(tf.constant(values[rows]), tf.constant(rows), tf.constant(values.shape))


def _lazy_adam(gradients, row_lists, rate=0.1, decay=0.0, epsilon=1e-5) -> np.ndarray:
  """The closed form: moments decay when their row is touched, the correction each step."""
  table = _start().astype(np.float64)
  first, second = np.zeros_like(table), np.zeros_like(table)
  for step, (gradient, rows) in enumerate(zip(gradients, row_lists), 1):
    first[rows] = 0.9 * first[rows] + 0.1 * gradient[rows]
    second[rows] = 0.999 * second[rows] + 0.001 * gradient[rows] ** 2
    corrected = rate * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    change = corrected * first[rows] / (np.sqrt(second[rows]) + epsilon)
    table[rows] -= change + rate * decay * table[rows]
  return table


_SOME_ROWS = ([5, 0, 2], [0], [2, 1], [5, 1, 0, 2], [0, 2])  # Never rows 3 and 4.


class StudentOptimizersTest(parameterized.TestCase):
  @parameterized.parameters(
    ('lazy_adam', functools.partial(tf_keras.optimizers.Adam, epsilon=1e-5)), ('adagrad', tf_keras.optimizers.Adagrad)
  )
  def test_equals_keras_where_every_row_is_touched(self, name, keras):
    rate = tf_keras.optimizers.schedules.PolynomialDecay(0.1, _STEPS)
    order = [3, 0, 5, 1, 4, 2]
    found = _minimize(optimizers.create(name, rate), [_slices(g, order) for g in _gradients()])
    np.testing.assert_allclose(found, _minimize(keras(rate), list(map(tf.constant, _gradients()))), rtol=1e-5)

  def test_dense_gradients_as_adam(self):
    gradients = list(map(tf.constant, _gradients()))
    np.testing.assert_allclose(
      _minimize(optimizers.create('lazy_adam', 0.1), gradients),
      _minimize(tf_keras.optimizers.Adam(0.1, epsilon=1e-5), gradients),
      rtol=1e-6,
    )

  def test_untouched_rows_rest(self):
    gradients = [_slices(g, rows) for g, rows in zip(_gradients(), _SOME_ROWS)]
    found = _minimize(optimizers.create('lazy_adam', 0.1), gradients)
    np.testing.assert_allclose(found, _lazy_adam(_gradients(), _SOME_ROWS), rtol=1e-4)
    np.testing.assert_array_equal(found[3:5], _start()[3:5])
    keras = _minimize(tf_keras.optimizers.Adam(0.1, epsilon=1e-5), gradients)
    self.assertGreater(np.abs(keras - found)[:3].max(), 0.01)  # Adam's rows go on by momentum.

  def test_unknown_name(self):
    with self.assertRaisesRegex(ValueError, "'sgd': expected lazy_adam or adagrad"):
      optimizers.create('sgd', 0.1)


class LazyAdamWTest(absltest.TestCase):
  def _create(self, optimizer_class=optimizers.LazyAdamW):
    return optimizer_class(
      0.1, weight_decay_rate=0.01, epsilon=1e-6, gradient_clip_norm=0.0, exclude_from_weight_decay=['bias']
    )

  def test_sparse_steps(self):
    gradients = [_slices(g, rows) for g, rows in zip(_gradients(), _SOME_ROWS)]
    for name, decay in (('table', 0.01), ('bias', 0.0)):
      found = _minimize(self._create(), gradients, name)
      np.testing.assert_allclose(found, _lazy_adam(_gradients(), _SOME_ROWS, decay=decay, epsilon=1e-6), rtol=1e-4)
      np.testing.assert_array_equal(found[3:5], _start()[3:5])

  def test_equals_adamw_where_every_row_is_touched(self):
    found = _minimize(self._create(), [_slices(g, range(_ROWS)) for g in _gradients()])
    expected = _minimize(self._create(optimization.AdamWeightDecay), list(map(tf.constant, _gradients())))
    np.testing.assert_allclose(found, expected, rtol=1e-5)

  def test_a_row_named_twice_gets_the_sum(self):
    values = _gradients()[0]
    twice = tf.IndexedSlices(tf.constant(values[[1, 4, 1]]), tf.constant([1, 4, 1]), tf.constant(values.shape))
    summed = values.copy()
    summed[1] *= 2
    np.testing.assert_allclose(
      _minimize(self._create(), [twice]), _minimize(self._create(), [_slices(summed, [1, 4])]), rtol=1e-6
    )


if __name__ == '__main__':
  absltest.main()
