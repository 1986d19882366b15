"""Values for the flags of one step, for as long as a test needs them."""

from collections.abc import Iterator
import contextlib
from typing import Any

from absl.testing import flagsaver

from flags import dataclass_flags


@contextlib.contextmanager
def given(parse: dataclass_flags.Parser, **values: Any) -> Iterator[None]:
  """Sets flags of `parse` within the block."""
  saved = flagsaver.save_flag_values(parse.flag_values)
  try:
    for name, value in values.items():
      parse.flag_values[name].value = value
    yield
  finally:
    flagsaver.restore_flag_values(saved, parse.flag_values)
