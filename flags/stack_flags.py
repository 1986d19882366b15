"""The flags of b2d.stack: one for each field of `config.Stack`."""

from b2d import config
from flags import dataclass_flags

dataclass_flags.define(config.Stack)


def parse() -> config.Stack:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(config.Stack)
