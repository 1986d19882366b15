"""The flags of b2d.pair_up: one for each field of `pairing.PairUp`."""

from b2d import pairing
from flags import dataclass_flags

dataclass_flags.define(pairing.PairUp)


def parse() -> pairing.PairUp:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(pairing.PairUp)
