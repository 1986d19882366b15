"""pytest runs absltest files without `absltest.main`, which is what parses absl's flags."""

from absl import flags

flags.FLAGS.mark_as_parsed()
