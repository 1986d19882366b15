"""The loop learns, resumes to the same weights, keeps the best ones, and says what went wrong."""

import os
import signal

from absl import logging
from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf
import tf_keras

from b2d import config
from b2d import runs
from b2d.learning import run_state
from b2d.learning import training

_ROWS = 40
_WEIGHTS = np.array([[1.0], [-2.0]], np.float32)


class _Killed(Exception):
  pass


class TrainingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.settings = config.Training(
      train_batch_size=8, num_train_epochs=4, learning_rate=0.1, eval_every=5, best_metric='accuracy'
    )

  def _model(self):
    tf_keras.utils.set_random_seed(1)
    model = tf_keras.Sequential([tf_keras.layers.Dense(1, use_bias=False)])
    model.build([None, 2])
    return model

  def _batches(self, epoch, seen):
    rng = np.random.default_rng(epoch)
    for number in range(_ROWS // 8):
      x = rng.normal(size=[8, 2]).astype(np.float32)
      if number >= seen:
        yield {'x': x, 'y': x @ _WEIGHTS}

  def _fit(self, model, folder=None, batches=None, evaluate=None, prepare=dict, **changes):
    settings = config.Training(**{**self.settings.__dict__, **changes})
    steps = training.num_steps(settings, _ROWS)
    optimizer = tf_keras.optimizers.legacy.Adam(training.learning_rate_schedule(settings, steps))
    return training.fit(
      model=model,
      optimizer=optimizer,
      loss=lambda batch: tf.reduce_mean((model(batch['x']) - batch['y']) ** 2),
      batches=batches or self._batches,
      num_rows=_ROWS,
      evaluate=evaluate,
      settings=settings,
      folder=folder or self.folder,
      prepare=prepare,
    )

  @parameterized.parameters(
    (2, 0.55, ['2 steps are few to learn from', 'the held-out AUC is 0.550, and 0.5 is chance']),
    (2, 0.9, ['2 steps are few to learn from']),
    (300, 0.9, []),
  )
  def test_says_so_where_little_is_learnt(self, num_steps, auc, expected):
    with self.assertLogs('absl', 'WARNING') as logs:
      logging.warning('none of its own')
      self._fit(
        self._model(),
        num_train_epochs=num_steps * 8 / _ROWS,
        train_batch_size=8,
        best_metric='auc',
        evaluate=lambda: {'auc': auc},
      )
    warnings = logs.output[1:]
    self.assertLen(warnings, len(expected))
    for line, text in zip(warnings, expected):
      self.assertIn(text, line)

  def test_learns(self):
    model = self._model()
    result = self._fit(model, num_train_epochs=40)
    np.testing.assert_allclose(model.trainable_variables[0], _WEIGHTS, atol=0.1)
    self.assertEqual(result['step'], 200)
    self.assertGreater(result['rows_per_sec'], 0)

  @parameterized.parameters(3, 5, 12)
  def test_resumed_run_equals_uninterrupted(self, killed_at):
    whole = self._model()
    self._fit(whole)
    seen = []

    def batches_until_killed(epoch, _):
      for batch in self._batches(epoch, 0):
        if len(seen) == killed_at:
          raise _Killed
        seen.append(epoch)
        yield batch

    folder = self.create_tempdir().full_path
    with absltest.mock.patch.object(run_state, '_CHECKPOINT_SECS', -1), self.assertRaises(_Killed):
      self._fit(self._model(), folder, batches_until_killed)
    self.assertTrue(run_state.has_checkpoint(folder))
    resumed, prepared = self._model(), []
    result = self._fit(resumed, folder, prepare=lambda batch: prepared.append(batch) or batch)
    self.assertLen(prepared, 20 - len(seen))
    np.testing.assert_array_equal(resumed.trainable_variables[0], whole.trainable_variables[0])
    self.assertEqual(result['step'], 20)

  @parameterized.parameters(
    ('accuracy', [0.1, 0.9, 0.5, 0.9], 10),
    ('log_loss', [0.5, 0.9, 0.2, 0.3], 15),
    ('auc', [float('nan'), 0.2, 0.1, 0.1], 10),
  )
  def test_keeps_the_best(self, metric, values, step):
    model = self._model()
    weights = []

    def evaluate():
      weights.append(model.trainable_variables[0].numpy())
      return {metric: values[len(weights) - 1], 'other': 1.0}

    result = self._fit(model, evaluate=evaluate, best_metric=metric)
    self.assertEqual(result['step'], step)
    self.assertEqual(result[metric], values[step // 5 - 1])
    np.testing.assert_array_equal(model.trainable_variables[0], weights[step // 5 - 1])
    restored = self._model()
    run_state.restore_best(restored, self.folder)
    np.testing.assert_array_equal(restored.trainable_variables[0], weights[step // 5 - 1])
    self.assertEqual(runs.read_json(os.path.join(self.folder, 'best', 'metrics.json'))['step'], step)

  @parameterized.parameters((signal.SIGTERM, 143), (signal.SIGINT, 130))
  def test_asked_to_end_it_saves_and_goes_on_later(self, signum, exit_code):
    whole, stopped = self._model(), self._model()
    self._fit(whole)
    folder = os.path.join(self.folder, 'stopped')

    def asked():
      os.kill(os.getpid(), signum)
      return {'accuracy': 0.5}

    before = signal.getsignal(signum)
    with self.assertRaises(SystemExit) as exit_:
      self._fit(stopped, folder, evaluate=asked)
    self.assertEqual(exit_.exception.code, exit_code)
    self.assertIs(signal.getsignal(signum), before)
    self.assertTrue(run_state.has_checkpoint(folder))
    resumed = self._model()
    self._fit(resumed, folder)
    np.testing.assert_array_equal(resumed.trainable_variables[0], whole.trainable_variables[0])

  def test_events(self):
    runs.write_text(os.path.join(self.folder, 'run.flags'), '--max_rows=7\n')
    self._fit(self._model(), evaluate=lambda: {'accuracy': 0.5})
    found = {}
    for file in tf.io.gfile.glob(os.path.join(self.folder, 'events', '*')):
      for event in tf.compat.v1.train.summary_iterator(file):
        found |= {value.tag: value for value in event.summary.value if value.metadata.summary_description}
    self.assertEqual(
      set(found), {'loss', 'learning_rate', 'rows_per_sec', 'rows', 'input_wait', 'held_out/accuracy', 'run.flags'}
    )
    self.assertIn('--max_rows=7', tf.make_ndarray(found['run.flags'].tensor).item(0).decode())

  def test_schedule(self):
    schedule = training.learning_rate_schedule(self.settings, 100)
    np.testing.assert_allclose([schedule(step) for step in (0, 5, 10, 55, 100)], [0, 0.05, 0.09, 0.045, 0], atol=1e-6)
    without = training.learning_rate_schedule(config.Training(warmup_proportion=0.0, learning_rate=1.0), 10)
    self.assertEqual(float(without(0)), 1.0)

  @parameterized.parameters((40, 8, 4.0, 20), (41, 8, 1.0, 6), (3, 8, 0.1, 1), (80, 8, 0.5, 5))
  def test_num_steps(self, num_rows, batch_size, epochs, steps):
    settings = config.Training(train_batch_size=batch_size, num_train_epochs=epochs)
    self.assertEqual(training.num_steps(settings, num_rows), steps)

  def test_no_rows(self):
    with self.assertRaisesRegex(ValueError, 'expected training rows, found 0'):
      training.num_steps(self.settings, 0)
    with self.assertRaisesRegex(ValueError, 'epoch 0: expected batches to train on, found none'):
      self._fit(self._model(), batches=lambda epoch, seen: iter(()))

  def test_loss_not_finite(self):
    batch = {'x': np.full([8, 2], np.nan, np.float32), 'y': np.zeros([8, 1], np.float32)}
    with self.assertRaisesRegex(ValueError, 'the loss is nan at step 1; lower --learning_rate=0.1'):
      self._fit(self._model(), batches=lambda epoch, seen: iter([batch]))

  def test_unknown_best_metric(self):
    with self.assertRaisesRegex(ValueError, '--best_metric=auc: the held-out metrics are accuracy'):
      self._fit(self._model(), evaluate=lambda: {'accuracy': 1.0}, best_metric='auc')

  def test_restore_best(self):
    with self.assertRaisesRegex(ValueError, 'expected trained weights in best/, found none'):
      run_state.restore_best(self._model(), self.folder)
    self._fit(self._model())
    other = tf_keras.Sequential([tf_keras.layers.Dense(3)])
    other.build([None, 2])
    with self.assertRaisesRegex(ValueError, 'the weights do not fit the model'):
      run_state.restore_best(other, self.folder)


if __name__ == '__main__':
  absltest.main()
