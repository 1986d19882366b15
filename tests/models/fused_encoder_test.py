"""The fused forms of an encoder give what tf-models-official's own give."""

import itertools

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf
import tf_keras

from b2d.models import checkpoints
from b2d.models import fused_encoder
from b2d.models import pretrained
from tests import tiny_bert

_IDS = tf.constant([[2, 7, 8, 9, 3, 0], [2, 5, 3, 11, 12, 3], [2, 3, 0, 0, 0, 0]])
_MASK = tf.constant([[1, 1, 1, 1, 1, 0], [1] * 6, [1, 1, 0, 0, 0, 0]])
_TYPES = tf.constant([[0] * 6, [0, 0, 0, 1, 1, 1], [0] * 6])
_TOLERANCE = {'float32': 1e-5, 'mixed_bfloat16': 0.1}


class FusedEncoderTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.addCleanup(tf_keras.mixed_precision.set_global_policy, 'float32')
    self.inputs = {'input_word_ids': _IDS, 'input_mask': _MASK, 'input_type_ids': _TYPES}

  @parameterized.parameters(
    *itertools.product(
      (tiny_bert.write_hugging_face, tiny_bert.write_mpnet), ('gelu', 'gelu_new'), _TOLERANCE, (False, True)
    )
  )
  def test_equals_the_encoder(self, write, activation, policy, first_only):
    folder = write(self.create_tempdir().full_path, hidden_act=activation)
    architecture = pretrained.read_architecture(folder)
    tf_keras.mixed_precision.set_global_policy(policy)
    encoder = pretrained.make_encoder(architecture, first_position_only=first_only)
    checkpoints.load_weights(encoder, folder, architecture)
    expected = encoder(self.inputs)['sequence_output']
    variables, constants = fused_encoder.variables(encoder), fused_encoder.constants(encoder)
    for found in (
      fused_encoder.encode(encoder, architecture, variables, self.inputs, first_only),
      tf.function(lambda: fused_encoder.encode(encoder, architecture, constants, self.inputs, first_only))(),
    ):
      self.assertEqual(found.shape, expected.shape)
      seen = np.ones([3, 1], bool) if first_only else _MASK.numpy().astype(bool)
      np.testing.assert_allclose(
        tf.cast(found, tf.float32).numpy()[seen], tf.cast(expected, tf.float32).numpy()[seen], atol=_TOLERANCE[policy]
      )

  def test_constants_stay_and_variables_follow(self):
    folder = tiny_bert.write_hugging_face(self.create_tempdir().full_path)
    architecture = pretrained.read_architecture(folder)
    encoder = pretrained.make_encoder(architecture)
    variables, constants = fused_encoder.variables(encoder), fused_encoder.constants(encoder)
    of_variables, of_constants = (
      tf.function(lambda weights=weights: fused_encoder.encode(encoder, architecture, weights, self.inputs))
      for weights in (variables, constants)
    )
    before = of_variables().numpy()
    np.testing.assert_allclose(of_constants(), before, atol=1e-5)
    for variable in encoder.trainable_variables:
      variable.assign_add(tf.ones_like(variable))
    np.testing.assert_allclose(of_constants(), before, atol=1e-5)
    self.assertGreater(np.abs(of_variables() - before).max(), 0.01)


if __name__ == '__main__':
  absltest.main()
