"""Words start from their vectors: which words, which rows of the table, and what PCA keeps."""

from absl.testing import absltest
import numpy as np
import tensorflow as tf

from b2d import config
from b2d.models import ngrams
from b2d.models import student
from b2d.models import word_vectors
from tests import tiny_bert

_ROWS = [
  {'query': np.array([b'Red glass', b'red'], object), 'title': np.array([b'a red Saw', b'the glass'], object)},
  {'query': np.array([b'red'], object), 'title': np.array([b'saw glass'], object)},
]


def _model(dim=4, **settings) -> student.StudentModel:
  settings = config.Student(num_buckets=1 << 12, embedding_dim=dim, hidden_layers=(4,), strip_suffix=r'\Bs', **settings)
  return student.StudentModel(settings, ('query', 'title'), 2)


class WordVectorsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    checkpoint = tiny_bert.write_hugging_face(self.create_tempdir().full_path)
    self.checkpoint, self.encoder = checkpoint, word_vectors.load_encoder(checkpoint, 4)

  def test_frequent_words_are_the_students_tokens(self):
    model = _model()
    self.assertEqual(word_vectors.frequent_words(_ROWS, model.fields, model.settings), [b'red', b'glass'])

  def test_rows_of_the_words_alone_change(self):
    model = _model()
    before = model.table.numpy()
    word_vectors.start(model, self.encoder, _ROWS)
    changed = np.flatnonzero((model.table.numpy() != before).any(axis=1))
    ids = ngrams.unigram_ids(tf.constant(['red', 'glass']), model.settings).numpy()
    np.testing.assert_array_equal(changed, np.sort(ids))
    self.assertAlmostEqual(float(np.mean(np.sum(model.table.numpy()[ids] ** 2, axis=1))), 1, delta=1e-3)

  def test_vectors_behind_equal_weights(self):
    model = _model(5, weighted_pooling=True)
    word_vectors.start(model, self.encoder, _ROWS)
    started = model.table.numpy()[ngrams.unigram_ids(tf.constant(['red', 'glass']), model.settings).numpy()]
    np.testing.assert_array_equal(started[:, 0], 0)
    self.assertGreater(np.abs(started[:, 1:]).max(axis=1).min(), 0.1)

  def test_no_frequent_words(self):
    model = _model()
    before = model.table.numpy()
    word_vectors.start(model, self.encoder, _ROWS[1:])
    np.testing.assert_array_equal(model.table.numpy(), before)

  def test_wider_than_the_encoder(self):
    with self.assertRaisesRegex(ValueError, 'vectors of 32 columns: expected at most the 16 of'):
      word_vectors.load_encoder(self.checkpoint, 32)

  def test_pca_keeps_the_largest_axes_of_directions(self):
    vectors = np.random.default_rng(0).normal(size=[50, 6]) * [9, 5, 2, 1, 0.5, 0.1] + 3
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    centred = directions - directions.mean(axis=0)
    found = word_vectors.reduce(vectors.astype(np.float32), 3)
    expected = np.linalg.svd(centred, compute_uv=False)[:3]
    singular = np.linalg.svd(found, compute_uv=False)
    np.testing.assert_allclose(singular / singular[0], expected / expected[0], rtol=1e-3)
    whole = word_vectors.reduce(vectors.astype(np.float32), 6)  # As many axes: a rotation.
    np.testing.assert_allclose(whole @ whole.T, centred @ centred.T / np.mean(np.sum(centred**2, axis=1)), atol=1e-4)


if __name__ == '__main__':
  absltest.main()
