"""The whole job through the binaries' mains: a tiny shop in, a SavedModel that scores out."""

import os
import shutil
import tempfile

from absl.testing import absltest
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import evaluate
from b2d import measure_speed
from b2d import quickstart
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.data import synthetic
from b2d.learning import training
from b2d.measures import speed
from b2d.models import student
from b2d.models import trained
from export import __main__ as export
from flags import binary
from tests import command_line
from tests import soft_label_folders
from tests import tiny_bert

_SHOP = synthetic.ShopConfig(
  num_products=80,
  num_labeled_queries=24,
  num_valid_queries=12,
  num_test_queries=12,
  num_log_queries=60,
  titles_per_query=4,
)
_ROWS = {'text_columns': ['query', 'title'], 'label_column': 'grade', 'label_range': ['1', '3'], 'relevant_from': 2.5}
_TEACHER = {
  'num_layers': 2,
  'hidden_size': 16,
  'num_attention_heads': 2,
  'intermediate_size': 32,
  'max_seq_length': 24,
  'dropout': 0.0,
  'num_train_epochs': 1.0,
  'learning_rate': 1e-2,
  'pooling': 'mean',
}
_STUDENT = {
  'num_buckets': 512,
  'embedding_dim': 8,
  'hidden_layers': ['8'],
  'train_batch_size': 32,
  'num_train_epochs': 2.0,
}


class PipelineTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value)
    cls.addClassCleanup(tf.io.gfile.rmtree, folder)
    cls.shop = synthetic.write_shop(os.path.join(folder, 'shop'), _SHOP)
    cls.dirs = {
      name: os.path.join(folder, name)
      for name in ('teacher', 'soft_labels', 'student', 'baseline', 'evaluation', 'export')
    }
    with open(cls.shop['titles'], encoding='utf-8') as file:
      words = sorted(set(file.read().lower().split()))
    cls.vocab_file = tiny_bert.write_vocab(folder, tuple(dict.fromkeys((*tiny_bert.VOCAB, *words))))
    cls.said = {name: cls._run(*step) for name, step in cls._steps().items()}

  @classmethod
  def _steps(cls):
    """{output folder: (binary, its flags, values)} in order."""
    shop, dirs = cls.shop, cls.dirs
    valid = {**_ROWS, 'valid_files': [shop['valid']]}
    models = [f'{name}={dirs[name]}' for name in ('teacher', 'student', 'baseline', 'export')]
    steps = {
      'teacher': (
        config.Finetune,
        binary.summary,
        {**valid, **_TEACHER, 'vocab_file': cls.vocab_file, 'train_files': [shop['train']]},
      ),
      'soft_labels': (
        config.Label,
        binary.summary,
        {
          'text_columns': _ROWS['text_columns'],
          'teacher_dir': dirs['teacher'],
          'num_workers': 1,
          'input_files': [shop['unlabeled']],
          'rows_per_shard': 100,
        },
      ),
      'student': (config.Distill, binary.summary, {**valid, **_STUDENT, 'soft_labels': [dirs['soft_labels']]}),
      'baseline': (config.Distill, binary.summary, {**valid, **_STUDENT, 'train_files': [shop['train']]}),
      'export': (config.Export, export.show, {'model': dirs['student']}),
      'evaluation': (
        config.Evaluate,
        evaluate.show,
        {**_ROWS, 'models': models, 'reference': 'teacher', 'files': [shop['test']]},
      ),
    }
    for name, (_, _, values) in steps.items():
      values['output_dir'] = dirs[name]
    return steps

  @classmethod
  def _run(cls, config_class, show, values) -> str:
    """What the binary says on stdout."""
    return command_line.run(config_class, show, **values)

  def _lines(self, split) -> list[str]:
    with open(self.shop[split], encoding='utf-8') as file:
      return file.read().splitlines()[1:]

  def _written(self, name) -> dict[str, int]:
    """Every file of a run folder with the time when it was written."""
    return {
      os.path.join(folder, file): os.stat(os.path.join(folder, file)).st_mtime_ns
      for folder, _, files in os.walk(self.dirs[name])
      for file in files
    }

  def test_every_step_leaves_its_result(self):
    for name in ('teacher', 'soft_labels', 'student', 'baseline', 'evaluation'):
      self.assertTrue(runs.finished(self.dirs[name]), name)
      self.assertEmpty([path for path in self._written(name) if '.tmp-' in path])
    for name in ('teacher', 'soft_labels', 'student', 'baseline', 'export'):
      self.assertRegex(self.said[name], f'^{self.dirs[name]}[:/].*\n')
    for name in ('teacher', 'student', 'baseline'):
      self.assertTrue(os.listdir(os.path.join(self.dirs[name], 'events')))

  def test_every_row_of_the_log_is_labelled(self):
    expected = [tuple(line.split('\t')) for line in self._lines('unlabeled')]
    manifest = soft_labels.read_manifest(self.dirs['soft_labels'])
    self.assertEqual((manifest.num_rows, len(manifest.shards)), (len(expected), 3))
    found = rows.concatenate(list(soft_labels.read([self.dirs['soft_labels']])))
    self.assertEqual(
      [(query.decode(), title.decode()) for query, title in zip(found['query'], found['title'])], expected
    )
    arithmetic = runs.read_json(os.path.join(self.dirs['soft_labels'], 'metrics.json'))['precision']
    logits = trained.load(self.dirs['teacher'], precision=arithmetic).logits(found)
    tolerance = {'float32': 1e-4, 'bfloat16': 0.05}[arithmetic]
    np.testing.assert_allclose(found['logits'][:, 0], logits, atol=tolerance)
    self.assertGreater(np.ptp(logits[:, 1] - logits[:, 0]), 1e-3)

  def test_evaluation_of_all_models(self):
    result = runs.read_json(os.path.join(self.dirs['evaluation'], 'metrics.json'))
    models = result['models']
    self.assertLen(self._lines('test'), result['rows'])
    self.assertEqual(
      {name: values['kind'] for name, values in models.items()},
      {'teacher': 'teacher', 'student': 'student', 'baseline': 'student', 'export': 'saved_model'},
    )
    for measure in ('auc', 'accuracy', 'log_loss'):
      self.assertAlmostEqual(models['export'][measure], models['student'][measure], delta=0.01)
    for name in models:
      self.assertIn(name, self.said['evaluation'])
    self.assertIn('| teacher (BERT) |', quickstart.table(self.dirs['evaluation']))

  def test_saved_model_scores_as_the_student(self):
    batch = {
      'query': np.array([b'red couch', b''], dtype=object),
      'title': np.array([b'Sofa, red', '日本'.encode()], dtype=object),
    }
    served = tf.saved_model.load(os.path.join(self.dirs['export'], '1'))
    found = served.signatures['serving_default'](**{name: tf.constant(values) for name, values in batch.items()})
    expected = student.load(self.dirs['student']).predict_logits(batch)[:, 1]
    np.testing.assert_allclose(found['logit'], expected, atol=0.02)  # The table is bfloat16.
    self.assertEqual(found['probability'].shape, [2])

  def test_speed_of_each_way(self):
    said = command_line.run(
      config.MeasureSpeed,
      measure_speed.show,
      measure_speed.measure_speed,
      **{
        'soft_labels': [self.dirs['soft_labels']],
        'teacher_dir': self.dirs['teacher'],
        'table_buckets': ['512'],
        'label_rows': 8,
        'padded_length': 32,
        'embedding_dim': 8,
        'hidden_layers': ['8'],
      },
    )
    lines = said.splitlines()[2:-1]
    self.assertEqual(
      [line.split(' | ')[0] for line in lines],
      [
        '| train a student, 512 buckets',
        '| label, padded to 32, float32',
        '| label, by length, float32',
        '| label, by length, bfloat16',
      ],
    )
    for line in lines:
      self.assertRegex(line, r'( \| [1-9][\d,]*){2} \|$')

  def test_speed_of_what_does_not_fit_is_refused_at_once(self):
    begun = self.create_tempdir().full_path
    shutil.copy(os.path.join(self.dirs['teacher'], 'config.json'), begun)
    texts = soft_label_folders.write(os.path.join(begun, 'texts'), range(3), teacher=0)
    for folder, teacher_dir, message in (
      (self.dirs['soft_labels'], begun, 'expected a finished run'),
      (texts, self.dirs['teacher'], 'expected a teacher of 1 texts and 2 classes'),
    ):
      settings = config.MeasureSpeed(soft_labels=(folder,), teacher_dir=teacher_dir)
      with self.assertRaisesRegex(ValueError, message):
        next(speed.measure(settings))

  def test_steps_repeated_reuse_what_is_there(self):
    for name, step in self._steps().items():
      before = self._written(name)
      with absltest.mock.patch.object(training, 'fit') as fit:
        self.assertEqual(self._run(*step), self.said[name])
      fit.assert_not_called()
      self.assertEqual(self._written(name), before)


if __name__ == '__main__':
  absltest.main()
