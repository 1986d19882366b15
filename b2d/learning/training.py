"""The training loop of teacher and student: checkpoints, held-out metrics, TensorBoard events.

A run that was killed goes on from its last checkpoint and, without dropout, ends with the weights
of an uninterrupted one: `batches(epoch, seen)` gives the same rows in the same order again, without those
already seen. Models, losses, optimisers and metrics are the caller's.

    <folder>/checkpoints   the last state: model, optimiser, position
    <folder>/best          the best weights, and metrics.json: what they reached on held-out rows
    <folder>/events        TensorBoard: what `events` describes
"""

import collections
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
import contextlib
import json
import math
import os
import signal
import threading
import time
from typing import Any

from absl import logging
from official.nlp import optimization
import tensorflow as tf
import tf_keras

from b2d import config
from b2d import lease
from b2d import progress as progress_lib
from b2d import runs
from b2d.learning import events

_CHECKPOINT_SECS = 300
_EVALUATIONS = 10  # A run, unless --eval_every says otherwise.
_EVENTS = 200  # A run; each takes 5 ms.
_PREFETCHED_BATCHES = 4
_FEW_STEPS = 200
_NEAR_CHANCE = 0.6  # AUC.
LOWER_IS_BETTER = ('log_loss',)
_COUNTERS = ('step', 'epoch', 'epoch_step', 'rows', 'seconds')


def num_steps(settings: config.Training, num_rows: int) -> int:
  """Optimiser steps of a whole run: ceil(num_rows / train_batch_size) · num_train_epochs, rounded.

  Raises:
    ValueError: there are no rows.
  """
  if num_rows < 1:
    raise ValueError('expected training rows, found 0; check the files and --max_rows')
  return max(1, round(math.ceil(num_rows / settings.train_batch_size) * settings.num_train_epochs))


def learning_rate_schedule(settings: config.Training, steps: int):
  """Linear warm-up over `warmup_proportion` of the steps, then linear decay to 0."""
  schedule = tf_keras.optimizers.schedules.PolynomialDecay(
    settings.learning_rate, decay_steps=steps, end_learning_rate=0.0
  )
  warmup_steps = round(settings.warmup_proportion * steps)
  if not warmup_steps:
    return schedule
  return optimization.WarmUp(settings.learning_rate, schedule, warmup_steps)


def fit(
  *,
  model: tf_keras.Model,
  optimizer: Any,
  loss: Callable[[dict[str, tf.Tensor]], tf.Tensor],
  batches: Callable[[int, int], Iterator[Mapping[str, Any]]],
  num_rows: int,
  evaluate: Callable[[], dict[str, float]] | None,
  settings: config.Training,
  folder: str,
  prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
) -> dict[str, float]:
  """Trains `model`, or goes on with the run in `folder`; leaves the best weights in `model`.

  Args:
    model: the model, its variables made.
    optimizer: has `apply_gradients` and `learning_rate` (a number or a schedule), and can be
      checkpointed.
    loss: batch of tensors → scalar, computed through `model`; traced with its gradient.
    batches: epoch, number of its batches that were seen → the others; the same for the same epoch.
    num_rows: rows of an epoch.
    evaluate: gives the metrics on the held-out rows; None: the last weights count as the best.
    settings: batch size, epochs, evaluation.
    folder: run folder.
    prepare: a batch → numpy arrays or tensors (rows first) for `loss`.

  Returns:
    The best held-out metrics, with 'step' (at which they were reached), 'seconds' (evaluations
    included) and 'rows_per_sec'.

  Raises:
    ValueError: no rows, or a loss that is not finite.
    SystemExit: SIGTERM came; a checkpoint has been saved.
  """
  steps = num_steps(settings, num_rows)
  logging.info(
    '%s: %d rows, %g epochs in batches of %d: %d steps',
    folder,
    num_rows,
    settings.num_train_epochs,
    settings.train_batch_size,
    steps,
  )
  run = _Run(model, optimizer, evaluate, settings, steps, folder)
  run.restore()
  train_step = None
  stream = _prefetch(_remaining(batches, prepare, run.counters, steps), run.waited)
  with (
    contextlib.closing(stream),
    run.events.as_default(),
    _sigterm() as asked_to_end,
    progress_lib.Progress(steps, 'steps', 'train', run.counters['step']) as progress,
  ):
    events.configuration(folder)
    for epoch, epoch_step, batch in stream:
      train_step = train_step or _train_step(model, optimizer, loss, batch)
      loss_value = float(train_step(batch))
      run.advance(epoch, epoch_step, len(next(iter(batch.values()))), loss_value)
      progress.note(f'loss {loss_value:.4f}')
      progress.update()
      if asked_to_end.is_set():
        run.save()
        step = run.counters['step']
        logging.info('%s: asked to end, saved at step %d; repeat the command to go on', folder, step)
        raise SystemExit(128 + signal.SIGTERM)
  result = run.finish()
  _warn_of_little_learnt(folder, steps, result)
  return result


def has_checkpoint(folder: str) -> bool:
  """Whether `fit` would go on with the run in `folder` rather than start one."""
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


def _warn_of_little_learnt(folder: str, steps: int, result: dict[str, float]) -> None:
  if steps < _FEW_STEPS:
    logging.warning(
      '%s: %d steps are few to learn from; use more rows (b2d.pair_up makes pairs, b2d.label labels them), a smaller '
      '--train_batch_size or more --num_train_epochs',
      folder,
      steps,
    )
  if result.get('auc', 1.0) < _NEAR_CHANCE:
    logging.warning(
      '%s: the held-out AUC is %.3f, and 0.5 is chance; do the labels belong to the texts? Else use more rows, '
      'or more --num_train_epochs',
      folder,
      result['auc'],
    )


class _Run:
  """State of a run: the counters, the checkpoints, the best weights so far."""

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
      metrics = self._evaluate()
    if self._settings.best_metric not in metrics:
      raise ValueError(f'--best_metric={self._settings.best_metric}: the held-out metrics are {", ".join(metrics)}')
    events.scalars(metrics, step, 'held_out/')
    self.events.flush()
    logging.info('step %d: %s', step, ', '.join(f'{name} {value:.4f}' for name, value in metrics.items()))
    if self._score(metrics) > self._score(self._best_metrics()):
      self._save_best(metrics)
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

  def _score(self, metrics) -> float:
    value = metrics.get(self._settings.best_metric, math.nan)
    if math.isnan(value):
      return -math.inf
    return -value if self._settings.best_metric in LOWER_IS_BETTER else value

  def _best_metrics(self) -> dict[str, float]:
    path = os.path.join(self._folder, 'best', 'metrics.json')
    return runs.read_json(path) if tf.io.gfile.exists(path) else {}

  def _save_best(self, metrics):
    lease.check(self._folder)
    self._best.save(self.counters['step'])
    runs.write_text(
      os.path.join(self._folder, 'best', 'metrics.json'),
      json.dumps({**metrics, 'step': self.counters['step']}, indent=2) + '\n',
    )


def _train_step(model, optimizer, loss, batch):
  """The compiled step: batch of tensors, like `batch` but of any size → loss, the variables updated."""
  # Without a signature tf.function compares each new shape with those of all batches before: ever slower steps.
  signature = {name: tf.TensorSpec([None] * value.shape.rank, value.dtype) for name, value in batch.items()}

  @tf.function(input_signature=[signature], autograph=False)
  def train_step(batch):
    with tf.GradientTape() as tape:
      value = loss(batch)
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
    return value

  return train_step


def _remaining(batches, prepare, counters, steps):
  """Yields (epoch, batches seen of it, prepared batch) from where `counters` stand to `steps`."""
  epoch, seen, left = counters['epoch'], counters['epoch_step'], steps - counters['step']
  while left > 0:
    number = seen
    for number, batch in enumerate(batches(epoch, seen), seen + 1):
      yield epoch, number, {name: tf.convert_to_tensor(value) for name, value in prepare(batch).items()}
      left -= 1
      if left == 0:
        return
    if number == 0:
      raise ValueError(f'epoch {epoch}: expected batches to train on, found none')
    epoch, seen = epoch + 1, 0


def _prefetch(items: Iterator, waited: Callable[[float], None]) -> Generator:
  """Yields `items`, made a few ahead by a thread; `waited` is told the seconds that each was not ready."""
  executor = futures.ThreadPoolExecutor(1)
  ahead = collections.deque(executor.submit(next, items, None) for _ in range(_PREFETCHED_BATCHES))
  try:
    while True:
      started = time.monotonic()
      item = ahead.popleft().result()
      waited(time.monotonic() - started)
      if item is None:
        return
      ahead.append(executor.submit(next, items, None))
      yield item
  finally:
    # TensorFlow may crash in a thread that outlives the interpreter.
    executor.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _sigterm() -> Iterator[threading.Event]:
  """Yields what is set when the process is asked to end, as a scheduler does before it kills."""
  asked = threading.Event()
  if threading.current_thread() is not threading.main_thread():  # Python takes signals in no other.
    yield asked
    return
  before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
  try:
    yield asked
  finally:
    signal.signal(signal.SIGTERM, before)
