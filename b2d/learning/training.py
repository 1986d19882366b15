"""The training loop of teacher and student.

A run that was killed goes on from its last checkpoint (`run_state`) and, without dropout, ends with the weights
of an uninterrupted one: `batches(epoch, seen)` gives the same rows in the same order again, without those
already seen. Models, losses, optimisers and metrics are the caller's.
"""

import collections
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent import futures
import contextlib
import math
import signal
import threading
import time
from typing import Any

from absl import logging
from official.nlp import optimization
import tensorflow as tf
import tf_keras

from b2d import config
from b2d import progress as progress_lib
from b2d.learning import events
from b2d.learning import run_state

_PREFETCHED_BATCHES = 4
_FEW_STEPS = 200
_NEAR_CHANCE = 0.6  # AUC.


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
    SystemExit: SIGTERM or Ctrl-C came; a checkpoint has been saved.
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
  run = run_state.RunState(model, optimizer, evaluate, settings, steps, folder)
  run.restore()
  train_step = None
  stream = _prefetch(_remaining(batches, prepare, run.counters, steps), run.waited)
  with (
    contextlib.closing(stream),
    run.events.as_default(),
    _asked_to_end() as asked_by,
    progress_lib.Progress(steps, 'steps', 'train', run.counters['step']) as progress,
  ):
    events.configuration(folder)
    for epoch, epoch_step, batch in stream:
      train_step = train_step or _train_step(model, optimizer, loss, batch)
      loss_value = float(train_step(batch))
      run.advance(epoch, epoch_step, len(next(iter(batch.values()))), loss_value)
      progress.note(f'loss {loss_value:.4f}')
      progress.update()
      if asked_by:
        run.save()
        step = run.counters['step']
        logging.info('%s: asked to end, saved at step %d; repeat the command to go on', folder, step)
        raise SystemExit(128 + asked_by[0])
  result = run.finish()
  _warn_of_little_learnt(folder, steps, result)
  return result


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
def _asked_to_end() -> Iterator[list[int]]:
  """Yields a list that gets the signal by which a scheduler, or Ctrl-C, asks to end. A second Ctrl-C does not ask."""
  asked: list[int] = []
  if threading.current_thread() is not threading.main_thread():  # Python takes signals in no other.
    yield asked
    return

  def note(signum: int, frame: Any) -> None:
    del frame
    asked.append(signum)
    signal.signal(signal.SIGINT, before[signal.SIGINT])

  before = {signum: signal.signal(signum, note) for signum in (signal.SIGTERM, signal.SIGINT)}
  try:
    yield asked
  finally:
    for signum, handler in before.items():
      signal.signal(signum, handler)
