"""The flags of b2d.sweep: one for each field of `config_sweep.Sweep`."""

from b2d import config_sweep
from flags import dataclass_flags

parse = dataclass_flags.define(config_sweep.Sweep)
