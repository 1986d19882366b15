"""Soft labels: texts with the teachers' logits, in Parquet shards beside a manifest.

    part-00000.parquet   id, the texts, label (float32, null if unknown),
                         logits (list of float32, [num_teachers, num_classes] flattened)
    manifest.json        teachers, num_classes, fields, shards: {name: rows}, sha256: {name: digest}; written last. What
                         the labels were before they became targets: label_range, relevant_from, classes by name

The logits of all classes are kept: a single number could not be re-tempered.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import json
import os

import numpy as np
import pyarrow as pa

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import shards as shards_lib


@dataclasses.dataclass(frozen=True)
class Manifest:
  """What a folder of soft labels holds."""

  teachers: tuple[str, ...]
  num_classes: int
  fields: tuple[str, ...]  # ('text',) or ('query', 'title').
  shards: dict[str, int]  # File name → rows.
  label_range: tuple[float, ...] = ()  # As in `config.Schema`.
  relevant_from: float = 0.5
  classes: tuple[str, ...] = ()  # Their names, where they have some.
  grades: tuple[str, ...] = ()  # As in `config.Schema`.
  # File name → digest, of a manifest that was read.
  sha256: dict[str, str] = dataclasses.field(default_factory=dict, compare=False, repr=False)

  @property
  def schema(self) -> config.Schema:
    """What the labels were, with texts named as the shards name them."""
    return config.Schema(
      text_columns=self.fields,
      num_classes=self.num_classes,
      classes=self.classes,
      label_range=self.label_range,
      grades=self.grades,
      relevant_from=self.relevant_from,
    )

  @property
  def num_rows(self) -> int:
    return sum(self.shards.values())


def read_manifest(folder: str) -> Manifest:
  """Reads `manifest.json`.

  Raises:
    ValueError: the folder has none (its labelling is not finished), or not a valid one.
  """
  path = os.path.join(folder, 'manifest.json')
  values = runs.read_json(path)
  try:
    return Manifest(
      tuple(values['teachers']),
      int(values['num_classes']),
      tuple(values['fields']),
      {name: int(num_rows) for name, num_rows in values['shards'].items()},
      tuple(values.get('label_range', ())),
      float(values.get('relevant_from', 0.5)),
      tuple(values.get('classes', ())),
      tuple(values.get('grades', ())),
      {name: str(values['sha256'][name]) for name in values['shards']},
    )
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(
      f'{path}: expected teachers, num_classes, fields, shards and sha256, found '
      f'{", ".join(values)}; name a folder that b2d.label or b2d.stack '
      'wrote'
    ) from error


def write_manifest(folder: str, manifest: Manifest, digests: dict[str, str] | None = None) -> None:
  """Writes `manifest.json`.

  Args:
    folder: of the shards.
    manifest: what they are.
    digests: SHA-256 by name of a shard; None: every shard is read and checked.

  Raises:
    ValueError: a shard is missing, damaged, or holds another number of rows.
  """
  digests = digests or shards_lib.check(folder, manifest.shards, {})
  values = dataclasses.asdict(manifest) | {'sha256': {name: digests[name] for name in manifest.shards}}
  runs.write_text(os.path.join(folder, 'manifest.json'), json.dumps(values, indent=1) + '\n')


def write_shard(folder: str, index: int, batch: rows.Batch) -> int:
  """Writes a batch, see `table`, as shard `index` and returns the number of rows."""
  shards_lib.write(folder, index, table(batch))
  return rows.size(batch)


def table(batch: rows.Batch) -> pa.Table:
  """The columns of a shard.

  Args:
    batch: 'id', the texts, 'label' (NaN: unknown) and 'logits' float [n, num_teachers,
      num_classes]; rows that are yet to be labelled have no 'logits'.
  """
  columns = {}
  for name, values in batch.items():
    if name == 'label':
      columns[name] = pa.array(values, pa.float32(), from_pandas=True)  # NaN → null.
    elif name != 'logits':
      columns[name] = pa.array(values, pa.string())
  made = pa.table(columns)
  return with_logits(made, batch['logits']) if 'logits' in batch else made


def with_logits(rest: pa.Table, logits: np.ndarray) -> pa.Table:
  """A table with logits, float [n, num_teachers, num_classes], in place of those that it may have."""
  width = logits.shape[1] * logits.shape[2]
  offsets = pa.array(np.arange(len(logits) + 1, dtype=np.int32) * width)
  column = pa.ListArray.from_arrays(offsets, pa.array(logits.reshape(-1), pa.float32()))
  return rest.select([name for name in rest.column_names if name != 'logits']).append_column('logits', column)


def batch_of(path: str, whole: pa.Table, num_teachers: int = 0, num_classes: int = 0) -> rows.Batch:
  """The rows of a `table`, read from `path`; of those yet to be labelled no teachers and classes need be given.

  Raises:
    ValueError: it holds something else.
  """
  batch = rows.batch_of(whole.select([name for name in whole.column_names if name != 'logits']))
  if 'logits' in whole.column_names:
    flat = whole['logits'].combine_chunks().flatten().to_numpy()
    if flat.size != whole.num_rows * num_teachers * num_classes:
      raise ValueError(
        f'{path}: expected logits of {num_teachers} teachers and {num_classes} classes, found {flat.size} numbers in '
        f'{whole.num_rows} rows; remove the folder and label again'
      )
    batch['logits'] = flat.astype(np.float32).reshape(whole.num_rows, num_teachers, num_classes)
  return batch


def num_rows(folders: Sequence[str]) -> int:
  """Number of rows in the folders, by their manifests."""
  return sum(read_manifest(folder).num_rows for folder in folders)


def read(
  folders: Sequence[str], batch_size: int = 8192, seed: int | None = None, max_rows: int = 0, skip_rows: int = 0
) -> Iterator[rows.Batch]:
  """Streams the soft labels of several folders.

  With a seed, groups of 4,096 rows come in a random order across all shards and folders; pass the
  result to `rows.shuffle` to mix the rows of neighbouring groups as well.

  Args:
    folders: folders of soft labels of the same fields, classes and number of teachers.
    batch_size: rows of a batch; the last one may be short.
    seed: of the order; None: as written, folder by folder.
    max_rows: only so many rows, spread evenly over all of them in written order; 0: all.
    skip_rows: not the first ones of that order; what holds no others is not read.

  Raises:
    ValueError: the folders do not fit together, or a shard is damaged or differs from its manifest.
  """
  manifests = [read_manifest(folder) for folder in folders]
  check_alike(folders, manifests)
  groups = _groups(folders, manifests, max_rows)
  if seed is not None:
    groups = [groups[i] for i in np.random.default_rng(seed).permutation(len(groups))]
  yield from rows.rebatch(_read_groups(groups, skip_rows), batch_size)


def check_alike(folders: Sequence[str], manifests: Sequence[Manifest], *, teachers_alike: bool = True) -> None:
  """Checks that folders of soft labels are of one task.

  Args:
    folders: for the message.
    manifests: theirs.
    teachers_alike: whether they must have the same number of teachers.

  Raises:
    ValueError: fields, classes or their order, or the numbers of teachers differ.
  """
  kinds = [
    {'fields': manifest.fields, 'num_classes': manifest.num_classes, 'classes': manifest.classes}
    | ({'number of teachers': len(manifest.teachers)} if teachers_alike else {})
    for manifest in manifests
  ]
  for name in kinds[0]:
    known = [(folder, kind[name]) for folder, kind in zip(folders, kinds) if kind[name]]  # Classes may have no names.
    for folder, found in known:
      source, expected = known[0]
      if found != expected:
        raise ValueError(
          f'{folder}: expected {name} {expected} as in {source}, found {found}; use folders of the same task together'
        )


def _groups(folders, manifests, max_rows) -> list[tuple[str, Manifest, str, int, int]]:
  """(folder, manifest, shard, row group, rows to use) in written order, `max_rows` in all.

  Each group gives its share: the first rows would be those of the first input file alone.
  """
  groups, before = [], 0
  total = sum(manifest.num_rows for manifest in manifests)
  wanted = min(total, max_rows or total)
  for folder, manifest in zip(folders, manifests):
    for name, shard_rows in manifest.shards.items():
      for group, start in enumerate(range(0, shard_rows, shards_lib.GROUP_ROWS)):
        after = before + min(shards_lib.GROUP_ROWS, shard_rows - start)
        used = after * wanted // total - before * wanted // total
        before = after
        if used:
          groups.append((folder, manifest, name, group, used))
  return groups


def _read_groups(groups: Sequence[tuple[str, Manifest, str, int, int]], skip_rows: int) -> Iterator[rows.Batch]:
  checked: set[str] = set()
  for group in groups:
    used = group[-1]
    if skip_rows < used:
      yield rows.take(_read_group(*group, checked), slice(skip_rows, None))
    skip_rows = max(0, skip_rows - used)


def _read_group(folder: str, manifest: Manifest, name: str, group: int, used: int, checked: set[str]) -> rows.Batch:
  """Reads a row group of a shard, whose digest is compared unless its path is among the `checked`."""
  path = os.path.join(folder, name)
  file = shards_lib.open_shard(path, manifest.shards[name], '' if path in checked else manifest.sha256[name])
  checked.add(path)
  batch = batch_of(path, shards_lib.read_groups(path, file, [group]), len(manifest.teachers), manifest.num_classes)
  return rows.take(batch, slice(0, used))  # Rows of one query stay together.
