"""The student's losses against closed forms in numpy."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from scipy import special
import tensorflow as tf

from b2d.learning import losses

_RNG = np.random.default_rng(3)
_TEACHER = _RNG.normal(0, 3, [5, 4])
_STUDENT = _RNG.normal(0, 2, [5, 4])


class SoftTargetsTest(parameterized.TestCase):
  @parameterized.parameters(0.5, 1.0, 4.0)
  def test_softmax_of_tempered_logits(self, temperature):
    np.testing.assert_allclose(
      losses.soft_targets(tf.constant(_TEACHER), temperature),
      special.softmax(_TEACHER / temperature, axis=1),
      rtol=1e-9,
    )

  @parameterized.parameters(0.0, -1.0)
  def test_temperature_must_be_positive(self, temperature):
    with self.assertRaisesRegex(ValueError, f'temperature {temperature}: expected a positive'):
      losses.soft_targets(tf.constant(_TEACHER), temperature)


class CrossEntropyTest(parameterized.TestCase):
  @parameterized.parameters(('paper', 1.0, 1.0, 1.0), ('paper', 3.0, 1.0, 1.0), ('hinton', 3.0, 3.0, 9.0))
  def test_classes(self, rule, temperature, softened, scale):
    targets = special.softmax(_TEACHER / temperature, axis=1)
    found = losses.cross_entropy(tf.constant(_STUDENT), tf.constant(targets), temperature=temperature, rule=rule)
    expected = -scale * np.sum(targets * special.log_softmax(_STUDENT / softened, axis=1), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)

  @parameterized.parameters(('paper', 1.0, 1.0), ('hinton', 3.0, 9.0))
  def test_one_logit_is_two_classes(self, rule, softened, scale):
    targets = special.softmax(_TEACHER[:, :2], axis=1)
    logits = np.array([-800.0, -1.0, 0.0, 2.0, 800.0])
    found = losses.cross_entropy(tf.constant(logits), tf.constant(targets), temperature=3.0, rule=rule)
    pair = np.stack([np.zeros(5), logits], axis=1)
    expected = -scale * np.sum(targets * special.log_softmax(pair / softened, axis=1), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-9)

  def test_hintons_scale_keeps_the_size_of_the_gradient(self):
    """d/dz = T (softmax(z/T) - softmax(t/T)), which tends to (z - t) / C for centred logits."""
    student = tf.constant(_STUDENT - _STUDENT.mean(axis=1, keepdims=True))
    teacher = tf.constant(_TEACHER - _TEACHER.mean(axis=1, keepdims=True))
    for temperature, expected in (
      (3.0, 3 * (special.softmax(student / 3, axis=1) - special.softmax(teacher / 3, axis=1))),
      (1e5, (student - teacher) / 4),
    ):
      with tf.GradientTape() as tape:
        tape.watch(student)
        loss = losses.cross_entropy(
          student, losses.soft_targets(teacher, temperature), temperature=temperature, rule='hinton'
        )
      np.testing.assert_allclose(tape.gradient(loss, student), expected, rtol=1e-3, atol=1e-4)


class HardTargetsTest(absltest.TestCase):
  def test_classes_and_grades(self):
    np.testing.assert_array_equal(losses.hard_targets(tf.constant([2.0, 0.0]), 3, graded=False), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_allclose(losses.hard_targets(tf.constant([0.25, 1.0]), 2, graded=True), [[0.75, 0.25], [0, 1]])


class MarginLossTest(absltest.TestCase):
  def test_neighbours_of_one_query(self):
    student, teacher = tf.constant([1.0, 3.0, 0.0, 5.0]), tf.constant([0.0, 0.5, 7.0, 9.0])
    groups = tf.constant([8, 8, 5, 5])
    np.testing.assert_allclose(losses.margin_loss(student, teacher, groups), [(2 - 0.5) ** 2, 0, (5 - 2) ** 2])

  def test_only_differences_count(self):
    student = tf.constant([1.0, 3.0, -2.0])
    np.testing.assert_allclose(losses.margin_loss(student, student + 40, tf.zeros([3])), [0, 0], atol=1e-6)

  def test_one_row_has_no_neighbour(self):
    self.assertEqual(losses.margin_loss(tf.ones([1]), tf.ones([1]), tf.ones([1])).shape, [0])


if __name__ == '__main__':
  absltest.main()
