"""Packing, batches by length, precision, and what `build` and `load` refuse."""

import itertools
import json
import os
import tempfile
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf
import tf_keras

from b2d import config
from b2d import runs
from b2d.models import fused_encoder
from b2d.models import teacher
from tests import tiny_bert

_PIECE = {piece: index for index, piece in enumerate(tiny_bert.VOCAB)}
_ALL_MPNET = os.path.join(os.path.dirname(__file__), '../../runs/all-mpnet-base-v2')
_TEXTS = [b'', b'good film', b'not very funny .', b'dull', b'the film was not good , it was ' + b'very ' * 9 + b'bad']


def _ids(pieces):
  return [_PIECE[piece] for piece in pieces.split()]


def _batch(texts):
  return {'text': np.array(texts, object)}


class TeacherTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.checkpoint = tiny_bert.write_hugging_face(tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value))
    cls.addClassCleanup(tf.io.gfile.rmtree, cls.checkpoint)
    cls.of_texts = teacher.build(cls._settings(), 2)
    cls.of_pairs = teacher.build(cls._settings(), 2, ('query', 'title'))

  @classmethod
  def _settings(cls, **changes):
    return config.Teacher(**{'init_checkpoint': cls.checkpoint, 'max_seq_length': 12, **changes})

  def _pack(self, model, **texts):
    return model.pack({name: tf.constant([value]) for name, value in texts.items()}).to_list()[0]

  def test_packs_a_text(self):
    for text, expected in (('Good film!', 'good film ! '), ('', ''), ('bad ' * 50_000, 'bad ' * 10)):
      self.assertEqual(self._pack(self.of_texts, text=text), _ids(f'[CLS] {expected}[SEP]'))

  @parameterized.parameters(
    ('red shoe', 'blue shoe', '[CLS] red shoe [SEP] blue shoe [SEP]'),
    ('red shoe', 'blue ' * 99, '[CLS] red shoe [SEP] ' + 'blue ' * 7 + '[SEP]'),
    ('red ' * 99, 'blue shoe', '[CLS] ' + 'red ' * 7 + '[SEP] blue shoe [SEP]'),
    ('red ' * 99, 'blue ' * 99, '[CLS] ' + 'red ' * 5 + '[SEP] ' + 'blue ' * 4 + '[SEP]'),
    ('', '', '[CLS] [SEP] [SEP]'),
  )
  def test_packs_a_pair(self, query, title, expected):
    self.assertEqual(self._pack(self.of_pairs, query=query, title=title), _ids(expected))

  def test_packs_as_mpnet(self):
    checkpoint = tiny_bert.write_mpnet(self.create_tempdir().full_path)
    piece = {piece: index for index, piece in enumerate(tiny_bert.MPNET_VOCAB)}
    model = teacher.build(self._settings(init_checkpoint=checkpoint), 2, ('query', 'title'))
    for query, title, expected in (
      ('red shoe', 'blue shoe', '<s> red shoe </s> </s> blue shoe </s>'),
      ('red ' * 99, 'blue ' * 99, '<s> ' + 'red ' * 4 + '</s> </s> ' + 'blue ' * 4 + '</s>'),
    ):
      self.assertEqual(self._pack(model, query=query, title=title), [piece[mark] for mark in expected.split()])
    single = teacher.build(self._settings(init_checkpoint=checkpoint), 2)
    self.assertEqual(self._pack(single, text='red shoe'), [piece[mark] for mark in '<s> red shoe </s>'.split()])

  def test_all_mpnet_base_v2(self):
    if not os.path.isdir(_ALL_MPNET):
      self.skipTest(f'{_ALL_MPNET}: no such folder; run make base_teacher')
    model = teacher.build(config.Teacher(init_checkpoint=_ALL_MPNET, pooling='mean'), 2)
    texts = [b'A man is eating food.', b'A man eats something.', b'The girl is carrying a baby.']
    states = model.embed(_batch(texts))
    states /= np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose(states[1:] @ states[0], [0.9360, -0.0559], atol=1e-3)  # The publisher's own.

  def test_segments(self):
    model = teacher.build(self._settings(pooling='cls'), 2, ('query', 'title'))
    with mock.patch.object(fused_encoder, 'encode', return_value=tf.zeros([1, 1, 16])) as encode:
      model.classify(tf.constant([_ids('[CLS] red [SEP] blue shoe [SEP] [PAD]')]))
    inputs = encode.call_args.args[3]
    self.assertEqual(inputs['input_type_ids'].numpy().tolist(), [[0, 0, 0, 1, 1, 1, 0]])
    self.assertEqual(inputs['input_mask'].numpy().tolist(), [[1, 1, 1, 1, 1, 1, 0]])

  @parameterized.parameters(*config.groups.POOLINGS)
  def test_batches_and_padding_change_nothing(self, pooling):
    model = teacher.build(self._settings(pooling=pooling), 3)
    alone = np.concatenate([model({'text': tf.constant([text])}) for text in _TEXTS])
    for max_tokens in (1, 14, 4096):
      together = model.predict_logits(_batch(_TEXTS), max_tokens)
      self.assertEqual(together.dtype, np.float32)
      np.testing.assert_allclose(together, alone, atol=1e-5)

  def test_the_same_row_is_computed_once(self):
    model = teacher.build(self._settings(), 2)
    texts = [b'good', b'a film', b'GOOD', b'good ', b'', b'a film', b'']  # Read in lower case.
    done, computed = [], []
    compute = model._classify_some

    def counted(ids, rows):
      computed.extend(rows)
      return compute(ids, rows)

    with mock.patch.object(model, '_classify_some', counted):
      logits = model.predict_logits(_batch(texts), max_tokens=8, report=done.append)
    self.assertEqual((sum(done), sorted(computed)), (len(texts), [0, 1, 4]))
    np.testing.assert_allclose(
      logits, np.concatenate([model.predict_logits(_batch([text])) for text in texts]), 0, 1e-5
    )

  def test_no_rows(self):
    self.assertEqual(self.of_texts.predict_logits(_batch([])).shape, (0, 2))

  def test_train_batches(self):
    model = self.of_texts
    texts = [b'good ' * (i % 9) for i in range(50)]
    window = {**_batch(texts), 'label': np.arange(50, dtype=np.float32)}
    batches = list(model.train_batches(iter([window]), 8, seed=3))
    self.assertEqual(sorted(len(batch['label']) for batch in batches), [2] + [8] * 6)
    self.assertEqual(sorted(np.concatenate([batch['label'] for batch in batches])), list(range(50)))
    for batch in batches:
      lengths = [2 + int(label) % 9 for label in batch['label']]
      np.testing.assert_array_equal(tf.reduce_sum(tf.cast(batch['ids'] != 0, tf.int32), axis=1), lengths)
      self.assertLessEqual(max(lengths) - min(lengths), 2)
    again = list(model.train_batches(iter([window]), 8, seed=3))
    np.testing.assert_array_equal(batches[0]['label'], again[0]['label'])

  def test_only_used_variables_are_trained(self):
    mpnet = tiny_bert.write_mpnet(self.create_tempdir().full_path)
    for pooling, checkpoint in itertools.product(config.groups.POOLINGS, (self.checkpoint, mpnet)):
      model = teacher.build(self._settings(pooling=pooling, init_checkpoint=checkpoint), 2)
      with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model({'text': tf.constant(['good film'])}, training=True) ** 2)
      self.assertNotIn(None, tape.gradient(loss, model.trainable_variables))

  def test_decay_spares_biases_and_norms(self):
    model = teacher.build(self._settings(), 2)
    optimizer = teacher.adamw(config.Training(warmup_proportion=0.0, weight_decay=0.5, learning_rate=0.1), 10)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimizer.apply_gradients((tf.zeros_like(variable), variable) for variable in model.trainable_variables)
    for variable, value in zip(model.trainable_variables, before):
      spared = 'bias' in variable.name or 'norm' in variable.name
      np.testing.assert_allclose(variable, value if spared else 0.95 * value, rtol=1e-5, err_msg=variable.name)

  def _run(self, **changes):
    """Writes the run folder of an untrained teacher; returns it with the teacher."""
    folder = self.create_tempdir().full_path
    run_config = config.Finetune(
      train_files=('train.tsv',),
      output_dir=folder,
      schema=config.Schema(label_column='label'),
      teacher=self._settings(**changes),
    )
    runs.start(run_config)
    model = teacher.build(run_config.teacher, 2)
    model.save_description(folder)
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), os.path.join(folder, 'best'), 1).save()
    return folder, model

  @parameterized.product(
    changes=({'pooling': 'cls', 'num_layers': 1}, {'pooling': 'mean', 'num_layers': 0}),
    write=(tiny_bert.write_hugging_face, tiny_bert.write_mpnet),
  )
  def test_load_equals_saved(self, changes, write):
    folder, model = self._run(**changes, init_checkpoint=write(self.create_tempdir().full_path))
    self.assertLen(model.encoder.transformer_layers, changes['num_layers'] or 2)
    loaded = teacher.load(folder)
    np.testing.assert_allclose(
      loaded.predict_logits(_batch(_TEXTS)), model.predict_logits(_batch(_TEXTS)), rtol=1e-5, atol=1e-6
    )

  def test_bfloat16(self):
    folder, model = self._run()
    loaded = teacher.load(folder, precision='bfloat16')
    self.assertEqual(tf_keras.mixed_precision.global_policy().name, 'float32')
    self.assertEqual({variable.dtype for variable in loaded.variables}, {tf.float32})
    logits = loaded.predict_logits(_batch(_TEXTS))
    exact = model.predict_logits(_batch(_TEXTS))
    self.assertEqual(logits.dtype, np.float32)
    np.testing.assert_allclose(logits, exact, atol=0.02)
    self.assertGreater(np.abs(logits - exact).max(), 0)
    kernel, bias = loaded.get_layer('classifier').get_weights()
    np.testing.assert_allclose(loaded.embed(_batch(_TEXTS)) @ kernel + bias, logits, atol=1e-5)  # The head is exact.

  def test_load_refuses(self):
    with self.assertRaisesRegex(ValueError, 'config.json: no such file'):
      teacher.load(self.create_tempdir().full_path)
    folder, _ = self._run()
    tf.io.gfile.rmtree(os.path.join(folder, 'best'))
    with self.assertRaisesRegex(ValueError, 'has the training finished'):
      teacher.load(folder)

  def test_embed_gives_what_the_head_reads(self):
    batch = _batch(_TEXTS)
    states = self.of_texts.embed(batch)
    self.assertEqual(states.shape, (len(_TEXTS), tiny_bert.HIDDEN))
    kernel, bias = self.of_texts.get_layer('classifier').get_weights()
    np.testing.assert_allclose(states @ kernel + bias, self.of_texts.predict_logits(batch), atol=1e-5)

  def test_from_scratch(self):
    vocab_file = tiny_bert.write_vocab(self.create_tempdir().full_path)
    model = teacher.build(
      config.Teacher(vocab_file=vocab_file, num_layers=1, hidden_size=8, num_attention_heads=2, intermediate_size=16), 4
    )
    self.assertEqual(model.predict_logits(_batch(_TEXTS)).shape, (5, 4))

  @parameterized.parameters(38, 42)
  def test_wrong_vocabulary(self, size):
    folder = self.create_tempdir().full_path
    vocab = (*tiny_bert.VOCAB, 'more', 'still')[:size]
    weights = tiny_bert.tensors()
    weights['embeddings.word_embeddings.weight'] = weights['embeddings.word_embeddings.weight'][:39]
    checkpoint = tiny_bert.write_hugging_face(folder, weights, vocab_size=39)
    vocab_file = tiny_bert.write_vocab(self.create_tempdir().full_path, vocab)
    with self.assertRaisesRegex(
      ValueError, f'vocab.txt: expected the 39 word pieces of .*, found {size}; set --vocab_file'
    ):
      teacher.build(self._settings(init_checkpoint=checkpoint, vocab_file=vocab_file), 2)

  def test_padded_vocabulary(self):
    checkpoint = tiny_bert.write_hugging_face(self.create_tempdir().full_path)  # Of 40 embeddings.
    tiny_bert.write_vocab(checkpoint, tiny_bert.VOCAB[:-3])
    teacher.build(self._settings(init_checkpoint=checkpoint), 2)
    tiny_bert.write_vocab(checkpoint, (*tiny_bert.VOCAB, 'more'))
    with self.assertRaisesRegex(ValueError, 'expected the 40 word pieces of .*, found 41'):
      teacher.build(self._settings(init_checkpoint=checkpoint), 2)

  def test_added_tokens(self):
    weights = tiny_bert.tensors()
    weights['embeddings.word_embeddings.weight'] = weights['embeddings.word_embeddings.weight'][:39]
    checkpoint = tiny_bert.write_hugging_face(self.create_tempdir().full_path, weights, vocab_size=39)
    tiny_bert.write_vocab(checkpoint, tiny_bert.VOCAB[:-2])
    with open(os.path.join(checkpoint, 'added_tokens.json'), 'w', encoding='utf-8') as file:
      json.dump({'[BRAND]': 38}, file)
    with self.assertLogs(level='WARNING') as logs:
      teacher.build(self._settings(init_checkpoint=checkpoint), 2)
    self.assertIn('1 tokens were added later; texts that hold them are cut as any other: [BRAND]', logs.output[0])

  def test_a_cased_teacher_stays_cased(self):
    checkpoint = tiny_bert.write_hugging_face(self.create_tempdir().full_path)
    tiny_bert.write_vocab(checkpoint, (*tiny_bert.VOCAB[:-1], 'Red'))
    with open(os.path.join(checkpoint, 'tokenizer_config.json'), 'w', encoding='utf-8') as file:
      json.dump({'do_lower_case': False}, file)
    folder, model = self._run(init_checkpoint=checkpoint)
    for cased in (model, teacher.load(folder)):
      self.assertEqual(self._pack(cased, text='Red red RED'), [2, 39, 21, 1, 3])

  @parameterized.parameters(
    ({'max_seq_length': 64}, '--max_seq_length=64: .* has 32 positions'),
    ({'num_layers': 3}, '--num_layers=3: .* has 2 layers'),
    ({'vocab_file': '/nowhere/vocab.txt'}, '/nowhere/vocab.txt: no such vocabulary'),
  )
  def test_flags_beyond_the_checkpoint(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      teacher.build(self._settings(**changes), 2)

  def test_survives_saved_model(self):
    folder = self.create_tempdir().full_path
    module = tf.Module()
    module.model = self.of_texts
    module.score = tf.function(
      lambda text: {'logits': self.of_texts({'text': text})}, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, folder)
    loaded = tf.saved_model.load(folder)
    np.testing.assert_allclose(
      loaded.score(tf.constant(_TEXTS))['logits'], self.of_texts.predict_logits(_batch(_TEXTS)), atol=1e-5
    )


if __name__ == '__main__':
  absltest.main()
