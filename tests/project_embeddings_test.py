"""b2d.project_embeddings: counts, the teacher's mean and shares of rows, against counting by hand."""

import os

from absl.testing import absltest
import numpy as np
import pandas as pd
import tensorflow as tf

from b2d import config
from b2d import project_embeddings
from b2d import runs
from b2d.models import ngrams
from b2d.models import student
from tests import command_line
from tests import soft_label_folders

_TEXTS = {0: 'Red shoe', 1: 'red red boot', 2: 'blue boot'}


class ProjectEmbeddingsTest(absltest.TestCase):
  def _project(self, num_buckets, **changes):
    """What is said, metrics.json, and the folder."""
    settings = config.Student(num_buckets=num_buckets, embedding_dim=4, hidden_layers=(4,))
    folder = self.create_tempdir().full_path
    run = runs.start(config.Distill(soft_labels=('s',), output_dir=os.path.join(folder, 'student'), student=settings))
    self.model = student.StudentModel(settings, ('text',), 2)
    ids = ngrams.unigram_ids(tf.constant(['red', 'blue', 'shoe', 'boot']), settings)
    if num_buckets > 100:  # Red beside blue, shoe beside boot.
      self.model.table.scatter_update(
        tf.IndexedSlices(tf.constant([[1, 0, 0, 0], [2, 0, 0.1, 0], [0, 1, 0, 0], [0, 2, 0, 0.1]]), ids)
      )
    tf.train.Checkpoint(model=self.model).save(os.path.join(run, 'best', 'ckpt'))
    runs.write_metrics(run, {})
    labels = soft_label_folders.write(os.path.join(folder, 'labels'), range(3), 0, texts=_TEXTS)
    output = os.path.join(folder, 'embeddings')
    values = {'model': run, 'soft_labels': [labels], 'output_dir': output, 'neighbors_of': ['RED'], 'num_neighbors': 2}
    said = command_line.run(config.ProjectEmbeddings, project_embeddings.show, **values | changes)
    return said, runs.read_json(os.path.join(output, 'metrics.json')), output

  def test_neighbours_and_the_projector_s_files(self):
    said, result, folder = self._project(1 << 16)
    red = result['neighbors']['RED']
    self.assertEqual((red['nearest'][0]['ngram'], red['nearest'][0]['count']), ('blue', 1))
    self.assertAlmostEqual(red['nearest'][0]['cosine'], 2 / np.sqrt(4.01), places=5)
    self.assertIn('| RED |', said)
    metadata = pd.read_csv(os.path.join(folder, 'metadata.tsv'), sep='\t', index_col='ngram')
    self.assertEqual(metadata.loc['red', 'count'], 3)
    margin = soft_label_folders.logits_of([0], 0)[0, 0] @ [-1, 1]  # The same in each row.
    self.assertAlmostEqual(metadata.loc['red', 'teacher'], 1 / (1 + np.exp(-margin)), places=3)
    self.assertEqual(metadata.loc['red', 'own_share'], 1)
    vectors = np.loadtxt(os.path.join(folder, 'vectors.tsv'), delimiter='\t')
    np.testing.assert_allclose(vectors[list(metadata.index).index('red')], [1, 0, 0, 0])
    self.assertTrue(os.path.exists(os.path.join(folder, 'projector_config.pbtxt')))

  def test_collisions_are_told(self):
    _, result, folder = self._project(2, neighbors_of=['unheard'])
    self.assertEqual(result['neighbors']['unheard']['own_share'], 0)
    self.assertGreater(result['collisions'], 0.3)
    self.assertEqual(result['rows_in_use'], 1)
    metadata = pd.read_csv(os.path.join(folder, 'metadata.tsv'), sep='\t')
    self.assertAlmostEqual(metadata['own_share'].sum(), 2, places=2)  # Of each row the shares add up.

  def test_other_models_have_no_ngrams(self):
    with self.assertRaisesRegex(ValueError, 'nowhere: expected'):
      self._project(4, model='nowhere')


if __name__ == '__main__':
  absltest.main()
