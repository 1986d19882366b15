"""The flags of b2d.distill: one for each field of `config.Distill`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Distill)
