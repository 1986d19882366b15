"""Labelling loses nothing and labels nothing twice, whoever dies; imports; engines."""

import dataclasses
import functools
import multiprocessing
import os
import shutil
import time
from unittest import mock

from absl.testing import absltest
import numpy as np

from b2d import config
from b2d import lease
from b2d import progress
from b2d import runs
from b2d.data import rows
from b2d.data import shards
from b2d.data import soft_labels
from b2d.learning import copying
from b2d.learning import labeling
from b2d.learning import local_workers
from b2d.learning import precision

_NUM_ROWS = 50
_CONTEXT = multiprocessing.get_context('forkserver')  # TensorFlow is imported once for all workers.
_CONTEXT.set_forkserver_preload(['b2d.learning.labeling'])
_PROCESSES = functools.partial(local_workers.Processes, start_method='forkserver')


def _score(journal, deadly, batch, report):
  """Logits [0, number of the row]; notes the shard in the journal; dies at the text `deadly`."""
  if deadly in batch['text'].tolist() and not os.path.exists(f'{journal}.died'):
    if not deadly.endswith(b'!'):  # Else it dies each time.
      open(f'{journal}.died', 'w').close()
    os._exit(9)
  with open(journal, 'ab') as file:
    file.write(b'%b\n' % batch['text'][0])
  report(rows.size(batch))
  margins = np.array([float(text.strip(b'!')) for text in batch['text']], np.float32)
  return np.stack([np.zeros_like(margins), margins], axis=1)


def _make_scorer(journal, deadly=b'none'):
  return functools.partial(_score, journal, deadly)


def _make_slow_scorer(journal):

  def score(batch, report):
    time.sleep(0.05)
    return _score(journal, b'none', batch, report)

  return score


def _make_batch_scorer(journal):
  def score(batch, report):
    for start in range(0, rows.size(batch), 10):
      part = _score(journal, b'none', rows.take(batch, slice(start, start + 10)), report)
    return np.zeros([rows.size(batch), 2], np.float32) + part[0]

  return score


class LabelingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.input = self._path('in.txt')
    self._write_input()
    self.config = config.Label(
      input_files=(self.input,),
      teacher_dir=self._make_teacher(config.Schema(label_column='label')),
      output_dir=self._path('out'),
      rows_per_shard=8,
      num_workers=1,
      precision='float32',
    )
    self.journal = self._path('journal')
    os.makedirs(self._path('out'))
    self.enter_context(mock.patch.object(local_workers, 'Processes', _PROCESSES))
    self.enter_context(mock.patch.object(lease, '_SETTLE_SECS', 0))

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _make_teacher(self, schema):
    folder = self._path('teacher')
    shutil.rmtree(folder, ignore_errors=True)
    vocab = config.Teacher(vocab_file='vocab.txt')
    runs.start(config.Finetune(train_files=('train.tsv',), output_dir=folder, schema=schema, teacher=vocab))
    runs.write_metrics(folder, {'step': 7})
    return folder

  def _write_input(self, num_rows=_NUM_ROWS, mark=None):
    with open(self.input, 'w') as file:
      file.write(''.join(f'{n}{"!" if n == mark else ""}\n' for n in range(num_rows)))

  def _label(self, deadly=b'none', **changes):
    label_config = dataclasses.replace(self.config, **changes)
    return labeling.label(label_config, functools.partial(_make_scorer, self.journal, deadly))

  def _assert_all_labelled_once(self):
    found = rows.concatenate(list(soft_labels.read([self._path('out')])))
    self.assertEqual([int(text.strip(b'!')) for text in found['text']], list(range(_NUM_ROWS)))
    np.testing.assert_array_equal(found['logits'][:, 0, 1], np.arange(_NUM_ROWS))
    self.assertTrue(np.isnan(found['label']).all())
    with open(self.journal) as file:
      self.assertCountEqual([int(line) for line in file], range(0, _NUM_ROWS, 8))
    others = [name for name in os.listdir(self._path('out')) if not name.startswith('part-')]
    self.assertCountEqual(
      others, ['config.json', 'made_from.json', 'manifest.json', 'metrics.json', 'plan.json', 'run.flags']
    )

  def _keep_in_journal_what_is_done(self):
    """What a killed run had scored and not yet written does not count."""
    done = [name for name in os.listdir(self._path('out')) if name.endswith('.parquet')]
    with open(self.journal, 'w') as file:
      file.write(''.join(f'{int(name[5:10]) * 8}\n' for name in done))

  def test_progress_moves_with_batches_not_shards(self):
    done = []
    with mock.patch.object(progress.Progress, 'update', lambda self, count: done.append(count)):
      make_scorer = functools.partial(_make_batch_scorer, self.journal)
      labeling.label(dataclasses.replace(self.config, rows_per_shard=_NUM_ROWS), make_scorer)
    self.assertEqual(done, [0, 1, *[10] * 5])  # Planned as one piece, then labelled.

  def test_a_dry_run_says_what_it_would_take_and_writes_nothing(self):
    scored = []

    def score(batch, report):
      del report
      scored.append(rows.size(batch))
      time.sleep(0.1)

    with mock.patch.object(labeling, '_teacher_scorer', return_value=score):
      with mock.patch.multiple(labeling, _WARM_UP_ROWS=5, _ESTIMATED_ROWS=20):
        found = labeling.label(dataclasses.replace(self.config, dry_run=True, price_per_hour=2.0, phrases_per_row=1))
        with self.assertRaisesRegex(ValueError, 'in.txt:51: expected UTF-8'):
          with open(self.input, 'ab') as file:
            file.write(b'\xff\n')
          labeling.label(dataclasses.replace(self.config, dry_run=True))
    self.assertEqual(scored, [5, 20])
    self.assertEqual((found['rows'], found['shards'], found['precision']), (_NUM_ROWS, 7, 'float32'))
    self.assertBetween(found['rows_per_sec'], 50, 200)
    self.assertAlmostEqual(found['hours'], _NUM_ROWS / found['rows_per_sec'] / 3600)
    self.assertAlmostEqual(found['price'], 2 * found['hours'])
    self.assertEmpty(os.listdir(self._path('out')))
    with self.assertRaisesRegex(ValueError, '--dry_run times a --teacher_dir'):
      config.Label(scores_columns=('p',), dry_run=True)

  def test_labels_every_row(self):
    result = self._label()
    self.assertEqual(result['rows'], _NUM_ROWS)
    self._assert_all_labelled_once()
    manifest = soft_labels.read_manifest(self._path('out'))
    self.assertEqual(manifest.teachers, (self.config.teacher_dir,))
    self.assertEqual(list(manifest.shards.values()), [8] * 6 + [2])

  def test_a_finished_folder_is_left_alone(self):
    self._label()
    os.remove(self.journal)
    self.assertEqual(self._label()['rows'], _NUM_ROWS)
    self.assertFalse(os.path.exists(self.journal))

  def test_a_finished_folder_needs_its_teacher_no_more(self):
    schema = config.Schema(label_column='label', classes=('bad', 'good'))
    self._make_teacher(schema)
    self._label()
    shutil.rmtree(self.config.teacher_dir)
    self.assertEqual(self._label()['rows'], _NUM_ROWS)
    os.remove(self._path('out/metrics.json'))
    with self.assertRaisesRegex(ValueError, 'teacher: expected a run folder of b2d.finetune .*, found none'):
      self._label()

  def test_a_worker_that_dies_is_replaced(self):
    self._label(deadly=b'20', num_workers=2)
    self.assertTrue(os.path.exists(self.journal + '.died'))
    self._assert_all_labelled_once()

  def test_a_shard_that_kills_its_workers_is_reported_and_a_rerun_completes(self):
    self._write_input(mark=20)
    told = r'part-00002.parquet \(rows 17 to 24\): its worker died \(exit code 9;.* 2 times. 1 of 7 shards could not be'
    with self.assertRaisesRegex(ValueError, told):
      self._label(deadly=b'20!', num_workers=2)
    self.assertFalse(os.path.exists(self._path('out/manifest.json')))
    made = sorted(name for name in os.listdir(self._path('out')) if name.startswith('part-'))
    self.assertEqual(made, [shards.name(index) for index in (0, 1, 3, 4, 5, 6)])  # The others were not kept waiting.
    with open(self._path('out/part-00002.parquet.tmp-1'), 'w') as file:
      file.write('what a killed worker left')
    self._keep_in_journal_what_is_done()
    self._label()
    self._assert_all_labelled_once()

  def test_a_killed_run_goes_on(self):
    make_scorer = functools.partial(_make_slow_scorer, self.journal)
    process = _CONTEXT.Process(target=labeling.label, args=(self.config, make_scorer))
    process.start()
    deadline = time.time() + 60
    while not os.path.exists(self._path('out/part-00001.parquet')) and time.time() < deadline:
      time.sleep(0.01)
    process.kill()
    process.join()
    self.assertFalse(os.path.exists(self._path('out/manifest.json')))
    self._keep_in_journal_what_is_done()
    self._label()
    self._assert_all_labelled_once()

  def test_a_resumed_run_keeps_its_precision(self):
    made_with = []

    def make_teacher(folder, arithmetic, max_tokens):
      del folder, max_tokens
      made_with.append(arithmetic)
      raise KeyboardInterrupt

    automatic = dataclasses.replace(self.config, precision='auto')
    with (
      mock.patch.object(precision, 'choose', side_effect=['bfloat16', 'float32']),
      mock.patch.object(labeling, '_teacher_scorer', make_teacher),
    ):
      for _ in range(2):
        with self.assertRaises(KeyboardInterrupt):
          labeling.label(automatic)
    self.assertEqual(made_with, ['bfloat16', 'bfloat16'])
    self.assertEqual(self._label(precision='auto')['precision'], 'bfloat16')

  def test_refuses_inputs_or_a_teacher_that_changed(self):
    self._label()
    self._write_input(_NUM_ROWS + 1)
    with self.assertRaisesRegex(ValueError, r'in.txt: has changed since .*out was begun; restore'):
      self._label()
    self._write_input()
    runs.write_text(os.path.join(self.config.teacher_dir, 'vocab.txt'), 'other')
    with self.assertRaisesRegex(ValueError, r'teacher/vocab.txt: has come since'):
      self._label()

  def test_refuses_rows_that_the_teacher_does_not_fit(self):
    with self.assertRaisesRegex(ValueError, '--num_classes=3: expected 2, as .*teacher has'):
      self._label(schema=config.Schema(num_classes=3))
    with self.assertRaisesRegex(ValueError, '--text_columns=q,t: expected text, as .*teacher has'):
      self._label(schema=config.Schema(text_columns=('q', 't')))

  def test_a_file_of_another_format_is_named_before_columns_that_do_not_fit(self):
    path = self._path('tabs.csv')
    with open(path, 'w') as file:
      file.write('q\tt\nred\tred, cordless\n')
    with self.assertRaisesRegex(ValueError, 'tabs.csv:1: expected a header with commas, found tabs'):
      self._label(input_files=(path,), schema=config.Schema(text_columns=('q', 't')))

  def test_the_manifest_says_what_the_teacher_learnt(self):
    for name, schema in (
      ('graded', config.Schema(label_column='label', grades=('No:1', 'Yes:3'), relevant_from=2.5)),
      ('named', config.Schema(label_column='label', classes=('bad', 'so-so', 'good'))),
    ):
      teacher_config = config.Finetune(
        train_files=('train.tsv',),
        output_dir=self._path(name),
        schema=schema,
        teacher=config.Teacher(vocab_file='vocab.txt'),
      )
      runs.write_metrics(runs.start(teacher_config), {})
    os.makedirs(self._path('out_graded'))
    self._label(teacher_dir=self._path('graded'), output_dir=self._path('out_graded'))
    manifest = soft_labels.read_manifest(self._path('out_graded'))
    self.assertEqual((manifest.label_range, manifest.schema.relevant_target), ((1, 3), 0.5))  # Cut halfway, at 2.
    with self.assertRaisesRegex(ValueError, '--classes=good,so-so,bad: expected bad,so-so,good, as .*named has'):
      self._label(teacher_dir=self._path('named'), schema=config.Schema(classes=('good', 'so-so', 'bad')))

  def test_bad_input_leaves_no_plan(self):
    with open(self.input, 'ab') as file:
      file.write(b'\xff\n')
    with self.assertRaisesRegex(ValueError, 'in.txt:51: expected UTF-8'):
      self._label()
    self.assertFalse(os.path.exists(self._path('out/plan.json')))
    self._write_input()
    self._label()
    self._assert_all_labelled_once()

  def test_refuses_logits_that_are_not_finite_or_not_all_there(self):
    for logits, message in (
      (np.full([8, 2], np.nan), 'expected finite logits .* found 16 NaN'),
      (np.zeros([8, 3]), r'found 0 NaN in \[8, 3\]'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        labeling.label(self.config, lambda logits=logits: lambda batch, report: logits)

  def test_phrases_are_labelled_too(self):
    with open(self.input, 'w') as file:
      file.write('1 2 3 4\n5 6\n')
    journal = self.journal
    label_config = dataclasses.replace(self.config, phrases_per_row=3)
    labeling.label(label_config, lambda: lambda batch, report: np.zeros([rows.size(batch), 2], np.float32))
    found = rows.concatenate(list(soft_labels.read([self._path('out')])))
    self.assertEqual(found['id'][:3].tolist(), [b'in.txt:1', b'in.txt:2', b'in.txt:1#0'])
    self.assertFalse(os.path.exists(journal))

  def test_frequent_ngrams_are_labelled_once(self):
    with open(self.input, 'w') as file:
      file.write('a good film\na good book\na bad film\n')
    label_config = dataclasses.replace(self.config, frequent_ngrams=2)
    with mock.patch.object(copying, 'PIECE_BYTES', 1):
      labeling.label(label_config, lambda: lambda batch, report: np.zeros([rows.size(batch), 2], np.float32))
    found = rows.concatenate(list(soft_labels.read([self._path('out')])))
    self.assertEqual(found['id'][:3].tolist(), [b'in.txt:1', b'in.txt:2', b'in.txt:3'])
    self.assertCountEqual(found['text'][3:], [b'a', b'good', b'film', b'a good'])
    self.assertEqual(found['id'][3:].tolist(), [b'ngram:' + text for text in found['text'][3:]])


class ImportTest(absltest.TestCase):
  def _label(self, content, **settings):
    folder = self.create_tempdir().full_path
    path = os.path.join(folder, 'in.csv')
    with open(path, 'w') as file:
      file.write(content)
    labeling.label(config.Label(input_files=(path,), output_dir=folder, **settings))
    return rows.concatenate(list(soft_labels.read([folder])))

  def test_a_probability_of_the_positive_class(self):
    found = self._label(
      'text,p,label\na,0.8,1\nb,1,0\nc,0,1\n', scores_columns=('p',), schema=config.Schema(label_column='label')
    )
    np.testing.assert_allclose(found['logits'][:, 0, 1], [np.log(4), 13.8155, -13.8155], rtol=1e-5)
    np.testing.assert_array_equal(found['logits'][:, 0, 0], [0, 0, 0])
    np.testing.assert_array_equal(found['label'], np.float32([1, 0, 1]))

  def test_a_column_for_each_class(self):
    classes = config.Schema(num_classes=3)
    content = 'text,a,b,c\nx,0.5,0.25,0.25\n'
    found = self._label(content, scores_columns=('a', 'b', 'c'), schema=classes)
    np.testing.assert_allclose(found['logits'], np.log([[[0.5, 0.25, 0.25]]]), rtol=1e-6)
    found = self._label(content, scores_columns=('a', 'b', 'c'), scores_kind='logit', schema=classes)
    np.testing.assert_array_equal(found['logits'], np.float32([[[0.5, 0.25, 0.25]]]))

  def test_one_logit(self):
    found = self._label('text,z\na,-3.5\n', scores_columns=('z',), scores_kind='logit')
    np.testing.assert_array_equal(found['logits'], np.float32([[[0, -3.5]]]))

  def test_bad_scores(self):
    with self.assertRaisesRegex(ValueError, r'row in.csv:2: expected probabilities .* found 1.5'):
      self._label('text,p\na,0.5\nb,1.5\n', scores_columns=('p',))
    with self.assertRaisesRegex(ValueError, r"row 1: expected a number in 'p', found 'high'"):
      self._label('text,p\na,high\n', scores_columns=('p',))
    with self.assertRaisesRegex(ValueError, r'expected one for each of --num_classes=3'):
      config.Label(scores_columns=('p',), schema=config.Schema(num_classes=3))
    with self.assertRaisesRegex(ValueError, r'set --teacher_dir, or --scores_columns'):
      config.Label()


if __name__ == '__main__':
  absltest.main()
