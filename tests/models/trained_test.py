"""Every kind of model folder is found, loaded and scored."""

import os

from absl.testing import absltest
import numpy as np
import tensorflow as tf

import b2d
from b2d import config
from b2d import runs
from b2d.models import calibration
from b2d.models import student
from b2d.models import teacher
from b2d.models import trained
from tests import tiny_bert

_BATCH = {'text': np.array([b'good film', b'dull film', b''], object)}


class _LengthModel(tf.Module):
  """Logit: the length of the text less a constant."""

  def __init__(self, constant):
    super().__init__()
    self.constant = tf.Variable(float(constant))

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='text')])
  def serve(self, text):
    logit = tf.cast(tf.strings.length(text), tf.float32) - self.constant
    return {'logit': logit, 'probability': tf.sigmoid(logit)}

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='text')])
  def serve_classes(self, text):
    return {'logit': tf.one_hot(tf.strings.length(text) % 3, 3)}


class TrainedTest(absltest.TestCase):
  def _save_best(self, model, folder):
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), os.path.join(folder, 'best'), max_to_keep=1).save()

  def test_teacher(self):
    folder = self.create_tempdir().full_path
    checkpoint = tiny_bert.write_hugging_face(os.path.join(folder, 'bert'))
    settings = config.Teacher(init_checkpoint=checkpoint, max_seq_length=16)
    model = teacher.build(settings, num_classes=2)
    run = runs.start(
      config.Finetune(
        train_files=('train.tsv',),
        output_dir=os.path.join(folder, 'run'),
        teacher=settings,
        schema=config.Schema(label_column='label'),
      )
    )
    model.save_description(run)
    self._save_best(model, run)
    found = trained.load(run)
    self.assertEqual((found.kind, found.fields), ('teacher', ('text',)))
    np.testing.assert_allclose(found.logits(_BATCH), model.predict_logits(_BATCH), rtol=1e-5)
    self.assertEqual(found.calibration, calibration.Calibration())

  def test_of_grades_the_probability_is_that_of_the_relevant_ones_without_a_calibration_too(self):
    schema = config.Schema(label_column='grade', label_range=(1.0, 3.0), relevant_from=2.5)
    settings = config.Student(num_buckets=64, embedding_dim=4, hidden_layers=(4,))
    run = runs.start(
      config.Distill(
        soft_labels=('labels',), student=settings, schema=schema, output_dir=self.create_tempdir().full_path
      )
    )
    self._save_best(student.StudentModel(settings, ('text',), num_classes=2), run)
    found = trained.load(run)
    expected_grade = 1 / (1 + np.exp(-found.logits(_BATCH)[:, 1]))  # From 0 to 1.
    odds = expected_grade / (1 - expected_grade) / 3  # At 0.75, where grade 2.5 lies, they are even.
    np.testing.assert_allclose(found.probability(_BATCH), odds / (1 + odds), rtol=1e-6)

  def test_student(self):
    settings = config.Student(num_buckets=64, embedding_dim=4, hidden_layers=(4,))
    model = student.StudentModel(settings, ('text',), num_classes=2)
    run = runs.start(
      config.Distill(soft_labels=('labels',), student=settings, output_dir=self.create_tempdir().full_path)
    )
    self._save_best(model, run)
    runs.write_text(calibration.path(run), '{"scale": 0.5, "offset": 0.25}')
    found = trained.load(run)
    self.assertEqual((found.kind, found.fields), ('student', ('text',)))
    np.testing.assert_array_equal(found.logits(_BATCH), model.predict_logits(_BATCH))
    self.assertEqual(found.calibration, (0.5, 0.25))
    margins = found.logits(_BATCH)[:, 1] - found.logits(_BATCH)[:, 0]
    np.testing.assert_allclose(found.probability(_BATCH), 1 / (1 + np.exp(-0.5 * margins - 0.25)), rtol=1e-6)
    self.assertFalse(found.finished)
    runs.write_metrics(run, {})
    self.assertTrue(trained.load(run).finished)

  def test_texts_as_a_notebook_has_them(self):
    folder = self.create_tempdir().full_path
    model = _LengthModel(0)
    tf.saved_model.save(model, folder, {'serving_default': model.serve})
    found = b2d.load(folder)
    np.testing.assert_array_equal(
      found.logits(text=['a', 'é']), found.logits({'text': [b'a', 'é'.encode()], 'id': [1]})
    )
    self.assertEqual(found.logits(text=[]).shape, (0, 2))
    np.testing.assert_allclose(found.probability(text=['abc']), 1 / (1 + np.exp(-found.logits(text=['abc'])[:, 1])))
    for texts, message in (
      ({'query': ['a']}, 'expected text, found no text'),
      ({'text': 'abc'}, "expected a list of texts, found one: 'abc'"),
    ):
      with self.assertRaisesRegex(ValueError, message):
        found.logits(**texts)

  def test_saved_model_of_the_highest_version(self):
    folder = self.create_tempdir().full_path
    for version in (9, 10):
      model = _LengthModel(version)
      tf.saved_model.save(model, os.path.join(folder, str(version)), {'serving_default': model.serve})
    extra = os.path.join(folder, '10', 'assets.extra')
    tf.io.gfile.makedirs(extra)
    with open(os.path.join(extra, 'calibration.json'), 'w', encoding='utf-8') as file:
      file.write('{"scale": 2.0, "offset": 1.0}')
    found = trained.load(folder)
    self.assertEqual((found.kind, found.fields), ('saved_model', ('text',)))
    np.testing.assert_array_equal(found.logits(_BATCH), [[0, -1], [0, -1], [0, -10]])
    self.assertEqual(found.calibration, (2.0, 1.0))

  def test_saved_model_of_three_classes(self):
    folder = self.create_tempdir().full_path
    model = _LengthModel(0)
    tf.saved_model.save(model, folder, {'serving_default': model.serve_classes})
    np.testing.assert_array_equal(trained.load(folder).logits(_BATCH), [[1, 0, 0], [1, 0, 0], [1, 0, 0]])

  def test_saved_model_without_the_signature_is_an_error(self):
    folder = self.create_tempdir().full_path
    model = _LengthModel(0)
    tf.saved_model.save(model, folder, {'other': model.serve})
    with self.assertRaisesRegex(ValueError, r"serving_default .* logit, found \['other'\]"):
      trained.load(folder)

  def test_no_model_is_an_error(self):
    with self.assertRaisesRegex(ValueError, 'expected a run folder .* or a SavedModel'):
      trained.load(self.create_tempdir().full_path)
    with self.assertRaisesRegex(ValueError, 'nowhere: expected'):
      trained.load('nowhere')


if __name__ == '__main__':
  absltest.main()
