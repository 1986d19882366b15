"""The flags of b2d.pair_up: one for each field of `config_pair_up.PairUp`."""

from b2d import config_pair_up
from flags import dataclass_flags

parse = dataclass_flags.define(config_pair_up.PairUp)
