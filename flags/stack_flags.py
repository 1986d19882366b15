"""The flags of b2d.stack: one for each field of `config.Stack`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Stack)
