"""The flags of b2d.measure_speed: one for each field of `config.MeasureSpeed`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.MeasureSpeed)
