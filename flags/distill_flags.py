"""The flags of b2d.distill: one for each field of `config.Distill`."""

from b2d import config
from flags import dataclass_flags

dataclass_flags.define(config.Distill)


def parse() -> config.Distill:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(config.Distill)
