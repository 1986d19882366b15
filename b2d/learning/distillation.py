"""Soft labels, or hard ones, → a student: the stream of batches, the loss, temperature and calibration."""

from collections.abc import Iterator
import contextlib
import dataclasses
import functools
import itertools
import json
import math
import os
from typing import Any

from absl import logging
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import blocks
from b2d.data import rows
from b2d.data import soft_labels
from b2d.data import words
from b2d.learning import events
from b2d.learning import local_workers
from b2d.learning import losses
from b2d.learning import optimizers
from b2d.learning import run_state
from b2d.learning import targets
from b2d.learning import training
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import student
from b2d.models import word_vectors
from b2d.models import wordpiece

_TRIAL_TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
_TRIAL_ROWS = 200_000
_SAMPLED_ROWS = 1024
_UNSPACED_SHARE = 0.05


def distill(run_config: config.Distill) -> dict[str, float]:
  """Runs the whole step, or what is left of it.

  Returns:
    The best held-out metrics, the calibration error before and after, and the training's speed; also in metrics.json.

  Raises:
    ValueError: rows, soft labels, or run folder are not what the configuration says.
  """
  run_config = targets.completed(run_config)
  result = runs.once(run_config, _distill)
  run_state.discard_checkpoints(run_config.output_dir)
  return result


def _leave_cores_to_the_input() -> None:
  """Gives an op half of the cores: more of its threads would take turns with the input's, and with ops beside it."""
  if tf.config.threading.get_intra_op_parallelism_threads() or 'TF_NUM_INTRAOP_THREADS' in os.environ:
    return
  with contextlib.suppress(RuntimeError):  # This process has begun with TensorFlow, and keeps its threads.
    tf.config.threading.set_intra_op_parallelism_threads(max(1, local_workers.num_cores() // 2))


def _distill(run_config: config.Distill) -> dict[str, float]:
  _leave_cores_to_the_input()
  settings = run_config.training
  bad_rows = blocks.BadRows(run_config.schema.max_bad_rows)
  num_rows = targets.count(run_config, bad_rows)
  _warn_of_unspaced_texts(run_config)
  held_out = rows.load_labelled(run_config.valid_files, run_config.schema, bad_rows)
  calibration_rows = rows.load_labelled(run_config.calibration_files, run_config.schema, bad_rows)
  for batch in filter(None, (held_out, calibration_rows)):
    metrics.require_measurable(batch['label'], run_config.schema)
  calibration_rows = calibration_rows or held_out
  model = student.StudentModel(
    run_config.student, run_config.schema.fields, run_config.schema.num_classes, settings.seed
  )
  if run_config.student.tokenizer == 'wordpiece':
    wordpiece.read_vocab(run_config.student.tokenizer_vocab)
  encoder = None
  if run_config.init_embeddings and not run_state.has_checkpoint(run_config.output_dir):
    encoder = word_vectors.load_encoder(run_config.init_embeddings, run_config.student.vector_dim)
  folder = run_config.output_dir
  bad_rows.write(folder)
  if encoder:
    word_vectors.start(model, encoder, targets.read(run_config, settings.seed))
  if run_config.student.tokenizer == 'wordpiece':
    wordpiece.copy(run_config.student.tokenizer_vocab, student.vocab_path(folder))
  chosen: dict[str, Any] = {}
  if run_config.temperature == 'auto':
    chosen = {'temperature': _choose_temperature(run_config, folder)}
    run_config = dataclasses.replace(run_config, **chosen)
  steps = training.num_steps(settings, num_rows)
  if run_config.soft_labels:
    events.teacher_line(
      folder, soft_labels.read_manifest(run_config.soft_labels[0]).teachers[0], run_config.valid_files, steps
    )
  result = training.fit(
    model=model,
    optimizer=optimizers.create(run_config.optimizer, training.learning_rate_schedule(settings, steps)),
    loss=functools.partial(_loss, model, run_config),
    batches=functools.partial(_train_batches, run_config),
    num_rows=num_rows,
    prepare=functools.partial(_featurized, model, run_config),
    evaluate=functools.partial(events.measured, model.predict_logits, held_out, run_config.schema)
    if held_out
    else None,
    settings=settings,
    folder=folder,
  )
  result |= events.table(folder, model, steps)
  if calibration_rows and run_config.schema.num_classes == 2:
    result |= calibration.fit_run(
      folder, model.predict_logits, calibration_rows, held_out or calibration_rows, run_config.schema
    )
  return result | chosen | bad_rows.counted()


def _choose_temperature(run_config: config.Distill, folder: str) -> float:
  """The temperature whose student is the best on the held-out rows after an epoch on a share of the soft labels.

  Every trial is a run of its own under `folder`, so a killed search goes on. Only temperature.json remains of them.
  """
  path, trials = os.path.join(folder, 'temperature.json'), os.path.join(folder, 'temperature')
  metric = run_config.training.best_metric
  if not tf.io.gfile.exists(path):
    reached = {}
    for temperature in _TRIAL_TEMPERATURES:
      name = f'{temperature:g}'
      reached[name] = distill(
        dataclasses.replace(
          run_config,
          temperature=temperature,
          max_rows=min(run_config.max_rows or _TRIAL_ROWS, _TRIAL_ROWS),
          training=dataclasses.replace(run_config.training, num_train_epochs=1.0),
          output_dir=os.path.join(trials, name),
        )
      )[metric]
    runs.write_text(path, json.dumps(reached, indent=2) + '\n')
  if tf.io.gfile.exists(trials):
    tf.io.gfile.rmtree(trials)
  reached = runs.read_json(path)
  best = (min if metric in metrics.LOWER_IS_BETTER else max)(reached, key=reached.__getitem__)
  logging.info(
    '%s: temperature %s, by %s of a short run: %s',
    folder,
    best,
    metric,
    ', '.join(f'{value:.4f} at {temperature}' for temperature, value in reached.items()),
  )
  return float(best)


def _warn_of_unspaced_texts(run_config: config.Distill) -> None:
  """Texts without spaces, each of them a token that no other text has, teach nothing."""
  if run_config.student.tokenizer not in ('whitespace', 'unicode_script'):
    return
  first = next(targets.read(run_config, run_config.training.seed))
  share = max(words.unspaced_share(first[field][:_SAMPLED_ROWS]) for field in run_config.schema.fields)
  if share > _UNSPACED_SHARE:
    logging.log_first_n(  # Once, however many students a sweep trains.
      logging.WARNING,
      '%.0f %% of the first rows hold text in a script without spaces (Han, Kana, Thai, ...), which --tokenizer=%s '
      'takes for single long tokens: set --tokenizer=words, which parts it sign by sign',
      1,
      100 * share,
      run_config.student.tokenizer,
    )


def _train_batches(run_config: config.Distill, epoch: int, seen: int) -> Iterator[rows.Batch]:
  """The batches of one epoch, the same ones each time, without the first `seen`, of which as few as can be are read."""
  settings = run_config.training
  seed = settings.seed + 1_000_003 * epoch
  size, window_rows = settings.train_batch_size, settings.shuffle_rows
  group = 'query' if run_config.margin_weight else ''
  skipped = 0
  if run_config.soft_labels and not group:  # Groups are permuted by what the rows hold.
    whole = math.lcm(size, window_rows)
    skipped = seen * size // whole * whole
  stream = targets.read(run_config, seed, skipped)
  batches = rows.shuffle(stream, size, window_rows, seed, group, skipped // window_rows)
  return itertools.islice(batches, seen - skipped // size, None)


def _featurized(model: student.StudentModel, run_config: config.Distill, batch: rows.Batch):
  """A batch of tensors for `_loss`: targets first, then the unique table rows and who pools them."""
  made = {name: tf.constant(value) for name, value in targets.of(batch).items()}
  made |= model.featurize_unique(*(tf.constant(batch[field], tf.string) for field in model.fields))
  if run_config.margin_weight:
    made['group'] = tf.strings.to_hash_bucket_fast(tf.constant(batch['query'], tf.string), 1 << 62)
  return made


def _loss(model: student.StudentModel, run_config: config.Distill, batch) -> tf.Tensor:
  """Mean loss of a batch of `_featurized`."""
  logits = model.logits_of(batch)
  loss = tf.reduce_mean(targets.row_losses(run_config, logits, batch))
  if run_config.margin_weight:
    margins = batch['logits'][:, 1] - batch['logits'][:, 0]
    pairs = losses.margin_loss(logits, margins, batch['group'])
    loss += run_config.margin_weight * tf.math.divide_no_nan(  # A last batch of one row has no pair.
      tf.reduce_sum(pairs), tf.cast(tf.size(pairs), tf.float32)
    )
  return loss
