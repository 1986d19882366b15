"""The flags of b2d.evaluate: one for each field of `config.Evaluate`."""

from b2d import config
from flags import dataclass_flags

dataclass_flags.define(config.Evaluate)


def parse() -> config.Evaluate:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(config.Evaluate)
