"""The configuration of `b2d.pair_up`."""

import dataclasses
from typing import ClassVar

from b2d.config import base
from b2d.config import columns


@dataclasses.dataclass(frozen=True)
class PairUp(base.Config):
  """`python -m b2d.pair_up`: queries and titles → pairs to label."""

  step: ClassVar[str] = 'pair_up'
  queries: tuple[str, ...] = base.option(
    (), 'Logged queries: file patterns. Empty: pseudo-queries alone.', role='input'
  )
  titles: tuple[str, ...] = base.option((), 'The catalogue of titles: file patterns.', role='input', required=True)
  output_dir: str = base.option('', 'Folder of the pairs.', role='free', required=True)
  query_column: str = base.option('query', 'Column of the queries; files of plain lines (.txt) need none.')
  title_column: str = base.option('title', 'Column of the titles; files of plain lines (.txt) need none.')
  tsv_quoting: str = base.option('check', 'Quotes in .tsv files: as of b2d.label.', columns.TSV_QUOTINGS)
  max_bad_rows: int = base.option(
    0, 'Rows that cannot be read and are left out, at most; rejected.jsonl in the output names them and says why.'
  )
  num_neighbors: int = base.option(16, 'Best titles by BM25 for each logged query.')
  num_lower: int = base.option(8, 'Titles for each logged query from the ranks after those, drawn at random.')
  lower_rank: int = base.option(100, 'Last rank that --num_lower draws from.')
  num_random: int = base.option(4, 'Random titles for each logged query.')
  num_pseudo_queries: int = base.option(
    50000, 'Pseudo-queries in all, spread evenly over the titles; fewer if these hold no more.'
  )
  pseudo_neighbors: int = base.option(2, 'Best other titles by BM25 for each pseudo-query.')
  pseudo_random: int = base.option(1, 'Random titles for each pseudo-query.')
  max_pseudo_words: int = base.option(5, 'Words of a pseudo-query: one to this many.')
  rows_per_shard: int = base.option(32768, 'Rows a shard, about: what a killed run loses at most.')
  seed: int = base.option(1, 'Seed of the pseudo-queries, the random titles and the order of the queries.')

  def validate(self) -> None:
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      least = 1 if field.name in ('max_pseudo_words', 'rows_per_shard') else 0
      if isinstance(value, int) and value < least:
        raise ValueError(f'--{field.name}={value}: expected at least {least}')
    if self.num_lower and self.lower_rank < self.num_neighbors + self.num_lower:
      raise ValueError(
        f'--lower_rank={self.lower_rank}: expected at least --num_neighbors + '
        f'--num_lower = {self.num_neighbors + self.num_lower}'
      )
    if not self.rows_per_query and not self.num_pseudo_queries:
      raise ValueError(
        '--num_neighbors, --num_lower, --num_random and --num_pseudo_queries are '
        'all 0: expected pairs to make; set one of them'
      )

  @property
  def rows_per_query(self) -> int:
    """Most rows that a logged query brings."""
    return self.num_neighbors + self.num_lower + self.num_random

  @property
  def rows_per_pseudo_query(self) -> int:
    """Most rows that a pseudo-query brings, its own title included."""
    return 1 + self.pseudo_neighbors + self.pseudo_random
