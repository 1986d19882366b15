"""Unlabelled query–title pairs from logged queries and a catalogue of titles: a transfer set.

A logged query is paired with the titles that BM25 ranks first, with some from further down and with
random ones. A pseudo-query is one to a few words cut from a title, so that words which no logged
query holds are taught too; it is paired with that title, with its neighbours and with random
titles. Which pair is relevant is left to the teacher.

    part-00000.parquet   query, title, source (one of SOURCES); the rows of a query are adjacent
    inputs.json          counts and digest of queries and titles; a resumed run checks them
    manifest.json        the same, with shards: {name: rows}; written last

The queries are in random order over the shards, so the first shards are a fair sample of the whole.
Tokens are words between spaces and punctuation, and each sign of a script without spaces; see `words`.
"""

import collections
from collections.abc import Iterable
import json
import os
import random
from typing import NamedTuple

from absl import logging
import bm25s
from bm25s import tokenization
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import progress as progress_lib
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.data import shards as shards_lib
from b2d.data import soft_labels
from b2d.data import words

SOURCES = ('neighbor', 'lower', 'random', 'pseudo_self', 'pseudo_neighbor', 'pseudo_random')

_WORD_EDGES = '.,;:()[]{}|'
_ATTEMPTS = 4  # Cuts tried for each pseudo-query that is asked for, since short ones repeat.


class Query(NamedTuple):
  """A query and, for a pseudo-query, the index of the title that it was cut from."""

  text: str
  own_title: int | None = None


class Inputs(NamedTuple):
  """What is to be paired: each text once."""

  queries: list[Query]  # Logged ones and pseudo-queries, shuffled.
  titles: list[str]


class TitleIndex:
  """BM25 over titles: bm25s' index and scores, with a selection of our own.

  `bm25s.BM25.retrieve` partitions the scores of all titles, which are nearly all 0: 29 ms a query
  on 200,000 titles. Looking at the titles that match takes 0.3 ms (2.4 ms on a million) and breaks
  ties by position, so that no partitioning algorithm shows in the order. Plurals in -s are folded.
  """

  def __init__(self, titles: list[str]):
    self._tokenizer = tokenization.Tokenizer(
      splitter=words.split_without_punctuation, stopwords=None, stemmer=_singular
    )
    ids = self._tokenizer.tokenize(titles, update_vocab=True, allow_empty=False)
    self._bm25 = bm25s.BM25()
    self._bm25.index((ids, self._tokenizer.get_vocab_dict()), create_empty_token=False)

  def rank(self, query: str, depth: int) -> np.ndarray:
    """Indices of the best titles.

    Args:
      query: any text.
      depth: the number of titles wanted.

    Returns:
      int64 [at most depth], the best title first; every one shares a token with the query.
    """
    tokenize = self._tokenizer.streaming_tokenize
    ids = next(tokenize([query], update_vocab=False, allow_empty=False))
    if not ids or not depth:
      return np.empty(0, np.int64)
    scores = self._bm25.get_scores_from_ids(ids)
    found = np.flatnonzero(scores > 0)
    if len(found) > depth:
      lowest = np.partition(scores[found], -depth)[-depth]
      found = found[scores[found] >= lowest]
    return found[np.lexsort((found, -scores[found]))][:depth]


def _singular(word: str) -> str:
  return word[:-1] if len(word) > 3 and word.endswith('s') and not word.endswith('ss') else word


def unique(texts: Iterable[str]) -> list[str]:
  """The texts in order, runs of spaces made one; without empty ones and repetitions in any case."""
  kept: dict[str, str] = {}
  for text in texts:
    text = ' '.join(text.split())
    if text:
      kept.setdefault(text.casefold(), text)
  return list(kept.values())


def cut_pseudo_queries(titles: list[str], logged: list[str], settings: config.PairUp) -> list[Query]:
  """Cuts pseudo-queries from the titles, the titles taken in turn in random order.

  Returns:
    At most `num_pseudo_queries`, each text once and none of them a logged query.
  """
  generator = random.Random(settings.seed)
  order = generator.sample(range(len(titles)), len(titles))
  taken = {query.casefold() for query in logged} | {''}
  cut = []
  for attempt in range(_ATTEMPTS * settings.num_pseudo_queries):
    title = order[attempt % len(order)]
    text = _cut(titles[title], settings.max_pseudo_words, generator)
    if text.casefold() not in taken:
      taken.add(text.casefold())
      cut.append(Query(text, title))
      if len(cut) == settings.num_pseudo_queries:
        break
  return cut


def _cut(title: str, max_words: int, generator: random.Random) -> str:
  """One to `max_words` words in the title's order, adjacent or (as often) scattered."""
  parts = [_without_edges(word) for word in words.split(title.lower())]
  parts = [part for part in parts if any(character.isalnum() for character in part)]
  if not parts:
    return ''
  count = generator.randint(1, min(max_words, len(parts)))
  if generator.random() < 0.5:
    start = generator.randint(0, len(parts) - count)
    return ''.join(parts[start : start + count]).strip()
  return ' '.join(parts[i].strip() for i in sorted(generator.sample(range(len(parts)), count)))


def _without_edges(word: str) -> str:
  """The word without punctuation around it, the space before it kept."""
  bare = word.strip()
  return word[: len(word) - len(bare)] + bare.strip(_WORD_EDGES)


def pair(
  query: Query, index: TitleIndex, num_titles: int, settings: config.PairUp, generator: np.random.Generator
) -> dict[int, str]:
  """Chooses the titles of one query.

  Returns:
    Index of the title → source, each title once. Fewer than the settings ask for where the query
    shares a token with too few titles or the catalogue is too small.
  """
  if query.own_title is None:
    prefix, num_neighbors, num_random = '', settings.num_neighbors, settings.num_random
    depth = settings.lower_rank if settings.num_lower else num_neighbors
    chosen = {}
  else:
    prefix = 'pseudo_'
    num_neighbors, num_random = settings.pseudo_neighbors, settings.pseudo_random
    depth = num_neighbors + 1
    chosen = {query.own_title: 'pseudo_self'}
  ranked = [title for title in index.rank(query.text, depth).tolist() if title not in chosen]
  chosen.update((title, f'{prefix}neighbor') for title in ranked[:num_neighbors])
  lower = ranked[num_neighbors:]
  if query.own_title is None and lower:
    drawn = generator.choice(lower, min(settings.num_lower, len(lower)), replace=False)
    chosen.update((title, 'lower') for title in drawn.tolist())
  num_drawn = min(num_titles, num_random + len(chosen))
  drawn = generator.choice(num_titles, num_drawn, replace=False)
  new = [title for title in drawn.tolist() if title not in chosen]
  chosen.update((title, f'{prefix}random') for title in new[:num_random])
  return chosen


def pair_up(settings: config.PairUp) -> dict[str, int]:
  """Runs the whole step, or what is left of it.

  Returns:
    The number of rows by source and in all, and of those left out; also in metrics.json.

  Raises:
    ValueError: queries, titles, or run folder are not what the configuration says.
  """
  return runs.once(settings, _pair_up)


def _pair_up(settings: config.PairUp) -> dict[str, int]:
  bad_rows = blocks.BadRows(settings.max_bad_rows)
  inputs = load(settings, bad_rows)
  bad_rows.write(settings.output_dir)
  return write(inputs, settings, settings.output_dir) | bad_rows.counted()


def load(settings: config.PairUp, bad_rows: blocks.BadRows) -> Inputs:
  """Reads queries and titles, cuts the pseudo-queries, shuffles.

  Raises:
    ValueError: an input is bad, or there are no titles or no queries.
  """

  def read(patterns: tuple[str, ...], column: str) -> list[str]:
    return unique(rows.read_column(rows.expand(patterns), column or None, bad_rows, settings.tsv_quoting))

  titles = read(settings.titles, settings.title_column)
  if not titles:
    raise ValueError(f'--titles={",".join(settings.titles)}: expected titles, found none; name files that have some')
  logged = read(settings.queries, settings.query_column)
  pseudo = cut_pseudo_queries(titles, logged, settings)
  if not logged and not pseudo:
    raise ValueError(
      f'--queries={",".join(settings.queries)}: expected queries, found none; '
      'name files that have some or set --num_pseudo_queries'
    )
  logging.info(
    '%d titles, %d logged queries, %d of %d pseudo-queries',
    len(titles),
    len(logged),
    len(pseudo),
    settings.num_pseudo_queries,
  )
  queries = [Query(text) for text in logged] + pseudo
  random.Random(settings.seed).shuffle(queries)
  return Inputs(queries, titles)


def write(inputs: Inputs, settings: config.PairUp, folder: str) -> dict[str, int]:
  """Writes the shards that `folder` lacks, then its manifest.

  A shard depends on the inputs, the settings and its number alone: a resumed run equals an
  uninterrupted one.

  Args:
    inputs: what `load` returned.
    settings: the same for all runs in the folder, as the inputs are (`runs.once` holds that).
    folder: an existing folder.

  Returns:
    The number of rows by source, and of all: 'num_rows'.
  """
  shards = _split(inputs.queries, settings)
  paths = [os.path.join(folder, shards_lib.name(number)) for number in range(len(shards))]
  missing = [number for number, path in enumerate(paths) if not tf.io.gfile.exists(path)]
  if missing:
    logging.info('%s: %d of %d shards to write', folder, len(missing), len(shards))
    index = TitleIndex(inputs.titles)
    num_queries = sum(len(shards[number]) for number in missing)
    with progress_lib.Progress(num_queries, 'queries', 'pairing') as progress:
      for number in missing:
        generator = np.random.default_rng([settings.seed, number])
        batch = _pairs(shards[number], index, inputs.titles, settings, generator, progress)
        soft_labels.write_shard(folder, number, batch)
  counts = [collections.Counter(rows.read_column([path], 'source')) for path in paths]
  sizes = {os.path.basename(path): count.total() for path, count in zip(paths, counts)}
  num_pseudo = sum(query.own_title is not None for query in inputs.queries)
  manifest = {
    'num_titles': len(inputs.titles),
    'num_queries': len(inputs.queries) - num_pseudo,
    'num_pseudo_queries': num_pseudo,
    'fields': ['query', 'title'],
    'shards': sizes,
  }
  runs.write_text(os.path.join(folder, 'manifest.json'), json.dumps(manifest, indent=1) + '\n')
  total = sum(counts, collections.Counter())
  return {source: total[source] for source in SOURCES} | {'num_rows': total.total()}


def _split(queries: list[Query], settings: config.PairUp) -> list[list[Query]]:
  """Even parts that bring about `rows_per_shard` rows each."""
  num_logged = sum(query.own_title is None for query in queries)
  num_rows = num_logged * settings.rows_per_query + (len(queries) - num_logged) * settings.rows_per_pseudo_query
  num_shards = max(1, -(-num_rows // settings.rows_per_shard))
  bounds = [len(queries) * number // num_shards for number in range(num_shards + 1)]
  return [queries[start:end] for start, end in zip(bounds, bounds[1:])]


def _pairs(
  queries: list[Query],
  index: TitleIndex,
  titles: list[str],
  settings: config.PairUp,
  generator: np.random.Generator,
  progress: progress_lib.Progress,
) -> rows.Batch:
  """The rows of one shard: 'query', 'title' and 'source', object [n]."""
  found: list[tuple[str, str, str]] = []
  for query in queries:
    chosen = pair(query, index, len(titles), settings, generator)
    found.extend((query.text, titles[title], source) for title, source in chosen.items())
    progress.update()
  columns = np.array(found, dtype=object).reshape(-1, 3)
  return {'query': columns[:, 0], 'title': columns[:, 1], 'source': columns[:, 2]}
