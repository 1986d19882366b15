"""The flags of b2d.evaluate: one for each field of `config.Evaluate`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Evaluate)
