"""Soft labels of several teachers over the same rows → one soft label a row: joins, fits, combines, measures."""

import dataclasses
import tempfile

from absl import logging
import numpy as np

from b2d import config
from b2d import runs
from b2d.data import joining
from b2d.data import rows
from b2d.data import shards as shards_lib
from b2d.data import soft_labels
from b2d.learning import combination
from b2d.measures import metrics


def stack(run_config: config.Stack) -> dict:
  """Runs the whole step, unless it has been.

  Returns:
    What metrics.json holds: rows; left_out, rows by folder that another one lacks; with a labelled
    split the measures of members and stack, and the fitted weights.

  Raises:
    ValueError: the folders do not fit together, share no row, or the labelled split has no labels.
  """
  return runs.once(run_config, _stack)


def _stack(run_config: config.Stack) -> dict:
  manifests = [soft_labels.read_manifest(folder) for folder in run_config.soft_labels]
  folder = run_config.output_dir
  teachers = [name for manifest in manifests for name in manifest.teachers]
  measures, weights = _learn(run_config, teachers)
  shards = _write(run_config, folder, weights)
  soft_labels.write_manifest(
    folder,
    dataclasses.replace(manifests[0], teachers=(f'{run_config.combination} of {", ".join(teachers)}',), shards=shards),
  )
  num_rows = sum(shards.values())
  left_out = {name: manifest.num_rows - num_rows for name, manifest in zip(run_config.soft_labels, manifests)}
  logging.info(
    '%s: %d rows stacked; left out, as another teacher lacks them: %s',
    folder,
    num_rows,
    ', '.join(f'{count} of {name}' for name, count in left_out.items()),
  )
  return {'rows': num_rows, 'left_out': left_out} | measures


def _combine(logits: np.ndarray, kind: str, weights: combination.Weights | None) -> np.ndarray:
  """float32 [n, num_classes] of [n, num_teachers, num_classes]."""
  if weights is not None:
    return combination.weighted(logits, weights)
  if kind == 'probabilities':
    return combination.mean_probabilities(logits)
  return combination.mean_logits(logits)


def _learn(run_config: config.Stack, teachers: list[str]) -> tuple[dict, combination.Weights | None]:
  """Fits and measures on the labelled split, which is kept in memory; ({}, None) without one.

  Args:
    run_config: the configuration of the step.
    teachers: of the rows that are stacked.
  """
  if not run_config.valid_soft_labels:
    return {}, None
  with tempfile.TemporaryDirectory() as temporary:
    labelled = rows.concatenate(list(joining.join(run_config.valid_soft_labels, temporary)))
  labelled = rows.take(labelled, np.flatnonzero(~np.isnan(labelled['label'])))
  labels, logits = labelled['label'], labelled['logits']
  if not len(labels):
    raise ValueError(
      f'{run_config.valid_soft_labels[0]}: expected labelled rows, found none that '
      'every teacher has; label that split again with --label_column'
    )
  manifests = [soft_labels.read_manifest(folder) for folder in run_config.valid_soft_labels]
  names = [name for manifest in manifests for name in manifest.teachers]
  if names != teachers and sorted(names) == sorted(teachers):
    raise ValueError(
      f'--valid_soft_labels: expected the teachers {", ".join(teachers)} in the order of --soft_labels, found '
      f'{", ".join(names)}; name the folders in that order'
    )
  relevant_target = manifests[0].schema.relevant_target  # The labels are those of the first.
  measures = {
    'valid_rows': len(labels),
    'members': [
      {'teacher': name} | metrics.by_kind(labels, logits[:, i], relevant_target) for i, name in enumerate(names)
    ],
  }
  if run_config.combination != 'weights':
    weights, combined = None, _combine(logits, run_config.combination, None)
  else:
    weights, combined = combination.fit_weights(logits, labels), combination.cross_fitted(logits, labels)
    measures['weights'] = {'coefficients': weights.coefficients.tolist(), 'intercepts': weights.intercepts.tolist()}
  measures['stack'] = metrics.by_kind(labels, combined, relevant_target)
  return measures, weights


def _write(run_config: config.Stack, folder: str, weights: combination.Weights | None) -> dict[str, int]:
  """Joins and combines, a shard a partition; returns the rows by shard."""
  shards: dict[str, int] = {}
  with tempfile.TemporaryDirectory() as temporary:
    for batch in joining.join(run_config.soft_labels, temporary):
      if rows.size(batch):
        batch['logits'] = _combine(batch['logits'], run_config.combination, weights)[:, np.newaxis]
        name = shards_lib.name(len(shards))
        shards[name] = soft_labels.write_shard(folder, len(shards), batch)
  if not shards:
    raise ValueError(
      f'{", ".join(run_config.soft_labels)}: expected rows of the same ids, found '
      'none; label the same files with each teacher'
    )
  return shards
