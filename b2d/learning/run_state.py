"""How far a training is, and what of it lies in its folder: checkpoints, best weights, TensorBoard events.

<folder>/checkpoints   the last state: model, optimiser, position
<folder>/best          the best weights, and metrics.json: what they reached on held-out rows
<folder>/events        TensorBoard: what `events` describes
"""

import json
import math
import os
import time
from typing import Any

from absl import logging
import tensorflow as tf
import tf_keras

from b2d import lease
from b2d import runs
from b2d.learning import events
from b2d.measures import metrics

_CHECKPOINT_SECS = 300
_EVALUATIONS = 10  # A run, unless --eval_every says otherwise.
_EVENTS = 200  # A run; each takes 5 ms.
_COUNTERS = ('step', 'epoch', 'epoch_step', 'rows', 'seconds')


def has_checkpoint(folder: str) -> bool:
  """Whether `training.fit` would go on with the run in `folder` rather than start one."""
  return tf.train.latest_checkpoint(os.path.join(folder, 'checkpoints')) is not None


def discard_checkpoints(folder: str) -> None:
  """Removes what only a resumed training needs, three times the weights, once the run is finished."""
  checkpoints = os.path.join(folder, 'checkpoints')
  if tf.io.gfile.exists(checkpoints):
    tf.io.gfile.rmtree(checkpoints)


def restore_best(model: tf_keras.Model, folder: str) -> None:
  """Restores the best weights of the run in `folder` into `model`, whose variables are made.

  Raises:
    ValueError: there are none, or of another shape.
  """
  path = tf.train.latest_checkpoint(os.path.join(folder, 'best'))
  if path is None:
    raise ValueError(f'{folder}: expected trained weights in best/, found none; has the training finished?')
  try:
    status = tf.train.Checkpoint(model=model).restore(path)
    status.assert_existing_objects_matched().expect_partial()
  except (AssertionError, ValueError) as error:
    raise ValueError(f'{path}: the weights do not fit the model of {folder}/config.json ({error})') from error


class RunState:
  """The counters, the checkpoints, the best weights so far."""

  def __init__(self, model, optimizer, evaluate, settings, steps, folder):
    self.counters: dict[str, Any] = dict.fromkeys(_COUNTERS, 0)
    self.events = tf.summary.create_file_writer(os.path.join(folder, 'events'))
    self._model, self._optimizer, self._folder = model, optimizer, folder
    self._evaluate, self._settings, self._steps = evaluate, settings, steps
    self._eval_every = settings.eval_every or math.ceil(steps / _EVALUATIONS)
    self._log_every = math.ceil(steps / _EVENTS)
    self._counters = tf.Variable(tf.zeros([len(_COUNTERS)], tf.float64), trainable=False)
    self._last = tf.train.CheckpointManager(
      tf.train.Checkpoint(model=model, optimizer=optimizer, counters=self._counters),
      os.path.join(folder, 'checkpoints'),
      max_to_keep=1,
    )
    self._best = tf.train.CheckpointManager(
      tf.train.Checkpoint(model=model), os.path.join(folder, 'best'), max_to_keep=1
    )
    self._losses, self._waited = [], 0.0
    self._saved = self._logged = self._clock = time.monotonic()
    self._logged_rows = 0

  def restore(self):
    """Goes back to the last checkpoint, if there is one."""
    if self._last.restore_or_initialize():
      values = self._counters.numpy()
      self.counters = {name: int(value) for name, value in zip(_COUNTERS, values)}
      self.counters['seconds'] = float(values[-1])
      self._logged_rows = self.counters['rows']
      logging.info('%s: going on from step %d', self._folder, self.counters['step'])

  def waited(self, seconds):
    """Counts time in which no batch was ready."""
    self._waited += seconds

  def advance(self, epoch, epoch_step, rows, loss):
    """Counts one step, after which `epoch_step` batches of `epoch` are seen; logs, evaluates and saves what is due."""
    step, now = self.counters['step'] + 1, time.monotonic()
    if not math.isfinite(loss):
      raise ValueError(
        f'{self._folder}: the loss is {loss} at step {step}; lower --learning_rate={self._settings.learning_rate} or '
        'raise --warmup_proportion, in another --output_dir'
      )
    self.counters.update(
      step=step,
      epoch=epoch,
      epoch_step=epoch_step,
      rows=self.counters['rows'] + rows,
      seconds=self.counters['seconds'] + now - self._clock,
    )
    self._clock = now
    self._losses.append(loss)
    if step % self._log_every == 0:
      self._log()
    if step == self._steps or step % self._eval_every == 0:
      self._measure()
    if time.monotonic() - self._saved > _CHECKPOINT_SECS:
      self.save()  # Table and moments are a gigabyte: not more often.

  def _log(self):
    """Writes the training's events: means since the last ones."""
    now, rows, step = time.monotonic(), self.counters['rows'], self.counters['step']
    rate = self._optimizer.learning_rate
    values = {
      'loss': sum(self._losses) / len(self._losses),
      'learning_rate': float(rate(step) if callable(rate) else rate),
      'rows_per_sec': (rows - self._logged_rows) / (now - self._logged),
      'rows': rows,
      'input_wait': self._waited / (now - self._logged),
    }
    events.scalars(values, step)
    self._losses, self._waited, self._logged, self._logged_rows = [], 0.0, now, rows

  def _measure(self):
    """Measures the held-out rows; keeps the weights if they are the best so far."""
    if self._evaluate is None:
      return
    started, step = time.monotonic(), self.counters['step']
    with self.events.as_default(step):
      found = self._evaluate()
    if self._settings.best_metric not in found:
      raise ValueError(f'--best_metric={self._settings.best_metric}: the held-out metrics are {", ".join(found)}')
    events.scalars(found, step, 'held_out/')
    self.events.flush()
    logging.info('step %d: %s', step, ', '.join(f'{name} {value:.4f}' for name, value in found.items()))
    if self._score(found) > self._score(self._best_metrics()):
      self._save_best(found)
    self._logged += time.monotonic() - started  # rows_per_sec is the training's alone.

  def save(self):
    """Writes a checkpoint of the whole state."""
    lease.check(self._folder)
    self._counters.assign([float(self.counters[name]) for name in _COUNTERS])
    self._last.save(self.counters['step'])
    self._saved = time.monotonic()

  def finish(self) -> dict[str, float]:
    """Puts the best weights into the model; returns their metrics."""
    if self._evaluate is None:
      self._save_best({})
    restore_best(self._model, self._folder)
    seconds = self.counters['seconds']
    logging.info(
      '%s: %d rows in %.0f s (%.0f rows/s)',
      self._folder,
      self.counters['rows'],
      seconds,
      self.counters['rows'] / max(seconds, 1e-9),
    )
    return {**self._best_metrics(), 'seconds': seconds, 'rows_per_sec': self.counters['rows'] / max(seconds, 1e-9)}

  def _score(self, found) -> float:
    value = found.get(self._settings.best_metric, math.nan)
    if math.isnan(value):
      return -math.inf
    return -value if self._settings.best_metric in metrics.LOWER_IS_BETTER else value

  def _best_metrics(self) -> dict[str, float]:
    path = os.path.join(self._folder, 'best', 'metrics.json')
    return runs.read_json(path) if tf.io.gfile.exists(path) else {}

  def _save_best(self, found):
    lease.check(self._folder)
    self._best.save(self.counters['step'])
    runs.write_text(
      os.path.join(self._folder, 'best', 'metrics.json'),
      json.dumps({**found, 'step': self.counters['step']}, indent=2) + '\n',
    )
