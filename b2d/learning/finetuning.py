"""Labelled rows, or soft labels, → teacher: the stream of batches, the loss, the precision."""

import functools
import itertools
import json
import os
from typing import Any

import tensorflow as tf
import tf_keras

from b2d import config
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.learning import events
from b2d.learning import precision
from b2d.learning import run_state
from b2d.learning import targets
from b2d.learning import training
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import teacher


def finetune(run_config: config.Finetune) -> dict[str, Any]:
  """Runs the whole step, or what is left of it.

  Returns:
    The best held-out metrics, the training's speed and precision; also in metrics.json.

  Raises:
    ValueError: rows, checkpoint, or run folder are not what the configuration says.
  """
  run_config = targets.completed(run_config, run_config.teacher.init_checkpoint)
  result = runs.once(run_config, _finetune)
  run_state.discard_checkpoints(run_config.output_dir)
  return result


def _finetune(run_config: config.Finetune) -> dict[str, Any]:
  settings = run_config.training
  bad_rows = blocks.BadRows(run_config.schema.max_bad_rows)
  num_rows = targets.count(run_config, bad_rows)
  held_out = rows.load_labelled(run_config.valid_files, run_config.schema, bad_rows)
  num_steps = training.num_steps(settings, num_rows)
  if held_out:
    metrics.require_measurable(held_out['label'], run_config.schema)
  model = _build(run_config, 'float32')
  folder = run_config.output_dir
  bad_rows.write(folder)
  model.save_description(folder)
  first = rows.take(next(targets.read(run_config, settings.seed)), slice(0, settings.train_batch_size))
  arithmetic = _precision(run_config, first)
  precision.warn_if_slow(arithmetic)
  model = _build(run_config, arithmetic)
  result = training.fit(
    model=model,
    optimizer=teacher.adamw(settings, num_steps),
    loss=functools.partial(_loss, model, run_config),
    batches=functools.partial(_train_batches, model, run_config),
    num_rows=num_rows,
    evaluate=functools.partial(events.measured, model.predict_logits, held_out, run_config.schema)
    if held_out
    else None,
    settings=settings,
    folder=folder,
  )
  if held_out and run_config.schema.num_classes == 2:
    result |= calibration.fit_run(folder, model.predict_logits, held_out, held_out, run_config.schema)
  return {**result, 'precision': arithmetic} | bad_rows.counted()


def _build(run_config, arithmetic):
  """The teacher before its training, the same one each time."""
  tf_keras.utils.set_random_seed(run_config.training.seed)
  return teacher.build(run_config.teacher, run_config.schema.num_classes, run_config.schema.fields, arithmetic)


def _precision(run_config, batch) -> str:
  """'float32' or 'bfloat16': the one that the run was begun in, else by a few steps on the rows of `batch`."""
  if run_config.precision != 'auto':
    return run_config.precision
  path = os.path.join(run_config.output_dir, 'precision.json')
  if tf.io.gfile.exists(path):
    return runs.read_json(path)['precision']
  chosen = precision.choose(lambda: {name: _step(run_config, name, batch) for name in config.groups.PRECISIONS})
  runs.write_text(path, json.dumps({'precision': chosen}) + '\n')
  return chosen


def _step(run_config, arithmetic, batch):
  """() → the gradients' norm on the rows of `batch`, of a model of few layers."""
  model = teacher.shallow(run_config.output_dir, arithmetic)
  batch = next(model.train_batches(iter([_with_targets(batch)]), rows.size(batch), seed=0))

  @tf.function(autograph=False)
  def gradients():
    with tf.GradientTape() as tape:
      value = _loss(model, run_config, batch)
    return tf.linalg.global_norm(tape.gradient(value, model.trainable_variables))

  return lambda: gradients().numpy()


def _loss(model, run_config, batch):
  """Mean loss of a batch."""
  return tf.reduce_mean(targets.row_losses(run_config, model.classify(batch['ids'], training=True), batch))


def _train_batches(model, run_config, epoch, seen):
  """The batches of one epoch, the same ones each time, without the first `seen`."""
  settings = run_config.training
  seed = settings.seed + 1_000_003 * epoch
  windows = rows.shuffle(
    targets.read(run_config, seed), teacher.window_rows(settings.train_batch_size), settings.shuffle_rows, seed
  )
  batches = model.train_batches(map(_with_targets, windows), settings.train_batch_size, seed)
  return itertools.islice(batches, seen, None)


def _with_targets(batch):
  return {**batch, **targets.of(batch)}
