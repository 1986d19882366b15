"""Baselines are measured as b2d.evaluate measures; fastText and MiniLM need the extra bench."""

import importlib.util
import json
import pathlib
import subprocess
import sys

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import pandas as pd

from b2d.measures import metrics
from b2d.measures import ranking
from b2d.models import checkpoints
from b2d.models import pretrained
from serving.benchmark import baseline_accuracy
from tests import tiny_bert

_ROOT = pathlib.Path(__file__).parents[2]
_HAS_PEERS = bool(importlib.util.find_spec('fasttext'))


class MeasuresTest(absltest.TestCase):
  def test_measures_are_those_of_evaluate(self):
    """Grades from 1 to 3, ties among the scores, queries that rank nothing."""
    rng = np.random.default_rng(1)
    queries, labels = rng.integers(0, 40, 200), rng.choice([1, 1.67, 2.33, 2.5, 3], 200)
    scores = rng.integers(0, 12, 200).astype(float)
    found = baseline_accuracy.measure(
      pd.DataFrame({'query': queries.astype(str), 'label': labels}), scores, (1, 3), 2.5
    )
    targets = (labels - 1) / 2
    numbers = np.unique(queries, return_inverse=True)[1]
    logits = np.stack([np.zeros(200), scores], axis=1)
    wanted = metrics.binary(targets, logits, 0.75) | {
      name: np.nanmean(values) for name, values in ranking.by_query(numbers, targets, scores, 0.75).items()
    }
    self.assertEqual(set(found), {'auc', 'spearman', 'auc_by_query', 'ndcg@10'})
    for name, value in found.items():
      self.assertAlmostEqual(value, wanted[name], places=9, msg=name)

  def test_classes_of_single_texts(self):
    rows = pd.DataFrame({'text': list('abcd'), 'label': [0.0, 1, 0, 1]})
    found = baseline_accuracy.measure(rows, np.array([0.1, 0.2, 0.3, 0.4]), (0, 1), 0.5)
    self.assertEqual(found, {'auc': 0.75})


class LexicalTest(parameterized.TestCase):
  @parameterized.parameters(
    ('3/4 in. drill bits', 'Drill Bit 3/4 in.', 1.0, 'has_3/4 has_in has_drill has_bit overlap_10'),
    ('red glass lamp', 'a red lamp', 2 / 3, 'has_red lacks_glass has_lamp overlap_7'),
    ('$', 'a lamp', 0.0, 'overlap_0'),
  )
  def test_matches(self, query, title, share, words):
    self.assertAlmostEqual(baseline_accuracy.overlap(query, title), share)
    self.assertEqual(baseline_accuracy.match_words(query, title), words)

  def test_bm25_puts_the_rare_word_first(self):
    valid = pd.DataFrame(
      {
        'query': ['red lamp', 'red lamp', 'red lamp', 'qwerty'],
        'title': ['red shoe', 'desk lamp', 'blue chair', 'red shoe'],
      }
    )
    titles = [*valid['title'], 'red saw', 'red oak floor', 'tape', 'glue']
    scores, divided = baseline_accuracy.bm25(titles, valid)
    self.assertGreater(scores[1], scores[0])
    self.assertGreater(scores[0], 0)
    np.testing.assert_array_equal(scores[2:], 0)
    np.testing.assert_allclose(divided, scores / scores[1])

  @parameterized.parameters((['query'], 'grade', 'found query, label'), (['query', 'x'], 'label', 'set --text_columns'))
  def test_missing_column(self, text_columns, label_column, message):
    path = self.create_tempfile('rows.tsv', 'query\tlabel\na\t1\n').full_path
    with self.assertRaisesRegex(ValueError, message):
      baseline_accuracy.read(path, text_columns, label_column)


@absltest.skipUnless(_HAS_PEERS, 'the extra bench is not installed')
class BaselinesTest(absltest.TestCase):
  def test_command_measures_peers_of_both_kinds_of_rows(self):
    folder = self.create_tempdir()
    pairs = [
      'red lamp\tdesk lamp, red\t3',
      'red lamp\toak chair\t1',
      'oak chair\toak chair "XL"\t3',
      'oak chair\tlamp\t1',
    ]
    path = folder.create_file('pairs.tsv', '\n'.join(['query\ttitle\tlabel', *pairs * 20]) + '\n').full_path
    command = [
      sys.executable,
      '-m',
      'serving.benchmark.baseline_accuracy',
      f'--train={path}',
      f'--valid={path}',
      f'--output={folder.full_path}',
      '--label_range=1,3',
      '--relevant_from=2.5',
    ]
    for columns, names in (
      (
        'query,title',
        [
          'word overlap',
          'BM25',
          "BM25 / query's best",
          'fastText',
          'logistic regression',
          'fastText + matches as words',
          'logistic regression + matches as words',
        ],
      ),
      ('title', ['fastText', 'logistic regression']),
    ):
      done = subprocess.run(
        [*command, f'--text_columns={columns}'], cwd=_ROOT, capture_output=True, text=True, check=True
      )
      found = json.loads(pathlib.Path(folder.full_path, 'baselines.json').read_text())['baselines']
      self.assertSequenceEqual(list(found), names)
      self.assertEqual(found['logistic regression']['auc'], 1)
      self.assertLen(done.stdout.strip().splitlines(), len(names) + 2)

  def test_fasttext_returns_the_probability_of_positive_rows(self):
    texts = ['good film', 'bad movie'] * 500
    found = baseline_accuracy.fasttext(texts, np.array([True, False] * 500), ['bad movie', 'good film', 'movie'])
    np.testing.assert_array_equal(found > 0.9, [False, True, False])
    np.testing.assert_array_equal(found < 0.1, [True, False, True])

  def test_sentence_embeddings_are_the_mean_of_the_encoder(self):
    from serving.benchmark import sentence_embeddings

    positions = np.random.default_rng(1).normal(0, 0.5, [512, tiny_bert.HIDDEN]).astype(np.float32)
    folder = tiny_bert.write_hugging_face(
      self.create_tempdir().full_path,
      tiny_bert.tensors() | {'embeddings.position_embeddings.weight': positions},
      max_position_embeddings=512,
    )
    architecture = pretrained.read_architecture(pretrained.resolve(folder))
    encoder = pretrained.make_encoder(architecture)
    checkpoints.load_weights(encoder, pretrained.resolve(folder), architecture)
    found = sentence_embeddings.encode(['a very good film', 'dull'], folder)
    for vector, ids in zip(found, ([2, 9, 8, 5, 7, 3], [2, 12, 3])):
      ids = np.array([ids], np.int32)
      hidden = encoder({'input_word_ids': ids, 'input_mask': np.ones_like(ids), 'input_type_ids': np.zeros_like(ids)})
      mean = hidden['sequence_output'].numpy()[0].mean(axis=0)
      np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


if __name__ == '__main__':
  absltest.main()
