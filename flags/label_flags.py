"""The flags of b2d.label: one for each field of `config.Label`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Label)
