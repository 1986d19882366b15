"""Runs a step as its binary does, from flags to what it prints."""

from collections.abc import Callable
import contextlib
import io
from typing import Any

import b2d
from flags import binary
from flags import dataclass_flags


def run(
  config_class: type,
  show: Callable = binary.summary,
  step: Callable = b2d.run,
  words: tuple[str, ...] = (),
  **values: Any,
) -> str:
  """What the binary says on stdout, given values of its flags and words that are no flags."""
  parser = dataclass_flags.Parser(config_class)
  parser.flag_values.mark_as_parsed()
  for name, value in values.items():
    parser.flag_values[name].value = value
  with contextlib.redirect_stdout(io.StringIO()) as said:
    binary.main(['binary', *words], parser, step, show)
  return said.getvalue()
