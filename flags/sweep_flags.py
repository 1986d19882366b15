"""The flags of b2d.sweep: one for each field of `config.Sweep`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Sweep)
