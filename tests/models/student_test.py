"""The student network against numpy; batches, saving, start from a teacher's words."""

import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.models import ngrams
from b2d.models import student

_PAIR = ('query', 'title')


def _texts(*strings) -> np.ndarray:
  return np.array([string.encode() for string in strings], dtype=object)


_BATCH = {'query': _texts('red shoe', '', 'saw', 'drill 18v'), 'title': _texts('A red boot', 'box', '', '18V drill')}


def _student(fields=_PAIR, num_classes=2, seed=1, **settings) -> student.StudentModel:
  settings = {'num_buckets': 64, 'embedding_dim': 8, 'hidden_layers': (6, 5), **settings}
  return student.StudentModel(config.Student(**settings), fields, num_classes, seed)


def _reference(model, batch) -> np.ndarray:
  """Logits by loops: weighted sums of rows over the root of the squared weights, side by side, product, layers."""
  bags = model.featurize({field: tf.constant(batch[field], tf.string) for field in model.fields})
  table, num_rows = model.table.numpy(), len(batch[model.fields[0]])
  weights = np.ones(len(table))
  if model.settings.weighted_pooling:
    weights, table = np.exp(np.clip(4 * table[:, 0], -4, 4)), table[:, 1:]
  pooled = np.zeros([len(model.kinds) * num_rows, table.shape[1]])
  for bag in range(len(pooled)):
    ids = bags.ids.numpy()[bags.segment_ids.numpy() == bag]
    if len(ids):
      pooled[bag] = weights[ids] @ table[ids] / np.sqrt(np.sum(weights[ids] ** 2))
  parts = np.split(pooled, len(model.kinds))
  dense = model.dense
  if model.settings.soft_match:
    rows = zip(batch['query'], batch['title'])
    parts.append(np.stack([_soft_match(model, *texts) for texts in rows]))
  if len(model.fields) == 2 and model.settings.product:
    parts.append(parts[0] * parts[1])
  if model.settings.convolution_filters:
    convolution, *dense = dense
    parts.append(np.stack([_convolution(model, text, *convolution.get_weights()) for text in batch['text']]))
  hidden = np.concatenate(parts, axis=1)
  for layer in dense:
    kernel, bias = layer.get_weights()
    hidden = hidden @ kernel + bias
    if layer is not model.dense[-1]:
      hidden = np.maximum(hidden, 0)
  return hidden


def _convolution(model, text, kernel, bias) -> np.ndarray:
  """Largest response of every filter over the windows of one text, which end in the marks of a text behind it."""
  settings, table = model.settings, model.poolable(model.table).rows.numpy()
  ids = model.featurize({'text': tf.constant([text])}).ids.numpy()[:: len(settings.ngram_orders)]
  vectors = table[np.concatenate([ids, ids[: settings.convolution_width - 1]]), -settings.vector_dim :]
  windows = [vectors[i : i + settings.convolution_width].ravel() for i in range(len(ids))]
  return np.maximum(windows @ kernel + bias, 0).max(axis=0)


def _soft_match(model, query, title) -> np.ndarray:
  """Vectors of a query's matches, each as often as its token's cosine with the nearest of the title's tokens says."""
  bags = model.featurize({'query': tf.constant([query]), 'title': tf.constant([title])})
  rows = model.poolable(model.table).rows.numpy()[bags.ids.numpy(), -model.settings.vector_dim :]
  of_title, of_query, matches = (rows[bags.segment_ids.numpy() == bag] for bag in range(3))
  of_title, of_query = (
    vectors[:: len(model.settings.ngram_orders)][:limit] @ model.turn.numpy()
    for vectors, limit in ((of_title, 32), (of_query, 16))
  )
  of_title, of_query = (
    vectors / np.sqrt(np.maximum(np.sum(vectors**2, axis=1, keepdims=True), 1e-4)) for vectors in (of_title, of_query)
  )
  # A title is padded with zeros, unless it is cut: there is always something at a right angle.
  cosines = np.concatenate([of_query @ of_title.T, np.zeros([len(of_query), int(len(of_title) < 32)])], axis=1)
  return cosines.max(axis=1) @ matches[:16]


class StudentTest(parameterized.TestCase):
  @parameterized.parameters(
    (_PAIR, 2, {}),
    (_PAIR, 4, {}),
    (_PAIR, 2, {'match': False}),
    (_PAIR, 2, {'product': False}),
    (_PAIR, 2, {'weighted_pooling': True}),
    (_PAIR, 2, {'soft_match': True}),
    (_PAIR, 3, {'soft_match': True, 'ngram_orders': (1, 2, 3), 'weighted_pooling': True, 'product': False}),
    (('text',), 2, {'weighted_pooling': True}),
    (('text',), 3, {}),
    (('text',), 2, {'hidden_layers': ()}),
    (('text',), 2, {'convolution_filters': 5, 'weighted_pooling': True}),
    (('text',), 3, {'convolution_filters': 5, 'convolution_width': 2, 'ngram_orders': (2, 1)}),
  )
  def test_logits_as_the_reference(self, fields, num_classes, settings):
    model = _student(fields, num_classes, **settings)
    model.table.assign_add(tf.random.stateless_normal(model.table.shape, [3, 4]))  # Weights that differ, some cut off.
    batch = _BATCH if fields == _PAIR else {'text': _BATCH['title']}
    expected = _reference(model, batch)
    if num_classes == 2:
      expected = np.concatenate([np.zeros([4, 1]), expected], axis=1)
    found = model.predict_logits(batch)
    self.assertEqual((found.dtype, found.shape), (np.float32, (4, num_classes)))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    self.assertGreater(np.ptp(found[:, -1]), 1e-4)

  def test_unique_rows(self):
    model = _student()
    batch = model.featurize_unique(*(tf.constant(_BATCH[field], tf.string) for field in _PAIR))
    self.assertLen(set(batch['rows'].numpy()), len(batch['rows']))

  def test_gradient_of_a_convolution(self):
    model = _student(('text',), convolution_filters=5, weighted_pooling=True)
    batch = model.featurize_unique(tf.constant(_BATCH['title'], tf.string))
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model.logits_of(batch))
    table, kernel = tape.gradient(loss, [model.table, model.dense[0].kernel])
    self.assertCountEqual(table.indices.numpy(), batch['rows'].numpy())  # Each row once, as LazyAdam needs it.
    self.assertGreater(np.abs(kernel).max(), 1e-6)

  def test_gradient_of_a_soft_match(self):
    model = _student(soft_match=True)
    model.table.assign_add(tf.random.stateless_normal(model.table.shape, [3, 4]))
    batch = model.featurize_unique(*(tf.constant(_BATCH[field], tf.string) for field in _PAIR))
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(model.logits_of(batch))
    table, turn = tape.gradient(loss, [model.table, model.turn])
    self.assertCountEqual(table.indices.numpy(), batch['rows'].numpy())
    self.assertGreater(np.abs(turn).max(), 1e-6)

  def test_a_soft_match_cuts_long_texts(self):
    model = _student(soft_match=True)
    model.table.assign_add(tf.random.stateless_normal(model.table.shape, [3, 4]))
    letters = 'abcdefghijklmnopqrstuvwxyz0123456789'
    batch = {'query': _texts(' '.join(letters[::-1]), 'z 5'), 'title': _texts('saw', ' '.join(letters))}
    np.testing.assert_allclose(model.predict_logits(batch)[:, 1:], _reference(model, batch), rtol=1e-4)

  @parameterized.parameters(
    (_PAIR, {}),
    (_PAIR, {'soft_match': True}),
    (('text',), {'convolution_filters': 5, 'ngram_orders': (1, 3)}),
    (('text',), {'convolution_filters': 5, 'convolution_width': 2, 'ngram_orders': (2, 1)}),
  )
  def test_rows_do_not_depend_on_their_batch(self, fields, settings):
    model = _student(fields, **settings)
    model.table.assign_add(tf.random.stateless_normal(model.table.shape, [3, 4]))
    rows = _BATCH if fields == _PAIR else {'text': _BATCH['title']}
    many = {field: np.tile(values, 300) for field, values in rows.items()}  # Over 1024 rows.
    found = model.predict_logits(many)
    self.assertEqual(found.shape, (1200, 2))
    for row in range(4):
      alone = model.predict_logits({field: many[field][row : row + 1] for field in fields})
      np.testing.assert_allclose(found[row::4], np.tile(alone, [300, 1]), rtol=1e-5, atol=1e-7)

  @parameterized.parameters(
    (_PAIR, 2, {}), (_PAIR, 3, {'soft_match': True}), (('text',), 2, {'convolution_filters': 5})
  )
  def test_no_rows(self, fields, num_classes, settings):
    empty = {field: np.array([], dtype=object) for field in fields}
    model = _student(fields, num_classes, **settings)
    self.assertEqual(model.predict_logits(empty).shape, (0, num_classes))
    texts = {field: tf.constant([], tf.string) for field in fields}
    self.assertEqual(model(texts).shape[0], 0)

  def test_seed_and_first_table(self):
    same, other = _student(), _student(seed=2)
    np.testing.assert_array_equal(_student().predict_logits(_BATCH), same.predict_logits(_BATCH))
    self.assertGreater(np.abs(other.table - same.table).max(), 1e-3)
    table, regions = same.table.numpy(), ngrams.match_regions(same.settings, _PAIR)
    np.testing.assert_allclose(table[:64].mean(axis=0), 0, atol=0.01)
    for region in (table[rows] for rows in regions):  # Each word of a match starts as any other, and visibly.
      self.assertLess(region.std(axis=0).max(), 0.02)
      self.assertGreater(np.linalg.norm(region.mean(axis=0)), 0.3)
    weights = _student(weighted_pooling=True).table.numpy()[:, 0]
    np.testing.assert_allclose(weights, 0, atol=0.1)  # They start alike, matches' too.


class LoadTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _start(self, **settings) -> student.StudentModel:
    """A run folder, and the model that belongs there."""
    settings = {'num_buckets': 64, 'embedding_dim': 8, 'hidden_layers': (4,), **settings}
    run = config.Distill(
      soft_labels=('labels',),
      output_dir=self.folder,
      schema=config.Schema(text_columns=('q', 't')),
      student=config.Student(**settings),
    )
    runs.start(run)
    return student.StudentModel(run.student, run.schema.fields, 2, seed=9)

  def _save(self, model):
    tf.train.Checkpoint(model=model).save(os.path.join(self.folder, 'best', 'ckpt'))

  def test_loaded_is_saved(self):
    model = self._start()
    self._save(model)
    loaded = student.load(self.folder)
    np.testing.assert_array_equal(loaded.predict_logits(_BATCH), model.predict_logits(_BATCH))
    self.assertEqual(loaded.fields, _PAIR)

  def test_refusals(self):
    with self.assertRaisesRegex(ValueError, 'no such file'):
      student.load(self.folder)
    self._start()
    with self.assertRaisesRegex(ValueError, f'{self.folder}: expected trained weights in best/'):
      student.load(self.folder)
    self._save(_student(num_buckets=32))
    with self.assertRaisesRegex(ValueError, 'the weights do not fit'):
      student.load(self.folder)


if __name__ == '__main__':
  absltest.main()
