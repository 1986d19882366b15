"""Trials: distillations that differ in a few settings; each a run, and once a session of TensorBoard's HParams."""

from collections.abc import Iterator
from collections.abc import Mapping
import os
from typing import Any

from absl import logging
from tensorboard.plugins.hparams import api as hparams
import tensorflow as tf

from b2d import config
from b2d.learning import distillation

MEASURES = ('accuracy', 'auc', 'log_loss', 'ece', 'ece_calibrated')


def run(
  folder: str, planned: Mapping[str, config.Distill], varied: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, dict[str, float]]]:
  """Makes the trials that are left, one after another.

  Args:
    folder: of all trials.
    planned: the trials by name.
    varied: what each varies, by flag.

  Yields:
    Name and metrics of each, of those made before too.

  Raises:
    ValueError: soft labels, rows, or a run folder are not what the configuration says.
  """
  for number, (name, run_config) in enumerate(planned.items(), 1):
    logging.info('run %d of %d: %s', number, len(planned), name)
    result = distillation.distill(run_config)
    _write_events(os.path.join(folder, 'events', name), name, varied[name], result)
    yield name, result


def _write_events(folder: str, name: str, varied: Mapping[str, Any], result: Mapping[str, float]) -> None:
  """One session of TensorBoard's HParams: what varied, and what came of it; replaces that of an earlier call."""
  if tf.io.gfile.exists(folder):
    tf.io.gfile.rmtree(folder)
  writer = tf.summary.create_file_writer(folder)
  with writer.as_default():
    hparams.hparams(
      {key: ','.join(map(str, value)) if isinstance(value, tuple) else value for key, value in varied.items()},
      trial_id=name,
    )
    for measure in MEASURES:
      if measure in result:
        tf.summary.scalar(measure, result[measure], step=0)
  writer.close()
