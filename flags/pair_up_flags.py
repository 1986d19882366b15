"""The flags of b2d.pair_up: one for each field of `config.PairUp`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.PairUp)
