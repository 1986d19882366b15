"""b2d.finetune on a tiny BERT: learns, resumes, is loaded again; what it refuses."""

import dataclasses
import os
import tempfile

from absl import app
from absl.testing import absltest
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import shards as shards_lib
from b2d.data import soft_labels
from b2d.learning import finetuning
from b2d.learning import precision
from b2d.learning import training
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import teacher
from tests import command_line
from tests import tiny_bert

_GOOD, _BAD = ('good', 'funny', 'very good'), ('bad', 'dull', 'not good')


def _rows(num_rows, seed):
  rng = np.random.default_rng(seed)
  for _ in range(num_rows):
    label = int(rng.integers(2))
    word = rng.choice((_BAD, _GOOD)[label])
    yield f'the film was {word} ' + 'it is a film ' * rng.integers(3), label


class FinetuneTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value)
    cls.addClassCleanup(tf.io.gfile.rmtree, cls.folder)
    cls.train = cls._write('train.tsv', _rows(96, 1))
    cls.valid = cls._write('valid.tsv', _rows(32, 2))
    cls.checkpoint = tiny_bert.write_hugging_face(os.path.join(cls.folder, 'bert'))
    cls.output_dir = os.path.join(cls.folder, 'whole')
    cls.whole = finetuning.finetune(cls._config(output_dir=cls.output_dir))

  def setUp(self):
    super().setUp()
    self.new_dir = os.path.join(self.create_tempdir().full_path, 'teacher')

  @classmethod
  def _write(cls, name, rows, header=('text', 'label')):
    path = os.path.join(cls.folder, name)
    with open(path, 'w', encoding='utf-8') as file:
      file.writelines('\t'.join(str(cell) for cell in row) + '\n' for row in (header, *rows))
    return path

  @classmethod
  def _config(cls, schema=None, teacher_settings=None, **changes):
    tiny = {'init_checkpoint': cls.checkpoint, 'max_seq_length': 16, 'dropout': 0.0, 'num_layers': 1, 'pooling': 'cls'}
    return config.Finetune(
      train_files=(changes.get('train', cls.train),),
      valid_files=changes.get('valid', (cls.valid,)),
      output_dir=changes['output_dir'],
      schema=config.Schema(**{'label_column': 'label', **(schema or {})}),
      teacher=config.Teacher(**{**tiny, **(teacher_settings or {})}),
      precision=changes.get('precision', 'float32'),
      training=config.Training(
        train_batch_size=16,
        learning_rate=changes.get('learning_rate', 1e-2),
        num_train_epochs=changes.get('epochs', 4),
        eval_every=5,
      ),
    )

  def test_learns_and_is_loaded_again(self):
    self.assertGreater(self.whole['auc'], 0.9)
    loaded = teacher.load(self.output_dir)
    logits = loaded.predict_logits({'text': np.array([b'the film was funny', b'the film was dull'], object)})
    self.assertGreater(logits[0, 1] - logits[0, 0], logits[1, 1] - logits[1, 0])
    self.assertEqual(runs.read_json(os.path.join(self.output_dir, 'metrics.json')), self.whole)

  def test_run_folder_needs_no_checkpoint(self):
    copy = os.path.join(self.folder, 'moved')
    tf.io.gfile.rename(self.checkpoint, copy)
    self.addCleanup(tf.io.gfile.rename, copy, self.checkpoint)
    self.assertEqual(teacher.load(self.output_dir).num_classes, 2)

  def test_main_reuses_a_finished_run(self):
    values = config.to_flat(self._config(output_dir=self.output_dir))
    for name, value in values.items():
      if isinstance(value, tuple):
        values[name] = [str(item) for item in value]
    with absltest.mock.patch.object(training, 'fit') as fit:
      command_line.run(config.Finetune, **values)
    fit.assert_not_called()

  def test_resumed_run_equals_uninterrupted(self):
    run_config = self._config(output_dir=self.new_dir)
    held_out = metrics.held_out
    # The first call is the check of the labels before the training.
    killed = absltest.mock.Mock(side_effect=[{}, held_out, KeyboardInterrupt])

    def until_killed(*args):
      step = killed()
      return step(*args) if callable(step) else step

    with absltest.mock.patch.object(metrics, 'held_out', until_killed):
      with self.assertRaises(KeyboardInterrupt):
        finetuning.finetune(run_config)
    self.assertFalse(runs.finished(self.new_dir))
    resumed = finetuning.finetune(run_config)
    for name in ('step', 'auc', 'log_loss'):
      self.assertAlmostEqual(resumed[name], self.whole[name], places=5)

  def test_auto_is_on_record_and_kept(self):
    # A run that was begun in bfloat16 goes on so, wherever that may be.
    with absltest.mock.patch.object(precision, 'choose', return_value='bfloat16') as choose:
      with absltest.mock.patch.object(training, 'fit', side_effect=KeyboardInterrupt):
        with self.assertRaises(KeyboardInterrupt):
          finetuning.finetune(self._config(output_dir=self.new_dir, precision='auto'))
      with absltest.mock.patch.object(teacher, 'build', wraps=teacher.build) as build:
        result = finetuning.finetune(self._config(output_dir=self.new_dir, precision='auto'))
    self.assertEqual(choose.call_count, 1)
    self.assertEqual(build.call_args.args[-1], 'bfloat16')
    self.assertEqual(result['precision'], 'bfloat16')

  def test_auto_times_the_steps_of_both(self):
    with (
      absltest.mock.patch.object(precision, '_layer_ratio', return_value=1.0),
      self.assertLogs('absl', level='INFO') as logs,
    ):
      result = finetuning.finetune(self._config(output_dir=self.new_dir, precision='auto', epochs=1))
    self.assertIn(result['precision'], config.groups.PRECISIONS)
    self.assertIn(f'--precision=auto: {result["precision"]}; a small batch takes', '\n'.join(logs.output))

  def test_learns_from_another_teacher(self):
    # Of texts that only the other teacher has seen labelled; the hard labels beside them say the contrary.
    texts, labels = zip(*_rows(96, 4))
    batch = {
      'id': np.array([b'%d' % i for i in range(96)], object),
      'text': np.array([text.encode() for text in texts], object),
      'label': 1 - np.float32(labels),
      'logits': np.float32([[[4.0, -4.0], [-4.0, 4.0]][label] for label in labels])[:, None],
    }
    folder = os.path.join(self.create_tempdir().full_path, 'soft_labels')
    os.makedirs(folder)
    soft_labels.write_shard(folder, 0, batch)
    soft_labels.write_manifest(folder, soft_labels.Manifest(('other',), 2, ('text',), {shards_lib.name(0): 96}))

    def auc(share):
      run_config = self._config(output_dir=f'{self.new_dir}-{share}')
      return finetuning.finetune(
        dataclasses.replace(run_config, train_files=(), soft_labels=(folder,), temperature=2.0, hard_label_share=share)
      )['auc']

    self.assertGreater(auc(0.0), 0.85)
    # The best weights are those before anything was learnt: all of it is wrong.
    self.assertLess(auc(1.0), 0.7)

  def test_goes_on_from_a_teacher(self):
    before = teacher.load(self.output_dir).predict_logits({'text': np.array([b'a good film'], object)})
    settings = {'init_checkpoint': self.output_dir}
    # Its head too is taken over: with next to no learning it says what it said.
    finetuning.finetune(self._config(teacher_settings=settings, output_dir=self.new_dir, learning_rate=1e-9, epochs=1))
    after = teacher.load(self.new_dir).predict_logits({'text': np.array([b'a good film'], object)})
    np.testing.assert_allclose(after, before, atol=1e-5)
    with self.assertRaisesRegex(ValueError, 'the weights do not fit'):
      teacher.build(config.Teacher(init_checkpoint=self.output_dir, max_seq_length=16, pooling='cls'), 3)

  def test_graded_pairs(self):
    lines = [('red shoe', f'red shoe {i}', 1 + i % 3 * 0.75) for i in range(40)]
    path = self._write('pairs.tsv', lines, ('query', 'title', 'grade'))
    schema = {
      'text_columns': ('query', 'title'),
      'label_column': 'grade',
      'label_range': (1.0, 3.0),
      'relevant_from': 2.5,
    }
    result = finetuning.finetune(self._config(schema, train=path, valid=(path,), epochs=1, output_dir=self.new_dir))
    self.assertLessEqual({'spearman', 'ece', 'ece_calibrated'}, set(result))
    self.assertTrue(os.path.exists(calibration.path(self.new_dir)))
    self.assertEqual(teacher.load(self.new_dir).fields, ('query', 'title'))

  def test_named_classes_and_bad_rows(self):
    lines = [(text, ('Bad', 'good')[label]) for text, label in _rows(40, 3)]
    path = self._write('named.tsv', [*lines, ('unlabelled', ''), ('wrong', 'gooood'), ('short',)])
    schema = {'classes': ('bad', 'good'), 'max_bad_rows': 2}
    result = finetuning.finetune(self._config(schema, train=path, valid=(path,), epochs=1, output_dir=self.new_dir))
    self.assertEqual(result['bad_rows'], 2)
    self.assertTrue(os.path.exists(os.path.join(self.new_dir, 'rejected.jsonl')))
    self.assertEqual(runs.read_json(os.path.join(self.new_dir, 'metrics.json')), result)

  def test_three_classes_without_held_out_rows(self):
    path = self._write('classes.tsv', [('good bad dull'.split()[i % 3], i % 3) for i in range(40)])
    result = finetuning.finetune(
      self._config({'num_classes': 3}, train=path, valid=(), epochs=1, output_dir=self.new_dir)
    )
    self.assertEqual(set(result), {'step', 'seconds', 'rows_per_sec', 'precision'})
    self.assertEqual(teacher.load(self.new_dir).num_classes, 3)

  def _assert_refused(self, message, schema=None, **changes):
    with self.assertRaisesRegex(ValueError, message):
      finetuning.finetune(self._config(schema, output_dir=self.new_dir, **changes))
    # The corrected command finds nothing in its way.
    self.assertFalse(tf.io.gfile.exists(self.new_dir))

  def test_bad_rows(self):
    self._assert_refused("train.tsv.*'polarity'", {'label_column': 'polarity'})
    self._assert_refused('nothing-.*tsv', train=os.path.join(self.folder, 'nothing-*.tsv'))
    self._assert_refused('bad.tsv:2: expected a class from 0 to 1', train=self._write('bad.tsv', [('good', 7)]))
    one_class = self._write('one.tsv', [('good', 1)] * 3)
    self._assert_refused('labels: expected rows on both sides', valid=(one_class,))

  def test_bad_checkpoint(self):
    vocab_file = tiny_bert.write_vocab(os.path.join(self.folder, 'other'), tiny_bert.VOCAB + ('more',))
    self._assert_refused('expected the 40 word pieces of .*, found 41', teacher_settings={'vocab_file': vocab_file})
    other = tiny_bert.write_hugging_face(os.path.join(self.folder, 'wide'), hidden_size=32)
    self._assert_refused('the checkpoint is of another shape', teacher_settings={'init_checkpoint': other})

  def test_folder_of_another_configuration(self):
    with self.assertRaisesRegex(ValueError, 'holds a run of another --learning_rate; remove it or choose'):
      finetuning.finetune(self._config(output_dir=self.output_dir, learning_rate=1e-3))

  def test_needs_labels_and_a_vocabulary(self):
    with self.assertRaisesRegex(ValueError, 'set --label_column'):
      self._config({'label_column': ''}, output_dir='x')
    with self.assertRaisesRegex(ValueError, 'set --init_checkpoint, or --vocab_file'):
      self._config(teacher_settings={'init_checkpoint': ''}, output_dir='x')

  def test_flags_that_contradict(self):
    for changes, message in (
      ({}, 'set --train_files, which have labels, or --soft'),
      ({'train_files': 'z'}, 'set --label_column'),
      ({'soft_labels': 'z', 'temperature': 'auto'}, '--temperature=auto: expected a positive number'),
      ({'soft_labels': 'z', 'hard_label_share': 1.5}, r'--hard_label_share must be in \[0, 1\]'),
    ):
      with self.assertRaisesRegex(app.UsageError, message):
        command_line.run(config.Finetune, output_dir='x', init_checkpoint='y', **changes)


if __name__ == '__main__':
  absltest.main()
