"""Tables in Markdown."""

from collections.abc import Iterable
from collections.abc import Sequence


def table(header: Sequence[str], lines: Iterable[Sequence[str]], num_words: int = 1) -> str:
  """A table whose first `num_words` columns are words, flush left, and the others figures, flush right.

  Args:
    header: name of each column.
    lines: cells of each line, as many.
    num_words: number of columns of words.
  """
  rule = ['---'] * num_words + ['---:'] * (len(header) - num_words)
  return ''.join('| ' + ' | '.join(line) + ' |\n' for line in (header, rule, *lines))
