"""The flags of b2d.measure_speed: one for each field of `config_measure_speed.MeasureSpeed`."""

from b2d import config_measure_speed
from flags import dataclass_flags

parse = dataclass_flags.define(config_measure_speed.MeasureSpeed)
