"""The flags of b2d.finetune: one for each field of `config.Finetune`."""

from b2d import config
from flags import dataclass_flags

parse = dataclass_flags.define(config.Finetune)
