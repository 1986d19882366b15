"""The flags of b2d.label: one for each field of `config.Label`."""

from b2d import config
from flags import dataclass_flags

dataclass_flags.define(config.Label)


def parse() -> config.Label:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(config.Label)
