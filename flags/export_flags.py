"""The flags of `python -m export`: one for each field of `config.Export`."""

from b2d import config
from flags import dataclass_flags

dataclass_flags.define(config.Export)


def parse() -> config.Export:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(config.Export)
