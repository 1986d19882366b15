r"""Stacks the soft labels of several teachers over the same rows into one soft label a row.

    python -m b2d.stack --soft_labels=runs/mine/soft_labels_a,runs/mine/soft_labels_b \
        --combination=logits --output_dir=runs/mine/stack

Rows are joined by id in any shard order; those that one teacher lacks are counted and left out.
With --valid_soft_labels metrics.json also has the measures of each member and of the stack on that
labelled split (fitted weights are cross-fitted for it).
"""

import dataclasses
import tempfile

from absl import logging
import numpy as np

from b2d import config
from b2d import runs
from b2d.data import joining
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import stacking
from b2d.measures import metrics
from flags import stack_flags


def stack(run_config: config.Stack) -> dict:
  """Runs the whole step, unless it has been.

  Returns:
    What metrics.json holds: rows; left_out, rows by folder that another one lacks; with a labelled
    split the measures of members and stack, and the fitted weights.

  Raises:
    ValueError: the folders do not fit together, share no row, or the labelled split has no labels.
  """
  return runs.once(run_config, 'stack', _stack)


def _stack(run_config: config.Stack) -> dict:
  manifests = [soft_labels.read_manifest(folder) for folder in run_config.soft_labels]
  for valid in run_config.valid_soft_labels:
    soft_labels.read_manifest(valid)  # A wrong path leaves no folder behind.
  folder = runs.start(run_config, 'stack')
  measures, weights = _learn(run_config)
  shards = _write(run_config, folder, weights)
  teachers = [name for manifest in manifests for name in manifest.teachers]
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


def _combine(logits: np.ndarray, combination: str, weights: stacking.Weights | None) -> np.ndarray:
  """float32 [n, num_classes] of [n, num_teachers, num_classes]."""
  if combination == 'weights':
    return stacking.weighted(logits, weights)
  if combination == 'probabilities':
    return stacking.mean_probabilities(logits)
  return stacking.mean_logits(logits)


def _learn(run_config: config.Stack) -> tuple[dict, stacking.Weights | None]:
  """Fits and measures on the labelled split, which is kept in memory; ({}, None) without one."""
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
  relevant_target = manifests[0].relevant_target  # The labels are those of the first.
  measures = {
    'valid_rows': len(labels),
    'members': [
      {'teacher': name} | metrics.by_kind(labels, logits[:, i], relevant_target) for i, name in enumerate(names)
    ],
  }
  if run_config.combination != 'weights':
    weights, combined = None, _combine(logits, run_config.combination, None)
  else:
    weights, combined = stacking.fit_weights(logits, labels), stacking.cross_fitted(logits, labels)
    measures['weights'] = {'coefficients': weights.coefficients.tolist(), 'intercepts': weights.intercepts.tolist()}
  measures['stack'] = metrics.by_kind(labels, combined, relevant_target)
  return measures, weights


def _write(run_config: config.Stack, folder: str, weights: stacking.Weights | None) -> dict[str, int]:
  """Joins and combines, a shard a partition; returns the rows by shard."""
  shards = {}
  with tempfile.TemporaryDirectory() as temporary:
    for batch in joining.join(run_config.soft_labels, temporary):
      if rows.size(batch):
        batch['logits'] = _combine(batch['logits'], run_config.combination, weights)[:, np.newaxis]
        name = soft_labels.shard_name(len(shards))
        shards[name] = soft_labels.write_shard(folder, len(shards), batch)
  if not shards:
    raise ValueError(
      f'{", ".join(run_config.soft_labels)}: expected rows of the same ids, found '
      'none; label the same files with each teacher'
    )
  return shards


def main(argv: list[str]) -> None:
  del argv
  run_config = stack_flags.parse()
  result = stack(run_config)
  print(f'{run_config.output_dir}: {result["rows"]} rows')
  for name, measured in [(member['teacher'], member) for member in result.get('members', ())] + (
    [('stack', result['stack'])] if 'stack' in result else []
  ):
    print(f'{name}: accuracy {measured["accuracy"]:.4f}, auc {measured["auc"]:.4f}')


if __name__ == '__main__':
  stack_flags.parse.adopt()
  runs.run(main)
