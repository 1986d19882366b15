"""The configuration of `b2d.explain`."""

import dataclasses
from typing import ClassVar

from b2d.config import base
from b2d.config import columns


@dataclasses.dataclass(frozen=True)
class Explain(base.Config):
  """`python -m b2d.explain`: what made the scores of some rows."""

  step: ClassVar[str] = 'explain'
  model: str = base.option('', 'Run folder of a student or a teacher, or an exported SavedModel.', required=True)
  teacher: str = base.option('', 'Another model, whose contributions stand beside.')
  query: str = base.option('', 'Query of each --title.')
  title: tuple[str, ...] = base.option((), 'Title to explain; may be given several times.', repeated=True)
  text: tuple[str, ...] = base.option((), 'Single text to explain; may be given several times.', repeated=True)
  files: tuple[str, ...] = base.option((), 'Rows to explain instead: file patterns.', role='input')
  schema: columns.Schema = columns.Schema()

  def validate(self) -> None:
    base.require(bool(self.model), 'set --model')
    given = [f'--{name}' for name in ('title', 'text', 'files') if getattr(self, name)]
    base.require(
      len(given) == 1, f'set one of --title (with --query), --text and --files; found {" and ".join(given) or "none"}'
    )
    base.require(not self.query or bool(self.title), '--query: set --title, too')

  @property
  def fields(self) -> tuple[str, ...]:
    """Names of the texts of the rows."""
    if self.files:
      return self.schema.fields
    return ('query', 'title') if self.title else ('text',)
