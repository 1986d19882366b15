"""The rows of the input files → `inputs/part-*.parquet`, a piece of about 32 MB each, by tasks that any engine runs.

They are copied once, not read where they lie: what a shard is made of must stay what it was when the run began, though
files are archived meanwhile, and a row that cannot be read is known before the first label. It costs a teacher's work a
few thousandths more.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import functools
import json
import os
from typing import Any
from typing import NamedTuple

import pyarrow as pa
import tensorflow as tf

from b2d import lease
from b2d import progress as progress_lib
from b2d import record
from b2d.data import blocks
from b2d.data import file_formats
from b2d.data import rows
from b2d.data import shards
from b2d.learning import engines
from b2d.learning import local_workers
from b2d.learning import ray_workers

PIECE_BYTES = 32 << 20  # Of input: two seconds or so of work, and what a kill loses.
_WORKER_BYTES = 256 << 20  # Ten seconds of work: one process more is worth the six in which it imports TensorFlow.
_MARK, _REJECTED = b'b2d.piece', b'b2d.rejected'  # Metadata of a copy.
_THREADS = 4  # Counting lines takes longer than the disk.

Read = Callable[[Sequence[rows.Source], blocks.BadRows], Iterator[pa.Table]]


class Piece(NamedTuple):
  """What one task copies; plain values, so that any engine can send it anywhere."""

  number: int
  sources: tuple[rows.Source, ...]
  mark: str  # Alike for the same sources, contents and settings; the copy carries it.


class Copied(NamedTuple):
  """What became of a piece."""

  num_rows: int
  rejected: list[tuple[str, int, str]]  # See `blocks.BadRows.listed`.


class Slice(NamedTuple):
  """Consecutive rows of a copied piece."""

  piece: int  # Its number.
  mark: str
  num_rows: int  # Of all the piece.
  start: int
  stop: int


def path_of(folder: str, number: int) -> str:
  """The copy of a piece, in the folder of its run."""
  return os.path.join(folder, 'inputs', shards.name(number))


def cut(sources: Sequence[rows.Source], tsv_quoting: str) -> list[tuple[rows.Source, ...]]:
  """The sources of each piece: parts of large files, or several small files together.

  Raises:
    ValueError: a file's name says no format.
  """

  def parts(source: rows.Source) -> tuple[list[rows.Source], float]:
    found = file_formats.spans(source.path, PIECE_BYTES, tsv_quoting)
    return [source._replace(span=span) for span in found], tf.io.gfile.stat(source.path).length / max(1, len(found))

  pieces: list[tuple[rows.Source, ...]] = []
  held: list[rows.Source] = []
  num_bytes = 0.0
  with futures.ThreadPoolExecutor(_THREADS) as threads:
    for found, each in threads.map(parts, sources):
      for part in found:
        held.append(part)
        num_bytes += each
        if num_bytes >= PIECE_BYTES / 2:  # A part ends at a line, a little below.
          pieces.append(tuple(held))
          held, num_bytes = [], 0.0
  return [*pieces, tuple(held)] if held else pieces


def run(run_config: Any, read: Read, pieces: Sequence[Piece], known: record.Record) -> list[Copied]:
  """Has pieces copied into the run's folder.

  Args:
    run_config: see `planning.Job`.
    read: what reads them.
    pieces: what is to be copied.
    known: of their files, at least.

  Returns:
    What became of each.

  Raises:
    ValueError: bad input, or another process works in the folder.
  """
  folder = run_config.output_dir
  num_bytes = sum(known[path]['bytes'] for path in {source.path for piece in pieces for source in piece.sources})
  if run_config.scaling.engine == 'ray':  # Whose workers are in another folder.
    pieces = [piece._replace(sources=tuple(map(_absolute, piece.sources))) for piece in pieces]
  tf.io.gfile.makedirs(os.path.join(folder, 'inputs'))
  copied = {}
  with progress_lib.Progress(len(pieces), 'pieces', 'plan') as progress:
    workers = _workers(run_config, read, pieces, num_bytes, progress)
    for piece, result, problem in engines.run_tasks(pieces, workers, progress, alike=False):
      lease.check(folder)
      if problem:
        path = piece.sources[0].path
        raise ValueError(problem if path in problem else f'{path}: {problem}')
      copied[piece] = result
  return [copied[piece] for piece in pieces]


def _absolute(source: rows.Source) -> rows.Source:
  return source._replace(path=engines.absolute(source.path))


def _workers(run_config, read, pieces, num_bytes, progress) -> engines.Workers:
  """This process alone where there is little to copy."""
  work = functools.partial(copy, read, engines.absolute(run_config.output_dir), run_config.schema.max_bad_rows)
  most = min(1 + num_bytes // _WORKER_BYTES, len(pieces))
  if run_config.scaling.engine == 'ray' and most > 1:
    return ray_workers.Actors(run_config.scaling.ray_address, work, dict, run_config.num_workers, on_gpus=False)
  return local_workers.make(work, dict, min(run_config.num_workers or local_workers.num_cores(), most), progress.update)


def copy(read: Read, folder: str, max_bad_rows: int, piece: Piece, state: Any, report: engines.Report) -> Copied:
  """Copies a piece for the run in a folder, unless that was done before; as `engines.Work`.

  Raises:
    ValueError: bad input.
  """
  del state
  path = path_of(folder, piece.number)
  found = _known(path, piece.mark)
  if found is None:
    bad_rows = blocks.BadRows(max_bad_rows)

    def tables() -> Iterator[pa.Table]:
      for table in read(piece.sources, bad_rows):
        report(0)  # It goes on.
        yield table

    def marks() -> dict[bytes, str]:
      return {_MARK: piece.mark, _REJECTED: json.dumps(bad_rows.listed())}

    found = Copied(shards.write_many(path, tables(), marks), bad_rows.listed())
  report(1)
  return found


def slices(pieces: Sequence[Piece], piece_rows: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[Slice, ...]]:
  """The rows of the pieces, one after the other, dealt out: so many for each of `sizes`."""
  left = [Slice(piece.number, piece.mark, num_rows, 0, num_rows) for piece, num_rows in zip(pieces, piece_rows)][::-1]
  for size in sizes:
    taken = []
    while size:
      rest = left.pop()
      stop = min(rest.stop, rest.start + size)
      size -= stop - rest.start
      if rest.start < stop:
        taken.append(rest._replace(stop=stop))
      if stop < rest.stop:
        left.append(rest._replace(start=stop))
    yield tuple(taken)


def read(folder: str, slices: Sequence[Slice]) -> pa.Table:
  """The rows of the slices, in the folder of their run.

  Raises:
    ValueError: a piece is damaged, missing, or another one.
  """
  return pa.concat_tables([_read(path_of(folder, each.piece), each) for each in slices])


def _read(path: str, wanted: Slice) -> pa.Table:
  file = shards.open_shard(path, wanted.num_rows)
  if (file.metadata.metadata or {}).get(_MARK) != wanted.mark.encode():
    raise ValueError(f'{path}: expected the rows that were planned, found others; {shards.remedy([path])}')
  first, last = wanted.start // shards.GROUP_ROWS, -(-wanted.stop // shards.GROUP_ROWS)
  whole = shards.read_groups(path, file, range(first, last))
  return whole.slice(wanted.start - first * shards.GROUP_ROWS, wanted.stop - wanted.start)


def _known(path: str, mark: str) -> Copied | None:
  """What was copied before, if it is the piece of this mark."""
  if not tf.io.gfile.exists(path):
    return None
  try:
    metadata = file_formats.open_parquet(path).metadata
  except ValueError:
    return None
  said = metadata.metadata or {}
  if said.get(_MARK) != mark.encode():
    return None
  return Copied(metadata.num_rows, [tuple(each) for each in json.loads(said[_REJECTED])])
