"""Contributions are what the score loses: of words in any model, of n-grams and matches in a student."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from b2d import config
from b2d.models import explanation
from b2d.models import student
from tests import tiny_bert

_PAIR = {'query': 'red shoe', 'title': 'Red boot, small'}


def _student(fields, num_classes=2, **settings):
  settings = {'num_buckets': 512, 'embedding_dim': 4, 'hidden_layers': (4,), 'ngram_orders': (1,)} | settings
  model = student.StudentModel(config.Student(**settings), fields, num_classes)
  model.table.assign(tf.random.stateless_normal(model.table.shape, seed=[1, 2]))
  return model


def _explain(model, texts):
  return explanation.explain(model.predict_logits, texts, model)


def _logits(model, **texts):
  return model.predict_logits({field: np.array([text.encode()], object) for field, text in texts.items()})[0]


class ExplanationTest(parameterized.TestCase):
  def test_words_lose_what_the_text_without_them_loses(self):
    model = _student(('query', 'title'), match=True)
    found = _explain(model, _PAIR)
    self.assertAlmostEqual(found.log_odds, _logits(model, **_PAIR)[1], places=5)
    self.assertEqual([part[:2] for part in found.words[:3]], [('query', 'red'), ('query', 'shoe'), ('title', 'Red')])
    without = _logits(model, query='red shoe', title='Red small')[1]
    self.assertEqual(found.words[3].name, 'boot,')
    self.assertAlmostEqual(found.words[3].contribution, found.log_odds - without, places=5)

  @parameterized.parameters({'weighted_pooling': False}, {'weighted_pooling': True})
  def test_unigrams_without_matches_are_the_words(self, weighted_pooling):
    model = _student(('query', 'title'), match=False, weighted_pooling=weighted_pooling)
    found = _explain(model, _PAIR)
    unigrams = {part[:2]: part.contribution for part in found.features if part.name != '^'}
    self.assertLen(unigrams, 5)
    for part in found.words:
      self.assertAlmostEqual(unigrams[part.kind, part.name.lower()], part.contribution, places=4)

  @parameterized.product(weighted_pooling=(False, True), query=('', 'red'), title=('', 'Red boot'))
  def test_without_its_only_member_a_bag_is_empty(self, weighted_pooling, query, title):
    model = _student(('query', 'title'), match=True, weighted_pooling=weighted_pooling)
    found = _explain(model, {'query': query, 'title': title})
    self.assertAlmostEqual(found.log_odds, _logits(model, query=query, title=title)[1], places=5)
    self.assertTrue(np.isfinite([part.contribution for part in found.features]).all())

  def test_ngrams_and_matches_have_their_names(self):
    model = _student(('query', 'title'), match=True, ngram_orders=(1, 2))
    names = [part[:2] for part in _explain(model, _PAIR).features]
    self.assertIn(('title', 'red boot,'), names)
    self.assertIn(('query', '^ red'), names)
    self.assertIn(('query', 'shoe ^'), names)
    self.assertIn(('matches', 'red (the title has)'), names)
    self.assertIn(('matches', 'shoe (the title lacks, and it is last)'), names)

  def test_word_pieces_have_their_names(self):
    vocab = tiny_bert.write_vocab(self.create_tempdir().full_path)
    model = _student(('text',), tokenizer='wordpiece', tokenizer_vocab=vocab)
    found = _explain(model, {'text': 'dull shoes'})
    self.assertEqual([part.name for part in found.features], ['^', 'dull', 'shoe', '##s'])
    self.assertEqual([part.name for part in found.words], ['dull', 'shoes'])

  def test_of_more_classes_it_is_the_one_decided_for(self):
    model = _student(('text',), num_classes=3)
    found = _explain(model, {'text': 'good film'})
    logits = np.float64(_logits(model, text='good film'))
    probability = np.exp(logits).max() / np.exp(logits).sum()
    self.assertEqual(found.decided, logits.argmax())
    self.assertAlmostEqual(found.log_odds, np.log(probability / (1 - probability)), places=5)

  def test_a_convolution_has_words_alone(self):
    found = _explain(_student(('text',), convolution_filters=4), {'text': 'good film'})
    self.assertLen(found.words, 2)
    self.assertEmpty(found.features)

  def test_a_soft_match_has_words_alone(self):
    found = _explain(_student(('query', 'title'), soft_match=True), {'query': 'red shoe', 'title': 'a red boot'})
    self.assertLen(found.words, 5)
    self.assertEmpty(found.features)

  def test_an_empty_text_has_no_words(self):
    self.assertEmpty(_explain(_student(('text',)), {'text': ''}).words)


if __name__ == '__main__':
  absltest.main()
