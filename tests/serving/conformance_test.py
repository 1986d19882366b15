"""What TensorFlow Serving answers, row by row, against any server that serves the test models.

By itself it starts the local test server. For the C++ server, write the models and serve them with both
versions loaded and a label, for instance:

    python -m tests.served_models /tmp/models
    cat > /tmp/models/models.config <<EOF
    model_config_list { config { name: 'pair' base_path: '/models/pair' model_platform: 'tensorflow'
      model_version_policy { all {} } version_labels { key: 'stable' value: 1 } } }
    EOF
    docker run -p 8500:8500 -p 8501:8501 -v /tmp/models:/models tensorflow/serving:2.20.0 \
      --model_config_file=/models/models.config --allow_version_labels_for_unavailable_models
    python -m tests.serving_conformance_test --address=localhost:8501 --grpc_address=localhost:8500
"""

import base64
from concurrent import futures
import gzip
import http.client
import json
import os
import shutil
import tempfile
import unittest

from absl import flags
from absl.testing import absltest
from absl.testing import parameterized
import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

from tests import local_server
from tests import served_models

_ADDRESS = flags.DEFINE_string('address', os.environ.get('B2D_SERVING_ADDRESS'), 'REST host:port.')
_GRPC_ADDRESS = flags.DEFINE_string('grpc_address', os.environ.get('B2D_SERVING_GRPC_ADDRESS'), 'gRPC host:port.')

_CONFIG = """model_config_list { config { name: 'pair' base_path: '%s' model_platform: 'tensorflow'
  model_version_policy { all {} } version_labels { key: 'stable' value: 1 } } }"""
_MODEL = '/v1/models/pair'
_PREDICT = _MODEL + ':predict'
_QUERIES = ['drill', 'drill', '', 'größe']
_TITLES = ['cordless drill 20V', '', 'hose', 'e\x00f "quoted" <b>']
_LOGITS = [served_models.pair_logit(q, t, 2) for q, t in zip(_QUERIES, _TITLES)]


_server = None  # one for all classes: a start costs two imports of TensorFlow


def setUpModule():
  global _server
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()
  if not _ADDRESS.value:
    folder = tempfile.mkdtemp()
    unittest.addModuleCleanup(shutil.rmtree, folder)
    _server = _start_server(folder)
    unittest.addModuleCleanup(_server.stop)


def tearDownModule():
  unittest.doModuleCleanups()  # pytest does not.


def _start_server(folder):
  for version in (1, 2):
    served_models.save(os.path.join(folder, 'pair'), version)
  config = os.path.join(folder, 'models.config')
  with open(config, 'w', encoding='utf-8') as file:
    file.write(_CONFIG % os.path.join(folder, 'pair'))
  return local_server.LocalServer(
    [
      f'--model_config_file={config}',
      '--allow_version_labels_for_unavailable_models',
      '--max_rows=256',
      f'--grpc_socket_path={folder}/socket',
    ],
    os.path.join(folder, 'log'),
  )


def _strings(values):
  return tf.make_tensor_proto(np.array(values, dtype=object), tf.string)


def _predict_request(model='pair', version=None, label=None, signature='', outputs=(), **inputs):
  request = predict_pb2.PredictRequest(output_filter=outputs)
  request.model_spec.name = model
  request.model_spec.signature_name = signature
  if version is not None:
    request.model_spec.version.value = version
  if label is not None:
    request.model_spec.version_label = label
  for name, value in (inputs or {'query': _QUERIES, 'title': _TITLES}).items():
    request.inputs[name].CopyFrom(_strings(value) if isinstance(value, (list, str)) else value)
  return request


def _example(**texts):
  return tf.train.Example(
    features=tf.train.Features(
      feature={
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()])) for name, text in texts.items()
      }
    )
  )


class ServingCase(parameterized.TestCase):
  """A server, and calls to it."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = _server
    cls.rest = _server.rest if _server else _ADDRESS.value
    grpc_address = _server.grpc if _server else _GRPC_ADDRESS.value
    cls.channel = grpc.insecure_channel(grpc_address)
    cls.addClassCleanup(cls.channel.close)
    cls.prediction = prediction_service_pb2_grpc.PredictionServiceStub(cls.channel)
    cls.models = model_service_pb2_grpc.ModelServiceStub(cls.channel)

  def http(self, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(self.rest, timeout=30)
    try:
      content = body if isinstance(body, bytes) or body is None else json.dumps(body)
      connection.request(method, path, content, headers or {})
      response = connection.getresponse()
      return response.status, json.loads(response.read())
    finally:
      connection.close()

  def post(self, body, path=_PREDICT):
    return self.http('POST', path, body)

  def assert_rpc_error(self, code, text, call, request):
    with self.assertRaises(grpc.RpcError) as raised:
      call(request, timeout=30)
    self.assertEqual(raised.exception.code(), code, raised.exception.details())
    self.assertIn(text, raised.exception.details())

  def assert_http_error(self, status, text, answer):
    self.assertEqual(answer[0], status, answer[1])
    self.assertEqual(list(answer[1]), ['error'])
    self.assertIn(text, answer[1]['error'])


class ErrorsTest(ServingCase):
  """The contract's table, over gRPC and over REST."""

  @parameterized.named_parameters(
    ('model', dict(model='x'), 'NOT_FOUND', 'Servable not found for request: Latest(x)'),
    ('version', dict(version=9), 'NOT_FOUND', 'Servable not found for request: Specific(pair, 9)'),
    ('no_name', dict(model=''), 'INVALID_ARGUMENT', 'ModelSpec has no name specified.'),
    ('label', dict(label='L'), 'INVALID_ARGUMENT', 'Unrecognized servable version label: L'),
    ('signature', dict(signature='s'), 'FAILED_PRECONDITION', 'Serving signature key "s" not found.'),
    ('missing', dict(query=['a']), 'INVALID_ARGUMENT', 'input size does not match signature: 1!=2'),
    (
      'extra',
      dict(query=['a'], title=['b'], more=['c']),
      'INVALID_ARGUMENT',
      'input size does not match signature: 3!=2',
    ),
    ('other_name', dict(query=['a'], more=['c']), 'INVALID_ARGUMENT', 'title'),
    (
      'dtype',
      dict(query=tf.make_tensor_proto([1]), title=['b']),
      'INVALID_ARGUMENT',
      'to be string but int32 is provided',
    ),
    ('lengths', dict(query=['a', 'b'], title=['a', 'b', 'c']), 'INVALID_ARGUMENT', ''),
    ('scalar', dict(query='a', title='b'), 'INVALID_ARGUMENT', ''),
    ('matrix', dict(query=[['a']], title=[['b']]), 'INVALID_ARGUMENT', ''),
    ('output', dict(outputs=['nope']), 'INVALID_ARGUMENT', 'output tensor alias not found'),
  )
  def test_grpc(self, arguments, code, text):
    self.assert_rpc_error(getattr(grpc.StatusCode, code), text, self.prediction.Predict, _predict_request(**arguments))

  @parameterized.named_parameters(
    ('model', '/v1/models/x:predict', {'inputs': {}}, 404, 'Servable not found'),
    ('version', _MODEL + '/versions/9:predict', {'inputs': {}}, 404, 'Specific(pair, 9)'),
    ('label', _MODEL + '/labels/L:predict', {'inputs': {}}, 400, 'Unrecognized servable version label: L'),
    ('signature', _PREDICT, {'signature_name': 's', 'inputs': {}}, 400, '"s" not found'),
    ('signature_type', _PREDICT, {'signature_name': 1, 'inputs': {}}, 400, 'must be a string value'),
    ('row_missing', _PREDICT, {'instances': [{'query': 'a'}]}, 400, 'keys must be equal to: '),
    ('row_extra', _PREDICT, {'instances': [{'query': 'a', 'title': 'b', 'c': 'd'}]}, 400, ''),
    ('column_missing', _PREDICT, {'inputs': {'query': ['a']}}, 400, 'Missing named input: title'),
    ('row_dtype', _PREDICT, {'instances': [{'query': 1, 'title': 'b'}]}, 400, 'is not of expected type: string'),
    ('column_dtype', _PREDICT, {'inputs': {'query': [None], 'title': ['b']}}, 400, 'is not of expected type: string'),
    ('lengths', _PREDICT, {'inputs': {'query': ['a', 'b'], 'title': ['a', 'b', 'c']}}, 400, ''),
    ('no_rows', _PREDICT, {'instances': []}, 400, 'No values in'),
    ('both', _PREDICT, {'instances': [], 'inputs': {}}, 400, 'expecting only one of'),
    ('neither', _PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    ('plain_rows', _PREDICT, {'instances': ['a']}, 400, 'plain list'),
    ('ragged', _PREDICT, {'inputs': {'query': [['a'], 'b'], 'title': ['b']}}, 400, ''),
    ('b64', _PREDICT, {'instances': [{'query': {'b64': '*'}, 'title': 'b'}]}, 400, 'base64'),
    ('b64_and_more', _PREDICT, {'instances': [{'query': {'b64': 'YQ==', 'c': 1}, 'title': 'b'}]}, 400, ''),
    ('empty_body', _PREDICT, b'', 400, 'JSON Parse error'),
    ('no_json', _PREDICT, b'{"instances": [', 400, 'JSON Parse error'),
    ('no_object', _PREDICT, b'[1]', 400, 'Is not object'),
    (
      'classify_predict',
      _MODEL + ':classify',
      {'examples': [{'query': 'a'}]},
      400,
      'Expected classification signature method_name',
    ),
    ('no_examples', _MODEL + ':regress', {'signature_name': 'regress', 'examples': []}, 400, 'empty'),
  )
  def test_rest(self, path, body, status, text):
    self.assert_http_error(status, text, self.post(body, path))

  @parameterized.parameters(
    ('GET', _PREDICT),
    ('POST', _MODEL),
    ('GET', _MODEL + '/versions/x'),
    ('POST', _MODEL + ':explain'),
    ('PUT', _PREDICT),
    ('GET', '/v2/models'),
  )
  def test_other_paths_are_not_found(self, method, path):
    connection = http.client.HTTPConnection(self.rest, timeout=30)
    connection.request(method, path)
    self.assertEqual(connection.getresponse().status, 404)
    connection.close()

  def test_status_of_an_unknown_model(self):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = 'x'
    text = 'Could not find any versions of model x'
    self.assert_rpc_error(grpc.StatusCode.NOT_FOUND, text, self.models.GetModelStatus, request)
    self.assert_http_error(404, text, self.http('GET', '/v1/models/x'))

  def test_long_messages_are_cut(self):
    with self.assertRaises(grpc.RpcError) as raised:
      self.prediction.Predict(_predict_request(signature='s' * 5000))
    self.assertLessEqual(len(raised.exception.details()), 1024)

  def test_batch_over_the_maximum(self):
    if not self.server:
      self.skipTest('needs a server whose maximum is known')
    texts = ['a'] * 257
    text = 'Task size 257 is larger than maximum input batch size 256'
    self.assert_rpc_error(
      grpc.StatusCode.INVALID_ARGUMENT, text, self.prediction.Predict, _predict_request(query=texts, title=texts)
    )
    self.assert_http_error(400, text, self.post({'inputs': {'query': texts, 'title': texts}}))


class AnswersTest(ServingCase):
  """Right answers, the same by every way."""

  def test_rows_columns_and_grpc_agree(self):
    status, rows = self.post(
      {'instances': [{'query': query, 'title': title} for query, title in zip(_QUERIES, _TITLES)]}
    )
    self.assertEqual(status, 200, rows)
    status, columns = self.post({'inputs': {'query': _QUERIES, 'title': _TITLES, 'ignored': 1}})
    self.assertEqual(status, 200, columns)
    response = self.prediction.Predict(_predict_request())
    for name in ('logit', 'probability'):
      by_grpc = tf.make_ndarray(response.outputs[name]).tolist()
      np.testing.assert_allclose(columns['outputs'][name], by_grpc, rtol=1e-6)
      self.assertEqual([row[name] for row in rows['predictions']], columns['outputs'][name])
    self.assertEqual(columns['outputs']['logit'], _LOGITS)
    self.assertEqual((response.model_spec.version.value, response.model_spec.signature_name), (2, 'serving_default'))

  def test_base64_is_the_string(self):
    def rows(encode):
      return self.post(
        {'instances': [{'query': encode(query), 'title': encode(title)} for query, title in zip(_QUERIES, _TITLES)]}
      )

    encoded = rows(lambda text: {'b64': base64.b64encode(text.encode()).decode()})
    self.assertEqual(encoded, rows(str))

  def test_bytes_that_are_not_utf8(self):
    encoded = {'b64': base64.b64encode(b'\xff\xfe\x80').decode()}
    raw = b'{"inputs": {"query": ["\xff\xfe\x80"], "title": [""]}}'
    expected = self.post({'inputs': {'query': [encoded], 'title': ['']}})
    self.assertEqual(expected[0], 200)
    self.assertEqual(self.post(raw), expected)

  def test_empty_batch(self):
    response = self.prediction.Predict(_predict_request(query=[], title=[]))
    self.assertEqual(tf.make_ndarray(response.outputs['logit']).shape, (0,))
    self.assertEqual(
      self.post({'inputs': {'query': [], 'title': []}}), (200, {'outputs': {'logit': [], 'probability': []}})
    )

  def test_floats_carry_a_point(self):
    connection = http.client.HTTPConnection(self.rest, timeout=30)
    connection.request('POST', _PREDICT, '{"inputs": {"query": ["a"], "title": ["b"]}}')
    self.assertIn(b'2.0', connection.getresponse().read())
    connection.close()

  def test_gzip(self):
    body = json.dumps({'inputs': {'query': _QUERIES, 'title': _TITLES}}).encode()
    status, answer = self.http('POST', _PREDICT, gzip.compress(body), {'Content-Encoding': 'gzip'})
    self.assertEqual((status, answer['outputs']['logit']), (200, _LOGITS))

  def test_output_filter(self):
    response = self.prediction.Predict(_predict_request(outputs=['logit']))
    self.assertEqual(list(response.outputs), ['logit'])

  @parameterized.parameters((dict(version=1), '/versions/1'), (dict(label='stable'), '/labels/stable'))
  def test_version_and_label(self, spec, path):
    response = self.prediction.Predict(_predict_request(**spec))
    expected = [logit - 1 for logit in _LOGITS]
    self.assertEqual(tf.make_ndarray(response.outputs['logit']).tolist(), expected)
    self.assertEqual(response.model_spec.version.value, 1)
    _, answer = self.post({'inputs': {'query': _QUERIES, 'title': _TITLES}}, f'{_MODEL}{path}:predict')
    self.assertEqual(answer['outputs']['logit'], expected)

  def test_classify_and_regress(self):
    probability = served_models.sigmoid(served_models.pair_logit('ab', 'abcd', 2))
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = 'pair', 'classify'
    request.input.example_list.examples.append(_example(query='ab', title='abcd'))
    classes = self.prediction.Classify(request).result.classifications[0].classes
    self.assertEqual([item.label for item in classes], ['0', '1'])
    self.assertAlmostEqual(classes[1].score, probability, 6)
    request = regression_pb2.RegressionRequest()
    request.model_spec.name, request.model_spec.signature_name = 'pair', 'regress'
    request.input.example_list_with_context.context.CopyFrom(_example(query='ab'))
    request.input.example_list_with_context.examples.append(_example(title='abcd'))
    self.assertAlmostEqual(self.prediction.Regress(request).result.regressions[0].value, probability, 6)
    body = {'context': {'query': 'ab'}, 'examples': [{'title': 'abcd'}]}
    _, answer = self.post({'signature_name': 'classify', **body}, _MODEL + ':classify')
    self.assertAlmostEqual(answer['results'][0][1][1], probability, 6)
    _, answer = self.post({'signature_name': 'regress', **body}, _MODEL + ':regress')
    self.assertAlmostEqual(answer['results'][0], probability, 6)

  def test_multi_inference(self):
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(_example(query='ab', title='abcd'))
    task = request.tasks.add(method_name='tensorflow/serving/classify')
    task.model_spec.name, task.model_spec.signature_name = 'pair', 'classify'
    result = self.prediction.MultiInference(request).results[0]
    self.assertLen(result.classification_result.classifications, 1)
    task = request.tasks.add(method_name='tensorflow/serving/regress')
    task.model_spec.name, task.model_spec.signature_name = 'pair', 'regress'
    self.assert_rpc_error(
      grpc.StatusCode.INVALID_ARGUMENT, 'Input tensor must be the same', self.prediction.MultiInference, request
    )

  def test_status_and_metadata(self):
    _, answer = self.http('GET', _MODEL)
    self.assertEqual(
      answer['model_version_status'],
      [
        {'version': version, 'state': 'AVAILABLE', 'status': {'error_code': 'OK', 'error_message': ''}}
        for version in ('2', '1')
      ],
    )
    _, answer = self.http('GET', _MODEL + '/versions/1/metadata')
    self.assertEqual(answer['model_spec']['version'], '1')
    signatures = answer['metadata']['signature_def']['signature_def']
    self.assertContainsSubset(['serving_default', 'classify', 'regress'], signatures)
    self.assertEqual(signatures['serving_default']['inputs']['query']['dtype'], 'DT_STRING')
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=['signature_def'])
    request.model_spec.name = 'pair'
    response = self.prediction.GetModelMetadata(request)
    by_grpc = get_model_metadata_pb2.SignatureDefMap()
    response.metadata['signature_def'].Unpack(by_grpc)
    self.assertSameElements(by_grpc.signature_def, signatures)

  def test_unix_socket(self):
    if not self.server:
      self.skipTest("needs the path of the server's socket")
    with grpc.insecure_channel(f'unix:{os.path.dirname(self.server.log_path)}/socket') as channel:
      stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
      response = stub.Predict(_predict_request(), wait_for_ready=True, timeout=10)
    self.assertEqual(tf.make_ndarray(response.outputs['logit']).tolist(), _LOGITS)

  def test_64_clients_get_their_own_answers(self):
    def call(client):
      titles = ['t' * ((client * 7 + row) % 50) for row in range(client % 5 + 1)]
      queries = ['q' * client] * len(titles)
      expected = [served_models.pair_logit(q, t, 2) for q, t in zip(queries, titles)]
      for turn in range(4):
        if (client + turn) % 2:
          response = self.prediction.Predict(_predict_request(query=queries, title=titles), timeout=60)
          answer = tf.make_ndarray(response.outputs['logit']).tolist()
        else:
          answer = self.post({'inputs': {'query': queries, 'title': titles}})[1]['outputs']['logit']
        self.assertEqual(answer, expected)

    with futures.ThreadPoolExecutor(64) as clients:
      list(clients.map(call, range(64)))


if __name__ == '__main__':
  absltest.main()
