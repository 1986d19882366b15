"""What a training learns from: the hard labels of files, or the soft labels of folders. For teacher and student alike.

A configuration here is one that derives from `config.steps.Learning`.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from b2d import config
from b2d import remembered
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import losses

_BY_ROWS = ('train_batch_size', 'num_train_epochs', 'num_buckets')


def completed(run_config: Any, *sources: str) -> Any:
  """The configuration with what its soft labels, then the `sources`, remember of the data, and the number of rows says.

  Args:
    run_config: the configuration.
    *sources: folders of models, or what may be one.

  Raises:
    ValueError: the configuration contradicts them.
  """
  labelled = any(getattr(run_config, name, ()) for name in ('train_files', 'valid_files', 'calibration_files'))
  begun = runs.config_of(run_config.output_dir, type(run_config))
  schema = remembered.complete(
    run_config.schema,
    (*run_config.soft_labels, *sources),
    labelled=labelled,
    begun=begun if run_config.soft_labels else None,
  )
  run_config = dataclasses.replace(run_config, schema=schema)
  if begun is not None:  # A finished run no longer needs its rows.
    return _as_begun(run_config, begun)
  if run_config.soft_labels:
    num_rows = _count_soft(run_config)
  else:
    num_rows = rows.count(rows.expand(run_config.train_files), schema)
  return run_config.settled(max(1, num_rows))  # That there are none is told when they are read.


def _as_begun(settings: Any, begun: Any) -> Any:
  """The settings with what follows from the number of rows as the run has it that was begun."""
  changes = {}
  for field in dataclasses.fields(settings):
    value, before = getattr(settings, field.name), getattr(begun, field.name)
    if isinstance(value, config.Config):
      changes[field.name] = _as_begun(value, before)
    elif field.name in _BY_ROWS and not value:
      changes[field.name] = before
  return dataclasses.replace(settings, **changes)


def count(run_config: Any, bad_rows: blocks.BadRows) -> int:
  """Number of rows of an epoch. Files are read, not only their lines counted: a bad row is found before the training.

  Raises:
    ValueError: bad input.
  """
  if not run_config.soft_labels:
    files = rows.expand(run_config.train_files)
    return sum(map(rows.size, rows.read_labelled(files, run_config.schema, bad_rows)))
  return _count_soft(run_config)


def _count_soft(run_config) -> int:
  num_rows = soft_labels.num_rows(run_config.soft_labels)
  return min(num_rows, run_config.max_rows or num_rows)


def read(run_config: Any, seed: int, skip_rows: int = 0) -> Iterator[rows.Batch]:
  """The rows to learn from; those of soft labels in the order of the seed, and without the first `skip_rows`."""
  if run_config.soft_labels:
    return soft_labels.read(run_config.soft_labels, seed=seed, max_rows=run_config.max_rows, skip_rows=skip_rows)
  return rows.read_labelled(rows.expand(run_config.train_files), run_config.schema)


def of(batch: rows.Batch) -> rows.Batch:
  """What `row_losses` compares with.

  Returns:
    'label': float32 [n], NaN where it is not known; of soft labels 'logits' too: the mean of the teachers' logits,
    float32 [n, num_classes].
  """
  made = {'label': batch.get('label', np.full(rows.size(batch), np.nan, np.float32)).astype(np.float32)}
  if 'logits' in batch:
    made['logits'] = batch['logits'].mean(axis=1)
  return made


def row_losses(run_config: Any, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> tf.Tensor:
  """Cross-entropy of each row with its hard label, with the tempered soft one, or with both by --hard_label_share.

  Args:
    run_config: rule, temperature, share, classes.
    logits: of the model that learns, [n] or [n, num_classes].
    batch: of `of`, as tensors.

  Returns:
    float [n].
  """
  known = tf.math.is_finite(batch['label'])
  label = tf.where(known, batch['label'], 0.0)
  schema: config.Schema = run_config.schema
  hard = losses.cross_entropy(logits, losses.hard_targets(label, schema.num_classes, bool(schema.label_range)))
  if 'logits' not in batch:
    return hard
  temperature = float(run_config.temperature)
  soft = losses.cross_entropy(
    logits, losses.soft_targets(batch['logits'], temperature), temperature=temperature, rule=run_config.rule
  )
  share = run_config.hard_label_share * tf.cast(known, tf.float32)
  return (1 - share) * soft + share * hard
