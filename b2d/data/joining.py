"""The soft labels of several teachers over the same rows, in whatever order → joined by id.

The rows are dealt by a hash of their id to temporary files, then joined file by file, so that
memory does not grow with their number. A row that one teacher lacks is left out; an id that stands
for another text is an error.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import os

import numpy as np
import pandas as pd
import pyarrow as pa

from b2d import progress as progress_lib
from b2d.data import rows
from b2d.data import soft_labels

_ODD = np.uint64(0x9E3779B97F4A7C15)  # Keeps query and title from changing places in a hash.
_READ_ROWS = 65536
_PARTITION_ROWS = 262144  # Rows of a partition on average: what is in memory, and an output shard.


def join(folders: Sequence[str], temporary: str) -> Iterator[rows.Batch]:
  """Joins the soft labels of several teachers by id.

  Args:
    folders: of soft labels of the same fields and classes, each row's id once; texts and labels are
      taken from the first.
    temporary: an empty local folder, for about the size of all the soft labels, uncompressed.

  Yields:
    One batch a partition (it may be empty), with the rows that every folder has; 'logits' float32
    [n, teachers of all the folders, num_classes]. The order is that of a hash, the same each time.

  Raises:
    ValueError: the folders do not fit together, an id occurs twice in one, or two folders have
      different texts under one id.
  """
  manifests = [soft_labels.read_manifest(folder) for folder in folders]
  soft_labels.check_alike(folders, manifests, teachers_alike=False)
  num_partitions = -(-max(manifest.num_rows for manifest in manifests) // _PARTITION_ROWS)
  for i, folder in enumerate(folders):
    _deal(folder, os.path.join(temporary, str(i)), num_partitions, manifests[i], keep_texts=i == 0)
  for partition in range(num_partitions):
    yield _join_partition(folders, temporary, partition, manifests)


def _digest(batch: rows.Batch, fields: Sequence[str]) -> np.ndarray:
  """A 64-bit hash of each row's texts, uint64 [n]."""
  digest = np.zeros(rows.size(batch), np.uint64)
  for field in fields:
    digest = digest * _ODD + pd.util.hash_array(batch[field], categorize=False)
  return digest


def _deal(folder, temporary, num_partitions, manifest, keep_texts) -> None:
  """Writes the rows to `<temporary>/<partition>.arrow`, by the hash of their id."""
  os.makedirs(temporary)
  columns = [('id', pa.binary()), ('digest', pa.uint64()), ('logits', pa.list_(pa.float32()))]
  if keep_texts:
    columns += [('label', pa.float32())] + [(field, pa.binary()) for field in manifest.fields]
  schema = pa.schema(columns)
  writers = [pa.ipc.new_stream(_path(temporary, i), schema) for i in range(num_partitions)]
  with progress_lib.Progress(manifest.num_rows, 'rows', f'read {folder}') as progress:
    for batch in soft_labels.read([folder], _READ_ROWS):
      size = rows.size(batch)
      batch = {'label': np.full(size, np.nan, np.float32)} | batch
      batch['digest'] = _digest(batch, manifest.fields)
      partitions = pd.util.hash_array(batch['id'], categorize=False) % np.uint64(num_partitions)
      for partition in np.unique(partitions):
        part = rows.take(batch, np.flatnonzero(partitions == partition))
        arrays = [_lists(part[name]) if name == 'logits' else pa.array(part[name], type=kind) for name, kind in columns]
        writers[int(partition)].write_batch(pa.record_batch(arrays, schema=schema))
      progress.update(size)
  for writer in writers:
    writer.close()


def _lists(logits: np.ndarray) -> pa.ListArray:
  flat = logits.reshape(-1)
  offsets = np.linspace(0, flat.size, len(logits) + 1, dtype=np.int32)
  return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat))


def _path(temporary: str, partition: int) -> str:
  return os.path.join(temporary, f'{partition}.arrow')


def _read_partition(path: str, folder: str, manifest: soft_labels.Manifest) -> rows.Batch:
  with pa.OSFile(path) as file:
    table = pa.ipc.open_stream(file).read_all()
  batch = {name: table[name].to_numpy() for name in table.column_names if name != 'logits'}
  flat = table['logits'].combine_chunks().flatten().to_numpy()
  batch['logits'] = flat.reshape(len(table), len(manifest.teachers), manifest.num_classes)
  ids = pd.Index(batch['id'])
  if not ids.is_unique:
    twice = ids[ids.duplicated()][0].decode()
    raise ValueError(
      f'{folder}: expected each id once, found {twice!r} again; label files of different names, or set --id_column'
    )
  return batch


def _join_partition(folders, temporary, partition, manifests) -> rows.Batch:
  """The rows of one partition that every folder has."""
  first, *others = (
    _read_partition(_path(os.path.join(temporary, str(i)), partition), folder, manifests[i])
    for i, folder in enumerate(folders)
  )
  places = [pd.Index(other['id']).get_indexer(pd.Index(first['id'])) for other in others]
  common = np.flatnonzero(np.all([place >= 0 for place in places], axis=0))
  joined = rows.take(first, common)
  logits = [joined['logits']]
  for folder, other, place in zip(folders[1:], others, places):
    other = rows.take(other, place[common])
    different = np.flatnonzero(joined['digest'] != other['digest'])
    if len(different):
      example = joined['id'][different[0]].decode()
      raise ValueError(
        f'{folder}: the id {example!r} stands for another text than in '
        f'{folders[0]}; label the same files with each teacher'
      )
    logits.append(other['logits'])
  del joined['digest']
  return joined | {'logits': np.concatenate(logits, axis=1)}
