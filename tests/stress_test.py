"""A short round of the stress command: `make stress` has the long ones."""

from absl.testing import absltest

from b2d import config
from tests import stress


class StressTest(absltest.TestCase):
  def test_a_short_round(self):
    one = stress.Round(self.create_tempdir().full_path, 1, config.Scaling())
    one.kill(8)
    one.two_drivers()
    one.flip_bits(20)
    one.truncated_input()


if __name__ == '__main__':
  absltest.main()
