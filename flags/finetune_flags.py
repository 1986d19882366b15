"""The flags of b2d.finetune: one for each field of `config.Finetune`."""

from b2d import config
from flags import dataclass_flags

dataclass_flags.define(config.Finetune)


def parse() -> config.Finetune:
  """The configuration that the flags describe.

  Raises:
    app.UsageError: values of a wrong type, or that contradict each other.
  """
  return dataclass_flags.parse(config.Finetune)
