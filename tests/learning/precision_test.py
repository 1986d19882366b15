"""The faster arithmetic is taken, and said; bfloat16 where it is slow is warned of."""

import os
import subprocess
import sys
import time
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized

from b2d.learning import precision

_PROGRAM = """
from absl import logging as absl_logging
from b2d.learning import precision
absl_logging.set_verbosity('info')
precision.warn_if_slow('bfloat16')
print(precision.choose(lambda: {}['the model was built although a layer tells']))
"""


class PrecisionTest(parameterized.TestCase):
  @parameterized.parameters('float32', 'bfloat16')
  def test_takes_the_faster_one(self, faster):
    calls = {name: lambda name=name: time.sleep(0.001 if name == faster else 0.03) for name in ('float32', 'bfloat16')}
    with mock.patch.object(precision, '_layer_ratio', return_value=1.0), self.assertLogs('absl', level='INFO') as logs:
      self.assertEqual(precision.choose(lambda: calls), faster)
    self.assertRegex(logs.output[0], f'--precision=auto: {faster}; a small batch takes \\d+ ms in float32, \\d+ ms in')

  def test_warns_only_of_slow_bfloat16(self):
    for name, ratio in (('float32', 25.0), ('bfloat16', 1.5)):
      with mock.patch.object(precision, '_layer_ratio', return_value=ratio), self.assertNoLogs(level='WARNING'):
        precision.warn_if_slow(name)
    with (
      mock.patch.object(precision, '_layer_ratio', return_value=25.0),
      self.assertLogs('absl', level='WARNING') as logs,
    ):
      precision.warn_if_slow('bfloat16')
    self.assertIn('takes 25 times as long as in float32 on this processor', logs.output[0])

  def test_a_processor_without_bfloat16(self):
    # TensorFlow's own kernels have no bfloat16 instructions, as oneDNN's have none where the processor has none.
    environment = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': '0', 'TF_CPP_MIN_LOG_LEVEL': '3'}
    done = subprocess.run(
      [sys.executable, '-c', _PROGRAM], env=environment, capture_output=True, text=True, check=False
    )
    self.assertEqual(done.stdout, 'float32\n', done.stderr)
    self.assertRegex(done.stderr, r'precision bfloat16: a dense layer takes \d+ times as long as in float32')
    self.assertRegex(done.stderr, r'auto: float32; a dense layer in bfloat16 takes \d+ times as long')


if __name__ == '__main__':
  absltest.main()
