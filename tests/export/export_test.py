"""A run becomes a SavedModel that a server can load, with all that it needs beside it."""

import itertools
import os

from absl.testing import absltest
from absl.testing import parameterized
from google.protobuf import text_format
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from b2d import config
from b2d import runs
from b2d.models import calibration
from b2d.models import student
from b2d.models import teacher
from export import __main__ as binary
from export import modules
from export import ops
from export import parity
from export import readme as readme_lib
from export import saved_model
from export import serving_configs
from export import signatures
from export import warmup
from serving import server_config
from tests import tiny_bert

_NODES = 102  # Of serving_default, before grappler; as it was without `rank`.
_PAIR = ('query', 'title')
_TEXTS = {
  'query': np.array([b'drill', b'red shoe', b''], dtype=object),
  'title': np.array([b'Cordless Drill', b'Blue Saw', b'a'], dtype=object),
}


def _write_student(folder: str, columns=_PAIR, num_classes: int = 2, classes=(), **settings) -> student.StudentModel:
  """An untrained run of b2d.distill; returns its model."""
  graded = {'label_range': (0.0, 3.0), 'relevant_from': 2.0} if num_classes == 2 else {}
  run = config.Distill(
    train_files=('gone.tsv',),
    output_dir=folder,
    schema=config.Schema(
      text_columns=columns, label_column='grade', num_classes=num_classes, classes=classes, **graded
    ),
    student=config.Student(**{'num_buckets': 512, 'embedding_dim': 8, 'hidden_layers': (16, 8), **settings}),
  )
  runs.once(run, lambda run: {})
  model = student.StudentModel(run.student, run.schema.fields, num_classes)
  for layer in model.dense:
    layer.bias.assign(tf.range(layer.units, dtype=tf.float32) / 10 - 0.3)
  tf.train.Checkpoint(model=model).save(os.path.join(folder, 'best', 'ckpt'))
  return model


def _write_teacher(folder: str) -> teacher.TeacherModel:
  checkpoint = tiny_bert.write_hugging_face(f'{folder}-bert')
  settings = config.Teacher(init_checkpoint=checkpoint, max_seq_length=16)
  run = config.Finetune(
    train_files=('train.tsv',),
    output_dir=folder,
    teacher=settings,
    schema=config.Schema(text_columns=_PAIR, label_column='grade'),
  )
  runs.once(run, lambda run: {})
  model = teacher.build(settings, 2, _PAIR)
  model.save_description(folder)
  tf.train.Checkpoint(model=model).save(os.path.join(folder, 'best', 'ckpt'))
  return model


def _examples(texts) -> tf.Tensor:
  return tf.constant([example.SerializeToString() for example in warmup.examples(texts)])


def _constants(texts) -> dict[str, tf.Tensor]:
  return {name: tf.constant(values) for name, values in texts.items()}


class ExportTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.run_dir = os.path.join(self.folder, 'run')
    self.output_dir = os.path.join(self.folder, 'export')

  def _export(self, **settings):
    return saved_model.export(
      config.Export(**{'model': self.run_dir, 'output_dir': self.output_dir, 'table_dtype': 'float32', **settings})
    )

  def test_pairs_in_all_three_signatures(self):
    model = _write_student(self.run_dir)
    runs.write_text(calibration.path(self.run_dir), '{"scale": 2.0, "offset": 0.5}')
    folder, described = self._export()
    self.assertEqual(folder, os.path.join(self.output_dir, '1'))
    loaded = tf.saved_model.load(folder)
    logits = model.predict_logits(_TEXTS)[:, 1]
    found = loaded.signatures['serving_default'](**_constants(_TEXTS))
    np.testing.assert_allclose(found['logit'], logits, atol=1e-5)
    probability = 1 / (1 + np.exp(-(2.0 * logits + 0.5)))
    np.testing.assert_allclose(found['probability'], probability, atol=1e-5)
    found = loaded.signatures['classify'](inputs=_examples(_TEXTS))
    both = np.stack([1 - probability, probability], axis=1)
    np.testing.assert_allclose(found['scores'], both, atol=1e-5)
    np.testing.assert_array_equal(found['classes'], [[b'irrelevant', b'relevant']] * 3)  # It learned grades.
    found = loaded.signatures['regress'](inputs=_examples(_TEXTS))
    np.testing.assert_allclose(found['outputs'], probability, atol=1e-5)
    self.assertEqual(described['serving']['lowest_release'], '2.15')
    self.assertEqual(described['trained_from'], {})  # Its training file is gone.
    self.assertIn(os.path.join(self.run_dir, 'best', 'ckpt-1.index'), described['made_from'])
    self.assertEqual(
      runs.read_json(os.path.join(folder, 'assets.extra', 'calibration.json')), {'scale': 2.0, 'offset': 0.5}
    )

  @parameterized.parameters(
    ({'weighted_pooling': True},),
    ({'convolution_filters': 8},),
    ({'weighted_pooling': True, 'convolution_filters': 8},),
  )
  def test_weights_and_convolution(self, settings):
    model = _write_student(self.run_dir, ('text',), **settings)
    model.table.assign_add(tf.random.stateless_normal(model.table.shape, [3, 4]))
    tf.train.Checkpoint(model=model).save(os.path.join(self.run_dir, 'best', 'ckpt'))
    texts = {'text': _TEXTS['title']}
    logits = model.predict_logits(texts)[:, 1]
    for dtype, tolerance in (('float32', 1e-5), ('bfloat16', 0.05)):
      folder, described = self._export(table_dtype=dtype)
      self.assertNotIn('ResourceGather', described['serving']['ops'])  # It would make each call copy the table.
      found = tf.saved_model.load(folder).signatures['serving_default'](text=tf.constant(texts['text']))
      np.testing.assert_allclose(found['logit'], logits, rtol=tolerance, atol=tolerance)
    if model.settings.weighted_pooling:
      with self.assertRaisesRegex(ValueError, 'choose bfloat16 or float32'):
        self._export(table_dtype='float16')

  def test_a_convolution_bounds_its_memory(self):
    _write_student(self.run_dir, ('text',), convolution_filters=8)
    with absltest.mock.patch.object(modules, 'MAX_CONVOLVED', 200_000):
      folder, described = self._export()
    self.assertEqual(described['warmup_requests'], 3 * 2)  # Of 1 and 8 rows: the longer ones would be refused.
    limit = 200_000 // (5 * 8 + 8)  # Tokens, by the width of the convolution, that of the table and the filters.
    with open(os.path.join(self.output_dir, 'README.md'), encoding='utf-8') as readme:
      self.assertIn(f'over {limit:,} tokens the model refuses it', readme.read())
    found = tf.saved_model.load(folder).signatures
    text = b'a ' * (limit // 2 - 10)  # And marks before each.
    self.assertLen(found['serving_default'](text=tf.constant([text] * 2))['logit'], 2)
    too_long = {'text': np.array([text, text + b'a ' * 20])}
    for signature, inputs in (('serving_default', _constants(too_long)), ('classify', {'inputs': _examples(too_long)})):
      with self.assertRaisesRegex(tf.errors.InvalidArgumentError, f'too many tokens: expected at most {limit} in a'):
        found[signature](**inputs)

  def test_three_classes_of_single_texts(self):
    model = _write_student(self.run_dir, ('text',), num_classes=3, classes=('bad', 'so-so', 'gut ✓'))
    folder, described = self._export()
    texts = {'text': _TEXTS['title']}
    logits = model.predict_logits(texts)
    loaded = tf.saved_model.load(folder)
    found = loaded.signatures['serving_default'](text=tf.constant(texts['text']))
    np.testing.assert_allclose(found['logit'], logits, atol=1e-5)
    np.testing.assert_allclose(found['probability'], tf.nn.softmax(logits), atol=1e-5)
    found = loaded.signatures['classify'](inputs=_examples(texts))
    np.testing.assert_array_equal(found['classes'], [[b'bad', b'so-so', 'gut ✓'.encode()]] * 3)
    self.assertEqual(described['signatures'], ['serving_default', 'classify'])  # And no rank: there are no titles.
    self.assertIn('no regress signature', binary.show(None, (folder, described)))

  @parameterized.parameters(
    ({},),
    ({'match': False},),
    ({'product': False},),
    ({'match_prefix': 3, 'strip_suffix': 's', 'delimiters': ',', 'part_numbers': True},),
    ({'weighted_pooling': True, 'ngram_orders': (1, 3)},),
    ({'soft_match': True},),
    ({'soft_match': True, 'weighted_pooling': True, 'product': False},),
    ({'hidden_layers': ()},),
    ({'num_classes': 3},),
  )
  def test_rank_is_serving_default_with_the_query_once(self, settings):
    model = _write_student(self.run_dir, **settings)
    model.table.assign_add(tf.random.stateless_normal(model.table.shape, [3, 4]))
    tf.train.Checkpoint(model=model).save(os.path.join(self.run_dir, 'best', 'ckpt'))
    runs.write_text(calibration.path(self.run_dir), '{"scale": 2.0, "offset": 0.5}')
    folder, _ = self._export(table_dtype='bfloat16')
    loaded = tf.saved_model.load(folder)
    queries = ('red drill, 18v', 'drill drill drills', '', 'x' * 100)
    titles = ['Cordless Drill 18V (red)', 'red Red RED', 'Saws, drilling', '', 'drill', 'Blue Saw' * 50]
    for query, count in itertools.product(queries, (0, 1, len(titles))):
      texts = {'query': tf.constant([query] * count, tf.string), 'title': tf.constant(titles[:count], tf.string)}
      expected = loaded.signatures['serving_default'](**texts)
      found = loaded.signatures['rank'](**{**texts, 'query': tf.constant([query])})
      self.assertEqual(found.keys(), expected.keys())
      for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-5)

  def test_rank_bounds_its_memory(self):
    _write_student(self.run_dir)
    rank = tf.saved_model.load(self._export()[0]).signatures['rank']
    with self.assertRaisesRegex(tf.errors.InvalidArgumentError, 'send fewer titles'):
      rank(query=tf.constant(['a ' * 3000]), title=tf.constant(['b ' * 3000]))

  def test_rank_adds_nothing_to_serving_default(self):
    model = student.StudentModel(config.Student(num_buckets=512), _PAIR, 2)
    made = signatures.make(modules.StudentModule(model, 'bfloat16'))
    # One pair's time is its number of nodes: whoever raises this number measures first.
    self.assertLessEqual(len(made['serving_default'].get_concrete_function().graph.get_operations()), _NODES)

  def test_teacher(self):
    model = _write_teacher(self.run_dir)
    folder, described = self._export(model_name='teacher')
    logits = model.predict_logits(_TEXTS)
    found = tf.saved_model.load(folder).signatures['serving_default'](**_constants(_TEXTS))
    np.testing.assert_allclose(found['logit'], logits[:, 1] - logits[:, 0], atol=1e-5)
    self.assertEqual(described['kind'], 'teacher')
    self.assertEqual(described['serving']['lowest_release'], '2.15')

  def test_versions_count_up_and_failures_leave_none(self):
    _write_student(self.run_dir)
    self._export()
    self.assertEqual(self._export(table_dtype='float16')[0], os.path.join(self.output_dir, '2'))
    with self.assertRaisesRegex(ValueError, 'gone.tsv'):
      self._export(valid_files=('gone.tsv',))
    with absltest.mock.patch.object(ops, 'check', side_effect=ValueError('unknown op')):
      with self.assertRaisesRegex(ValueError, 'unknown op'):
        self._export()  # Other than the last one.
    left = [name for name in os.listdir(self.output_dir) if name[0].isdecimal() or 'unfin' in name]
    self.assertCountEqual(left, ['1', '2'])

  def test_the_same_export_is_not_made_again(self):
    _write_student(self.run_dir)
    runs.write_metrics(self.run_dir, {'auc': 0.5})
    first, described = self._export()
    self.assertEqual(self._export(), (first, described))
    self.assertNotEqual(self._export(table_dtype='float16')[0], first)
    runs.write_text(calibration.path(self.run_dir), '{"scale": 2.0, "offset": 0.5}')
    self.assertEqual(self._export(table_dtype='float16')[0], os.path.join(self.output_dir, '3'))

  def test_half_a_version_as_a_kill_leaves_it_in_an_object_store_does_not_count(self):
    _write_student(self.run_dir)
    runs.write_metrics(self.run_dir, {'auc': 0.5})
    os.remove(os.path.join(self._export()[0], 'variables', 'variables.index'))
    self.assertEqual(self._export()[0], os.path.join(self.output_dir, '2'))

  def test_warm_up_requests_run(self):
    _write_student(self.run_dir)
    folder, described = self._export()
    signatures = tf.saved_model.load(folder).signatures
    records = tf.data.TFRecordDataset(os.path.join(folder, 'assets.extra', 'tf_serving_warmup_requests'))
    sizes, sent = [], set()
    for record in records.as_numpy_iterator():
      log = prediction_log_pb2.PredictionLog.FromString(record)
      request = getattr(log, log.WhichOneof('log_type')).request
      if log.HasField('predict_log'):
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
      else:
        inputs = {'inputs': [e.SerializeToString() for e in request.input.example_list.examples]}
      # Unequal lengths would be refused by a server with --enable_batching, which then does not load the version.
      self.assertLen({len(values) for values in inputs.values()}, 1)
      sent.add(request.model_spec.signature_name)
      outputs = signatures[request.model_spec.signature_name](**_constants(inputs))
      sizes += [len(value) for value in outputs.values()]
    self.assertLen(list(records), described['warmup_requests'])
    self.assertContainsSubset({1, 8, 64, 512}, sizes)
    self.assertEqual(sent, {'serving_default', 'classify', 'regress', 'rank'})

  def test_server_configuration(self):
    _write_student(self.run_dir)
    self._export(model_name='shop')

    def read(name):
      with open(os.path.join(self.output_dir, name), encoding='utf-8') as file:
        return file.read()

    models = text_format.Parse(read('model.config'), model_server_config_pb2.ModelServerConfig())
    self.assertEqual(models.model_config_list.config[0].base_path, '/models/shop')
    session = text_format.Parse(read('session_latency.config'), config_pb2.ConfigProto())
    self.assertEqual(session.experimental.executor_type, 'SINGLE_THREADED_EXECUTOR')
    text_format.Parse(read('session_throughput.config'), config_pb2.ConfigProto())
    # It bounds a request in the server of release 2.20: re-ranking sends thousands of rows.
    batching = server_config.parse(read('batching.config'), 'batching.config', server_config.BatchingParameters)
    self.assertGreaterEqual(batching.max_batch_size.value, 10_000)
    self.assertLessEqual(batching.max_execution_batch_size.value, batching.max_batch_size.value)
    readme = read('README.md')
    self.assertIn('The probability is that of a grade from 2 up.', readme)
    self.assertIn('"query": ["cordless drill"', readme)
    self.assertIn('{"signature_name": "rank", "inputs": {"query": ["cordless drill"], "title"', readme)
    self.assertIn('refuses\n  the signature `rank`', readme)
    self.assertIn('_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=-1', readme)
    self.assertIn('CVE-2025-0649', readme)
    self.assertIn('limit its bytes', readme)
    self.assertIn('needs TensorFlow alone', readme)

  def test_readme_names_the_ops_of_tensorflow_text(self):
    needs = ops.Report(['MatMul'], ['CaseFoldUTF8', 'NormalizeUTF8'], '2.15')
    self.assertIn('the ops `CaseFoldUTF8`, `NormalizeUTF8`', readme_lib.text('m', config.Schema(), needs, 'student'))

  def test_configuration_that_the_server_would_refuse_is_not_written(self):
    needs = ops.Report([], [], '2.15')
    with absltest.mock.patch.object(serving_configs, '_MONITORING', 'prometheus { enable: true }'):
      with self.assertRaisesRegex(ValueError, 'monitoring.config:1:1 .*MonitoringConfig in text form'):
        serving_configs.write(self.folder, 'm', config.Schema(), needs, 'student')

  def test_smaller_tables_and_their_loss(self):
    _write_student(self.run_dir)
    valid = os.path.join(self.folder, 'valid.tsv')
    with open(valid, 'w', encoding='utf-8') as file:
      file.write('query\ttitle\tgrade\n')
      file.writelines(f'drill {i}\tsaw {i % 7}\t{i % 4}\n' for i in range(40))
    sizes = {}
    for table_dtype in config.groups.TABLE_DTYPES:
      folder, described = self._export(table_dtype=table_dtype, valid_files=(valid,))
      self.assertIn('auc', described['held_out']['exported'])
      self.assertLess(described['largest_difference'], 0.05)
      self.assertEqual(described['largest_difference'] > 1e-5, table_dtype != 'float32')
      sizes[table_dtype] = os.path.getsize(os.path.join(folder, 'variables', 'variables.data-00000-of-00001'))
    self.assertLess(sizes['float16'], 0.6 * sizes['float32'])
    self.assertEqual(sizes['bfloat16'], sizes['float16'])

  def test_parity_names_the_row_that_differs(self):
    _write_student(self.run_dir)
    folder, _ = self._export()
    expected = parity.saved_logits(folder, _TEXTS)
    with self.assertRaisesRegex(ValueError, 'red shoe'):
      parity.check(folder, _TEXTS, expected + [0, 1e-3, 0], tolerance=1e-4)
    with self.assertRaisesRegex(ValueError, 'red shoe'):
      parity.check(folder, _TEXTS, expected + [0, np.nan, 0], tolerance=1)

  def test_ops(self):
    self.assertEqual(
      ops.check_ops(['MatMul', 'Const', 'CaseFoldUTF8']), ops.Report(['Const', 'MatMul'], ['CaseFoldUTF8'], '2.15')
    )
    self.assertEqual(ops.check_ops(['TFText>RoundRobinTrim']).lowest_release, '2.20')
    with self.assertRaisesRegex(ValueError, 'SentencepieceOp'):
      ops.check_ops(['MatMul', 'SentencepieceOp'])

  def test_refusals(self):
    with self.assertRaisesRegex(ValueError, 'set --model'):
      config.Export(output_dir='x')
    with self.assertRaisesRegex(ValueError, '--model_name'):
      config.Export(model='m', output_dir='x', model_name='a/b')
    os.makedirs(self.run_dir)
    runs.write_text(os.path.join(self.run_dir, 'config.json'), '{"step": "label"}')
    with self.assertRaisesRegex(ValueError, 'found a run of b2d.label; correct the path'):
      self._export()


if __name__ == '__main__':
  absltest.main()
