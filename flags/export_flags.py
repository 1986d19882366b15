"""The flags of export: one for each field of `config.Export`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Export)
