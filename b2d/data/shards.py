"""Parquet shards that say what they are, and whose damage is found: by page checksums, and by digests of whole files.

A shard that belongs to a plan carries it in its metadata: b2d.plan (an id), b2d.model, b2d.index.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent import futures
import hashlib
import itertools
import os

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from b2d import record
from b2d import runs
from b2d.data import file_formats

GROUP_ROWS = 4096  # Rows of a row group, the unit in which soft labels are shuffled.
# No dictionaries, which most texts, ids and logits are too different for: a fifth of the writing, and files as large.
_OPTIONS = {'compression': 'zstd', 'use_dictionary': False, 'write_page_checksum': True}
_THREADS = 4  # Reading and checking leave Python's lock alone.
_SHOWN = 10  # Damaged shards that a message names.


def name(index: int) -> str:
  return f'part-{index:05d}.parquet'


def write(
  folder: str,
  index: int,
  table: pa.Table,
  marks: Mapping[str, str] | None = None,
  before_rename: Callable[[], None] = lambda: None,
) -> str:
  """Writes a shard under a temporary name, then renames it.

  Args:
    folder: an existing folder.
    index: number of the shard.
    table: its rows.
    marks: what its metadata shall say, see `marks_of`.
    before_rename: raises where the shard must not get its final name.

  Returns:
    The file's SHA-256, hexadecimal.
  """
  table = table.replace_schema_metadata(dict(marks or {}))
  sink = pa.BufferOutputStream()
  pq.write_table(table, sink, row_group_size=GROUP_ROWS, **_OPTIONS)
  content = sink.getvalue()
  with runs.atomic_path(os.path.join(folder, name(index))) as temporary:
    with tf.io.gfile.GFile(temporary, 'wb') as file:
      file.write(content.to_pybytes())
    before_rename()
  return hashlib.sha256(content).hexdigest()


def write_many(path: str, tables: Iterable[pa.Table], marks: Callable[[], Mapping[bytes, str]]) -> int:
  """Writes tables of any number and length as one shard, few of them in memory at a time.

  Args:
    path: of the shard; it is written under a temporary name, then renamed.
    tables: alike.
    marks: gives its metadata, when all are written.

  Returns:
    Its number of rows.
  """
  num_rows = 0
  with runs.atomic_path(path) as temporary:
    with file_formats.RawFile(temporary, 'wb') as file:
      groups = _whole_groups(tables)
      first = next(groups, pa.table({}))
      with pq.ParquetWriter(file, first.schema, **_OPTIONS) as writer:
        for table in itertools.chain([first], groups):
          writer.write_table(table, GROUP_ROWS)
          num_rows += table.num_rows
        writer.add_key_value_metadata(dict(marks()))
  return num_rows


def _whole_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
  """The same rows in tables of whole groups, save the last."""
  held = None
  for table in tables:
    held = pa.concat_tables([held, table]) if held else table
    if whole := held.num_rows // GROUP_ROWS * GROUP_ROWS:
      yield held.slice(0, whole)
      held = held.slice(whole)
  if held:
    yield held


def marks_of(plan: str, model: str, index: int) -> dict[str, str]:
  """The metadata of a shard of a plan."""
  return {'b2d.plan': plan, 'b2d.model': model, 'b2d.index': str(index)}


def open_shard(path: str, num_rows: int, sha256: str = '') -> pq.ParquetFile:
  """Opens a shard, whose pages are checked as they are read.

  Args:
    path: of the shard.
    num_rows: that it has.
    sha256: digest of the whole file; '' if it need not be compared.

  Raises:
    ValueError: there is none, it is damaged or another one.
  """
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{path}: expected a shard of {num_rows} rows, found no such file; {remedy([path])}')
  if sha256 and record.sha256(path) != sha256:
    raise ValueError(f'{path}: expected the contents that were written, found others: damaged or exchanged; '
                     f'{remedy([path])}')  # fmt: skip
  try:
    file = file_formats.open_parquet(path, page_checksum_verification=True)
  except ValueError as error:
    raise ValueError(f'{error}; {remedy([path])}') from error
  found = file.metadata.num_rows
  if found != num_rows or file.num_row_groups != -(-found // GROUP_ROWS):
    raise ValueError(
      f'{path}: expected {num_rows} rows in groups of {GROUP_ROWS}, found {found} in {file.num_row_groups} groups; '
      f'{remedy([path])}'
    )
  return file


def read_groups(path: str, file: pq.ParquetFile, groups: Sequence[int] | None = None) -> pa.Table:
  """Reads some row groups, or all, of an open shard.

  Raises:
    ValueError: a page is damaged; the message names the file.
  """
  try:
    return file.read() if groups is None else file.read_row_groups(groups)
  except (pa.ArrowException, OSError) as error:
    raise ValueError(f'{path}: expected a whole shard, found: {error}; {remedy([path])}') from error


def check(
  folder: str,
  sizes: Mapping[str, int],
  digests: Mapping[str, str],
  marks: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, str]:
  """Checks shards against what is known of them: the digest of the file, else its pages, rows and marks.

  Args:
    folder: of the shards.
    sizes: rows by name of a shard.
    digests: SHA-256 by name, of those of which it is known.
    marks: metadata by name.

  Returns:
    The digests of all of them.

  Raises:
    ValueError: some are missing, damaged or of another plan; names them, and the command that makes them anew.
  """

  def problem(shard: str) -> tuple[str, str]:
    """(what is wrong, digest)."""
    path = os.path.join(folder, shard)
    try:
      file = open_shard(path, sizes[shard], digests.get(shard, ''))
      if not digests.get(shard):
        read_groups(path, file)
        found = {key.decode(): value.decode() for key, value in (file.schema_arrow.metadata or {}).items()}
        expected = (marks or {}).get(shard, {})
        if any(found.get(key) != value for key, value in expected.items()):
          return f'{path}: expected {expected}, found {found}', ''
      return '', digests.get(shard) or record.sha256(path)
    except ValueError as error:
      return str(error).partition('; ')[0], ''

  with futures.ThreadPoolExecutor(_THREADS) as threads:
    found = dict(zip(sizes, threads.map(problem, sizes)))
  bad = {shard: what for shard, (what, _) in found.items() if what}
  if bad:
    more = f'; and {len(bad) - _SHOWN} more' if len(bad) > _SHOWN else ''
    raise ValueError(
      f'{"; ".join(list(bad.values())[:_SHOWN])}{more}. {len(bad)} of {len(sizes)} shards; '
      f'{remedy([os.path.join(folder, shard) for shard in bad])}'
    )
  return {shard: digest for shard, (_, digest) in found.items()}


def remedy(paths: Sequence[str]) -> str:
  """The command that makes damaged shards of one folder anew."""
  folder = os.path.dirname(paths[0])
  config_path = os.path.join(folder, 'config.json')
  step = runs.step_of(folder) if tf.io.gfile.exists(config_path) else None
  if step is None:
    return 'remove it and repeat the command' if os.path.basename(folder) == 'inputs' else 'copy or write it again'
  removed = ' '.join(paths) if step in ('label', 'score') else os.path.join(folder, 'metrics.json')
  if '://' in folder:  # Neither rm nor a flagfile knows such paths.
    return f'make it anew: remove {removed} and repeat the command that made the folder'
  return f'make it anew: rm -f {removed} && python -m b2d.{step} --flagfile={folder}/run.flags'
