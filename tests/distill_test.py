"""b2d.distill end to end on a handful of rows: what it learns from whom, resuming, refusals."""

import dataclasses
import os
import shutil
import tempfile
from unittest import mock

from absl import logging
from absl.testing import absltest
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import shards as shards_lib
from b2d.data import soft_labels
from b2d.learning import distillation
from b2d.learning import labeling
from b2d.learning import local_workers
from b2d.learning import run_state
from b2d.learning import targets
from b2d.learning import training
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import student
from tests import command_line
from tests import tiny_bert

_PAIR = ('query', 'title')
_GOOD_BAD = {'text': np.array([b'good film', b'bad film'], dtype=object)}


def _margins(folder) -> np.ndarray:
  """The student's margin on a good and a bad film."""
  return metrics.margin(student.load(folder).predict_logits(_GOOD_BAD))


class DistillTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    """The teacher likes good films; hard labels, for the bad ones alone, say the contrary."""
    super().setUpClass()
    cls.folder = tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value)
    cls.addClassCleanup(tf.io.gfile.rmtree, cls.folder)
    cls.good = np.arange(64) % 2 == 0
    cls.texts = np.array(
      [b'%s film %d' % (b'good' if good else b'bad', i % 7) for i, good in enumerate(cls.good)], dtype=object
    )
    cls.labels = cls._write_soft_labels('labels', cls.good, np.where(cls.good, np.nan, 1))
    cls.valid = cls._write_rows('valid.tsv', cls.good[:20])
    cls.whole_dir = os.path.join(cls.folder, 'whole')
    cls.whole_config = cls._config(valid_files=(cls.valid,), output_dir=cls.whole_dir)
    cls.whole = distillation.distill(cls.whole_config)

  def setUp(self):
    super().setUp()
    self.run_dir = os.path.join(self.create_tempdir().full_path, 'student')

  @classmethod
  def _write_soft_labels(cls, name, likes, labels, fields=('text',), num_classes=2) -> str:
    """Soft labels of a teacher that likes the given rows."""
    folder, num_rows = os.path.join(cls.folder, name), len(likes)
    os.makedirs(folder)
    logits = np.zeros([num_rows, 1, num_classes], np.float32)
    logits[:, 0, 1] = np.where(likes, 4, -4)
    batch = {
      'id': np.array([b'%d' % i for i in range(num_rows)], dtype=object),
      **{field: cls.texts[:num_rows] for field in fields},
      'label': np.broadcast_to(labels, [num_rows]).astype(np.float32),
      'logits': logits,
    }
    soft_labels.write_shard(folder, 0, batch)
    soft_labels.write_manifest(
      folder, soft_labels.Manifest(('teacher',), num_classes, fields, {shards_lib.name(0): num_rows})
    )
    return folder

  @classmethod
  def _write_rows(cls, name, labels) -> str:
    path = os.path.join(cls.folder, name)
    with open(path, 'w', encoding='utf-8') as file:
      file.write('text\tlabel\n')
      file.writelines(f'{text.decode()}\t{int(label)}\n' for text, label in zip(cls.texts, labels))
    return path

  @classmethod
  def _config(cls, schema=None, student_settings=None, **changes) -> config.Distill:
    if 'train_files' not in changes:
      changes = {'soft_labels': (cls.labels,), **changes}
    return config.Distill(
      **changes,
      schema=config.Schema(**{'label_column': 'label', **(schema or {})}),
      student=config.Student(
        **{'num_buckets': 256, 'embedding_dim': 4, 'hidden_layers': (8,), **(student_settings or {})}
      ),
      training=config.Training(
        train_batch_size=16,
        learning_rate=0.2,
        eval_every=6,
        num_train_epochs=4,
        warmup_proportion=0.0,
        best_metric='log_loss',
      ),
    )

  def _distill(self, schema=None, **changes):
    return distillation.distill(self._config(schema, **{'output_dir': self.run_dir, **changes}))

  def test_an_op_gets_half_of_the_cores(self):
    self.enter_context(mock.patch.object(local_workers, 'num_cores', lambda: 8))
    threading = self.enter_context(mock.patch.object(tf.config, 'threading'))
    self.enter_context(mock.patch.dict(os.environ)).pop('TF_NUM_INTRAOP_THREADS', None)
    threading.get_intra_op_parallelism_threads.return_value = 0
    distillation.distill(self.whole_config)  # It is finished, so that there is nothing to share.
    threading.set_intra_op_parallelism_threads.assert_not_called()
    for own in (0, 3):
      threading.get_intra_op_parallelism_threads.return_value = own
      self._distill(output_dir=f'{self.run_dir}{own}')
    threading.set_intra_op_parallelism_threads.assert_called_once_with(4)

  def test_texts_without_spaces_call_for_another_tokenizer(self):
    path = os.path.join(self.create_tempdir().full_path, 'train.tsv')
    with open(path, 'w', encoding='utf-8') as file:
      file.write('text\tlabel\n' + ''.join(f'这家店的面条很好吃{i}\t{i % 2}\n' for i in range(32)))
    for tokenizer, expected in (('whitespace', 1), ('words', 0)):
      with mock.patch.object(logging, 'log_first_n') as log:
        self._distill(
          train_files=(path,), student_settings={'tokenizer': tokenizer}, output_dir=f'{self.run_dir}-{tokenizer}'
        )
      self.assertEqual(sum('--tokenizer=words' in call.args[1] for call in log.call_args_list), expected)

  def test_hard_labels_with_bad_and_unlabelled_rows(self):
    path = self._write_rows('mixed.tsv', self.good)
    with open(path, 'a', encoding='utf-8') as file:
      file.write('unlabelled\t\nwrong\t7\n')
    result = self._distill({'max_bad_rows': 1}, train_files=(path,), valid_files=(self.valid,))
    self.assertEqual(result['bad_rows'], 1)
    self.assertEqual(result['step'] % 4, 0)  # 64 rows are 4 steps an epoch.

  def test_follows_the_teacher_alone(self):
    self.assertEqual((self.whole['auc'], self.whole['accuracy']), (1, 1))
    good, bad = _margins(self.whole_dir)
    self.assertGreater(good, 1)
    self.assertLess(bad, -1)

  def test_events_tell_how_scores_lie_what_the_table_holds_and_the_teacher_s_own_metrics(self):
    teacher = runs.start(
      config.Finetune(
        train_files=('t',),
        valid_files=(self.valid,),
        output_dir=os.path.join(self.create_tempdir().full_path, 'teacher'),
        schema=config.Schema(label_column='label'),
        teacher=config.Teacher(vocab_file='v'),
      )
    )
    runs.write_metrics(teacher, {'auc': 0.75, 'step': 3})
    labels = self._write_soft_labels('of_a_teacher', self.good, np.nan)
    soft_labels.write_manifest(labels, dataclasses.replace(soft_labels.read_manifest(labels), teachers=(teacher,)))
    result = self._distill(soft_labels=(labels,), valid_files=(self.valid,))
    self.assertBetween(result['buckets_in_use'], 0.05, 0.2)  # Ten words and their pairs, of 256.
    found = {
      run: [
        (value.tag, event.step, tf.make_ndarray(value.tensor))
        for path in tf.io.gfile.glob(os.path.join(self.run_dir, 'events', run, 'events.*'))
        for event in tf.compat.v1.train.summary_iterator(path)
        for value in event.summary.value
      ]
      for run in ('', 'teacher')
    }
    self.assertEqual([(tag, step) for tag, step, _ in found['teacher']], [('held_out/auc', 0), ('held_out/auc', 16)])
    self.assertEqual(found['teacher'][0][2], 0.75)
    steps = {tag: step for tag, step, _ in found['']}
    for tag in (
      'held_out/probability',
      'held_out/precision_recall/pr_curves',
      'table/vector_lengths',
      'table/buckets_in_use',
    ):
      self.assertEqual(steps[tag], 16)

  def test_calibration(self):
    """Fitted on rows of which the teacher is right about 80 %, measured on rows where it always is."""
    noisy = np.where(np.arange(60) % 10 < 8, self.good[:60], ~self.good[:60])
    result = self._distill(valid_files=(self.valid,), calibration_files=(self._write_rows('noisy.tsv', noisy),))
    fitted = runs.read_json(calibration.path(self.run_dir))
    self.assertEqual(set(fitted), {'scale', 'offset'})
    self.assertBetween(fitted['scale'], 0.1, 0.8)
    self.assertAlmostEqual(result['ece'], self.whole['ece'])
    self.assertAlmostEqual(result['ece_calibrated'], 0.2, delta=0.05)

  def test_no_calibration_where_it_would_do_harm(self):
    """Sure, and always right: what twenty rows say is less than that."""
    self.assertEqual(runs.read_json(calibration.path(self.whole_dir)), {'scale': 1.0, 'offset': 0.0})
    self.assertEqual(self.whole['ece_calibrated'], self.whole['ece'])

  def test_automatic_temperature(self):
    """A teacher at 100 says nearly 0.5 of everything, far from the labels."""
    settings = {'valid_files': (self.valid,), 'temperature': 'auto'}
    fit, calls = training.fit, []

    def until_killed(**arguments):
      calls.append(arguments['folder'])
      if len(calls) == 2:
        raise KeyboardInterrupt
      return fit(**arguments)

    with absltest.mock.patch.object(distillation, '_TRIAL_TEMPERATURES', (100.0, 1.0)):
      with absltest.mock.patch.object(training, 'fit', until_killed):
        with self.assertRaises(KeyboardInterrupt):
          self._distill(**settings)
        result = self._distill(**settings)
    trials = [os.path.join(self.run_dir, 'temperature', name) for name in ('100', '1')]
    self.assertEqual(calls, [*trials, trials[1], self.run_dir])  # The first one was not run again.
    self.assertEqual(result['temperature'], 1)
    self.assertEqual(result['log_loss'], self.whole['log_loss'])
    self.assertEqual(set(runs.read_json(os.path.join(self.run_dir, 'temperature.json'))), {'100', '1'})
    self.assertFalse(tf.io.gfile.exists(os.path.join(self.run_dir, 'temperature')))

  def test_classes_of_another_order_than_the_soft_labels(self):
    folder = self._write_soft_labels('named', self.good, np.nan)
    manifest = dataclasses.replace(soft_labels.read_manifest(folder), classes=('bad', 'good'))
    soft_labels.write_manifest(folder, manifest)
    with self.assertRaisesRegex(ValueError, '--classes=good,bad: expected bad,good, as .*named has'):
      self._distill({'classes': ('good', 'bad')}, soft_labels=(folder,))

  def test_main_reuses_a_finished_run(self):
    flat = {
      name: [str(item) for item in value] if isinstance(value, tuple) else value
      for name, value in config.to_flat(self.whole_config).items()
    }
    with absltest.mock.patch.object(training, 'fit') as fit:
      command_line.run(config.Distill, **flat)
      fit.assert_not_called()
    self.assertEqual(runs.read_json(os.path.join(self.whole_dir, 'metrics.json')), self.whole)
    with self.assertRaisesRegex(ValueError, 'holds a run of another --temperature'):
      distillation.distill(dataclasses.replace(self.whole_config, temperature=2.0))

  def test_a_student_as_teacher(self):
    """As a member of a stack, say."""
    output = self.create_tempdir().full_path
    labeling.label(
      config.Label(
        input_files=(self.valid,),
        teacher_dir=self.whole_dir,
        output_dir=output,
        num_workers=1,
        schema=config.Schema(label_column='label'),
      )
    )
    labelled = rows.concatenate(list(soft_labels.read([output])))
    expected = student.load(self.whole_dir).predict_logits(labelled)
    np.testing.assert_allclose(labelled['logits'][:, 0], expected, rtol=1e-6)
    self.assertLen(expected, 20)

  def test_soft_labels_made_anew(self):
    labels = self._write_soft_labels('anew', self.good, np.nan)
    self._distill(soft_labels=(labels,))
    self._distill(soft_labels=(labels,))
    shutil.rmtree(labels)
    self._write_soft_labels('anew', self.good[::-1], np.nan)  # As many rows as before: the manifest's digests tell.
    with self.assertRaisesRegex(ValueError, 'anew/manifest.json: has changed since'):
      self._distill(soft_labels=(labels,))
    shutil.rmtree(labels)
    self._distill(soft_labels=(labels,))  # A finished student no longer needs them.

  def test_what_follows_from_the_number_of_rows_is_on_record(self):
    unset = dataclasses.replace(
      self.whole_config, output_dir=self.run_dir, training=config.Training(learning_rate=0.2), student=config.Student()
    )
    distillation.distill(unset)
    run = runs.load_config(self.run_dir, config.Distill)
    self.assertEqual((run.training.train_batch_size, run.training.num_train_epochs), (32, 10))
    self.assertEqual(run.student.num_buckets, 1 << 16)
    with mock.patch.object(training, 'fit') as fit:
      distillation.distill(unset)
    fit.assert_not_called()

  def test_resumed_run_equals_uninterrupted(self):
    held_out, calls = metrics.held_out, []

    def until_killed(*args):
      calls.append(1)
      if len(calls) == 3:  # After the check of the labels and step 6; killed at 12 of 16.
        raise KeyboardInterrupt
      return held_out(*args)

    with absltest.mock.patch.object(run_state, '_CHECKPOINT_SECS', -1):
      with absltest.mock.patch.object(metrics, 'held_out', until_killed):
        with self.assertRaises(KeyboardInterrupt):
          self._distill(valid_files=(self.valid,))
    self.assertFalse(runs.finished(self.run_dir))
    self.assertTrue(run_state.has_checkpoint(self.run_dir))
    resumed = self._distill(valid_files=(self.valid,))
    for name in ('step', 'auc', 'log_loss'):
      self.assertEqual(resumed[name], self.whole[name])
    np.testing.assert_array_equal(student.load(self.run_dir).table, student.load(self.whole_dir).table)

  def test_batches_that_were_seen_are_skipped_and_read_no_more_than_they_must(self):
    pairs = self._write_soft_labels('some pairs', self.good, np.nan, fields=_PAIR)
    training_settings = config.Training(train_batch_size=8, shuffle_rows=24)
    for schema, changes, num_seen, skipped in (
      ({}, {}, 7, 48),
      ({'text_columns': _PAIR}, {'soft_labels': (pairs,), 'margin_weight': 1.0}, 7, 0),
      ({}, {'train_files': (self.valid,)}, 2, 0),
    ):
      run_config = dataclasses.replace(self._config(schema, **changes), training=training_settings)
      whole = [batch['id'].tolist() for batch in distillation._train_batches(run_config, 1, 0)]
      with mock.patch.object(targets, 'read', wraps=targets.read) as read:
        rest = [batch['id'].tolist() for batch in distillation._train_batches(run_config, 1, num_seen)]
      self.assertEqual(read.call_args.args[2], skipped)
      self.assertEqual(rest, whole[num_seen:])
      self.assertNotEmpty(rest)

  def test_hard_label_where_a_row_has_one(self):
    self._distill(hard_label_share=1.0, rule='hinton', temperature=2.0)
    good, bad = _margins(self.run_dir)
    self.assertGreater(good, 1)  # By the teacher.
    self.assertGreater(bad, 1)  # By the label.

  def test_hard_labels_alone(self):
    self._distill(train_files=(self._write_rows('train.tsv', ~self.good),))
    good, bad = _margins(self.run_dir)
    self.assertLess(good - bad, -2)
    self.assertFalse(tf.io.gfile.exists(calibration.path(self.run_dir)))

  def test_a_finished_run_needs_its_soft_labels_no_more(self):
    labels = os.path.join(self.create_tempdir().full_path, 'labels')
    shutil.copytree(self._write_soft_labels('of_three', self.good, np.nan, num_classes=3), labels)
    run_config = config.Distill(soft_labels=(labels,), student=self.whole_config.student, output_dir=self.run_dir)
    result = distillation.distill(run_config)
    shutil.rmtree(labels)
    self.assertEqual(distillation.distill(run_config), result)

  def test_word_pieces_of_a_vocabulary_that_is_gone(self):
    vocab = tiny_bert.write_vocab(self.create_tempdir().full_path)
    self._distill(student_settings={'tokenizer': 'wordpiece', 'tokenizer_vocab': vocab})
    os.remove(vocab)
    good, bad = _margins(self.run_dir)
    self.assertGreater(good, bad + 1)

  def test_margins_of_pairs_with_a_last_batch_of_one_row(self):
    labels = self._write_soft_labels('pairs', self.good[:17], np.nan, fields=_PAIR)
    self._distill({'text_columns': _PAIR}, soft_labels=(labels,), margin_weight=0.5)
    self.assertTrue(np.isfinite(student.load(self.run_dir).table).all())

  def test_three_classes_and_some_of_the_rows(self):
    labels = self._write_soft_labels('three', self.good, np.nan, num_classes=3)
    result = self._distill({'num_classes': 3}, soft_labels=(labels,), max_rows=40)
    self.assertEqual(result['step'], 4 * 3)
    found = student.load(self.run_dir).predict_logits(_GOOD_BAD)
    self.assertEqual(found.shape, (2, 3))
    self.assertGreater(found[0, 1] - found[1, 1], 0.2)  # About 0 at the start.

  def _assert_refused(self, message, schema=None, **changes):
    with self.assertRaisesRegex(ValueError, message):
      self._distill(schema, **changes)
    self.assertFalse(tf.io.gfile.exists(self.run_dir))  # The corrected command starts afresh.

  def test_refusals(self):
    self._assert_refused('--num_classes=3: expected 2, as .*labels has', {'num_classes': 3})
    self._assert_refused('--text_columns=query,title: expected text, as .*labels has', {'text_columns': _PAIR})
    self._assert_refused('no-such/manifest.json: no such file', soft_labels=('no-such',))
    self._assert_refused('gone.tsv: expected a file', train_files=('gone.tsv',))
    self._assert_refused("valid.tsv.*'stars'", {'label_column': 'stars'}, valid_files=(self.valid,))
    unset = dataclasses.replace(
      self._config(train_files=(self._write_rows('none.tsv', []),), output_dir=self.run_dir), training=config.Training()
    )
    with self.assertRaisesRegex(ValueError, 'none.tsv: expected rows, found none'):
      distillation.distill(unset)
    one_sided = self._write_rows('one.tsv', [1] * 5)
    self._assert_refused('labels: expected rows on both sides', valid_files=(one_sided,))


if __name__ == '__main__':
  absltest.main()
