"""b2d.explain from flags to what the shell shows, over a SavedModel that counts words, and a student."""

import os
import tempfile

from absl import app
from absl import flags
from absl.testing import absltest
import tensorflow as tf

import b2d
from b2d import config
from b2d import explain
from b2d import runs
from b2d.models import student
from tests import command_line


class _CountsWords(tf.Module):
  """Logit: a factor times the number of words."""

  def __init__(self, factor):
    super().__init__()
    self.factor = tf.Variable(float(factor))

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name='text')])
  def serve(self, text):
    return {'logit': self.factor * tf.cast(tf.strings.split(text).row_lengths(), tf.float32)}


class ExplainTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value)
    cls.addClassCleanup(tf.io.gfile.rmtree, folder)
    cls.words, cls.teacher, cls.student = (os.path.join(folder, name) for name in ('words', 'teacher', 'student'))
    for factor, path in ((1, cls.words), (3, cls.teacher)):
      model = _CountsWords(factor)
      tf.saved_model.save(model, path, {'serving_default': model.serve})
    schema = config.Schema(text_columns=('query', 'title'))
    settings = config.Student(num_buckets=64, embedding_dim=4, hidden_layers=(4,))
    runs.start(config.Distill(soft_labels=('labels',), student=settings, schema=schema, output_dir=cls.student))
    model = student.StudentModel(settings, ('query', 'title'), 2)
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, os.path.join(cls.student, 'best'), max_to_keep=1).save()

  def _run(self, **values):
    return command_line.run(config.Explain, explain.show, **values)

  def test_words_beside_the_teacher(self):
    said = self._run(model=self.words, teacher=self.teacher, text=['good, dull film', 'it'])
    self.assertIn('text: good, dull film\nmodel: probability 0.953, log-odds +3.00\nteacher: ', said)
    self.assertIn('      +1.00    +3.00  text: dull\n', said)
    self.assertTrue(said.endswith('text: it\n'))
    self.assertNotIn('n-grams', said)

  def test_pairs_of_a_student(self):
    said = self._run(model=self.student, query='red shoe', title=['red boot', 'hat'])
    self.assertIn('query: red shoe\ntitle: hat\nmodel: probability 0.', said)
    self.assertIn('matches: red (the title has)', said)
    self.assertLen(b2d.load(self.student).explain(query='red', title='hat').words, 2)

  def test_rows_of_a_file(self):
    file = self.create_tempfile('rows.tsv', 'text\nvery good\ndull\n').full_path
    self.assertIn('text: very good\n', self._run(model=self.words, files=[file]))

  def test_bad_input(self):
    with self.assertRaisesRegex(ValueError, 'the model reads query, title, found text; set --query and --title'):
      self._run(model=self.student, text=['a'])
    with self.assertRaisesRegex(app.UsageError, 'set one of --title .* found none'):
      self._run(model=self.words)
    with self.assertRaisesRegex(app.UsageError, 'found --title and --text'):
      self._run(model=self.words, text=['a'], title=['a'])
    with self.assertRaisesRegex(ValueError, 'expected query, title, found no title'):
      b2d.load(self.student).explain(query='a')


if __name__ == '__main__':
  flags.FLAGS.mark_as_parsed()
  absltest.main()
