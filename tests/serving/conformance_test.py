r"""What TensorFlow Serving answers, row by row, against any server that serves the test models.

This is the one place where the contract is written down: each row, or a test's docstring, names the file and the
function of TensorFlow Serving 2.20 (or of TensorFlow, where it says so) that makes the answer. Where the source
promises a code but no text of its own, the row asks for the code alone.

By itself it starts the local test server. For the C++ server, write the models and their configuration, and serve
them:

    python -m tests.served_models /tmp/models --base_path=/models
    docker run -p 8500:8500 -p 8501:8501 -v /tmp/models:/models tensorflow/serving:2.20.0 \
      --model_config_file=/models/models.config --monitoring_config_file=/models/monitoring.config \
      --allow_version_labels_for_unavailable_models
    python -m tests.serving.conformance_test --address=localhost:8501 --grpc_address=localhost:8500
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
from google.protobuf import descriptor_pool
import grpc
from grpc_reflection.v1alpha import proto_reflection_descriptor_database
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
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

_MODEL = '/v1/models/pair'
_PREDICT = _MODEL + ':predict'
_QUERIES = ['drill', 'drill', '', 'größe']
_TITLES = ['cordless drill 20V', '', 'hose', 'e\x00f "quoted" <b>']
_LOGITS = [served_models.pair_logit(q, t, 2) for q, t in zip(_QUERIES, _TITLES)]
_INFER = ['classify', 'regress']
_METRICS = '/monitoring/prometheus/metrics'
_ONE_EXAMPLE = {'examples': [{'query': 'a'}]}
# Sources that several rows share.
_GRAPH = 'the graph itself: the exported signatures refuse it'
_HANDLE = 'model_servers/http_rest_api_handler.cc, GetInfoMap'
_JSON = 'util/json_tensor.cc, '
_PARSE = _JSON + 'ParseJson'
_REQUEST = _JSON + 'FillPredictRequestFromJson'
_ROWS = _JSON + 'FillTensorMapFromInstancesList'
_COLUMNS = _JSON + 'FillTensorMapFromInputsMap'
_VALUE = _JSON + 'AddValueToTensor'
_BASE64 = _JSON + 'JsonDecodeBase64Object'
_EXAMPLES = _JSON + 'FillClassifyRegressRequestFromJson'
_CLASSIFY = 'servables/tensorflow/classifier.cc, PreProcessClassification'
_REGRESS = 'servables/tensorflow/regressor.cc, PreProcessRegression'


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
  served_models.write(folder, folder)
  return local_server.LocalServer(
    [
      f'--model_config_file={folder}/models.config',
      f'--monitoring_config_file={folder}/monitoring.config',
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

  def raw(self, method, path, body=None, headers=None):
    """Status, headers and bytes of an answer."""
    connection = http.client.HTTPConnection(self.rest, timeout=30)
    try:
      content = body if isinstance(body, bytes) or body is None else json.dumps(body)
      connection.request(method, path, content, headers or {})
      response = connection.getresponse()
      return response.status, response.headers, response.read()
    finally:
      connection.close()

  def http(self, method, path, body=None, headers=None):
    status, _, content = self.raw(method, path, body, headers)
    return status, json.loads(content)

  def post(self, body, path=_PREDICT):
    return self.http('POST', path, body)

  def assert_rpc_error(self, code, text, call, request, source=''):
    with self.assertRaises(grpc.RpcError) as raised:
      call(request, timeout=30)
    self.assertEqual(raised.exception.code(), code, f'{source}: {raised.exception.details()}')
    self.assertIn(text, raised.exception.details(), source)

  def assert_http_error(self, status, text, answer, source=''):
    self.assertEqual(answer[0], status, f'{source}: {answer[1]}')
    self.assertEqual(list(answer[1]), ['error'], source)
    self.assertIn(text, answer[1]['error'], source)


class ErrorsTest(ServingCase):
  """What is refused, and how."""

  @parameterized.named_parameters(
    (
      'model',
      'core/basic_manager.cc, ServingMap::GetUntypedServableHandle',
      dict(model='x'),
      'NOT_FOUND',
      'Servable not found for request: Latest(x)',
    ),
    (
      'version',
      'core/basic_manager.cc, ServingMap::GetUntypedServableHandle',
      dict(version=9),
      'NOT_FOUND',
      'Servable not found for request: Specific(pair, 9)',
    ),
    (
      'no_name',
      'model_servers/server_core.cc, ServableRequestFromModelSpec',
      dict(model=''),
      'INVALID_ARGUMENT',
      'ModelSpec has no name specified.',
    ),
    (
      'label',
      'model_servers/server_core.cc, ServableRequestFromModelSpec',
      dict(label='L'),
      'INVALID_ARGUMENT',
      'Unrecognized servable version label: L',
    ),
    (
      'signature',
      'servables/tensorflow/predict_util.cc, RunPredict',
      dict(signature='s'),
      'FAILED_PRECONDITION',
      'Serving signature key "s" not found.',
    ),
    (
      'missing',
      'servables/tensorflow/predict_util.cc, VerifyRequestInputsSize',
      dict(query=['a']),
      'INVALID_ARGUMENT',
      'input size does not match signature: 1!=2',
    ),
    (
      'extra',
      'servables/tensorflow/predict_util.cc, VerifyRequestInputsSize',
      dict(query=['a'], title=['b'], more=['c']),
      'INVALID_ARGUMENT',
      'input size does not match signature: 3!=2',
    ),
    (
      'other_name',
      'TensorFlow, cc/saved_model/util.cc, GetInputValues',
      dict(query=['a'], more=['c']),
      'INVALID_ARGUMENT',
      'title',
    ),
    (
      'dtype',
      'TensorFlow, core/framework/function.cc, FunctionCallFrame::SetArgs',
      dict(query=tf.make_tensor_proto([1]), title=['b']),
      'INVALID_ARGUMENT',
      'to be string but int32 is provided',
    ),
    ('lengths', _GRAPH, dict(query=['a', 'b'], title=['a', 'b', 'c']), 'INVALID_ARGUMENT', ''),
    ('scalar', _GRAPH, dict(query='a', title='b'), 'INVALID_ARGUMENT', ''),
    ('matrix', _GRAPH, dict(query=[['a']], title=[['b']]), 'INVALID_ARGUMENT', ''),
    (
      'output',
      'servables/tensorflow/predict_util.cc, PreProcessPrediction',
      dict(outputs=['nope']),
      'INVALID_ARGUMENT',
      'output tensor alias not found',
    ),
    (
      'output_twice',
      'servables/tensorflow/predict_util.cc, PreProcessPrediction',
      dict(outputs=['logit', 'logit']),
      'INVALID_ARGUMENT',
      'duplicate output tensor alias: logit',
    ),
  )
  def test_grpc(self, source, arguments, code, text):
    request = _predict_request(**arguments)
    self.assert_rpc_error(getattr(grpc.StatusCode, code), text, self.prediction.Predict, request, source)

  @parameterized.named_parameters(
    ('model', _HANDLE, '/v1/models/x:predict', {'inputs': {}}, 404, 'Servable not found'),
    ('version', _HANDLE, _MODEL + '/versions/9:predict', {'inputs': {}}, 404, 'Specific(pair, 9)'),
    ('label', _HANDLE, _MODEL + '/labels/L:predict', {'inputs': {}}, 400, 'Unrecognized servable version label: L'),
    ('signature', _HANDLE, _PREDICT, {'signature_name': 's', 'inputs': {}}, 400, '"s" not found'),
    ('signature_type', _JSON + 'FillSignature', _PREDICT, {'signature_name': 1, 'inputs': {}}, 400, 'string value'),
    ('row_missing', _ROWS, _PREDICT, {'instances': [{'query': 'a'}]}, 400, 'keys must be equal to: '),
    ('row_extra', _ROWS, _PREDICT, {'instances': [{'query': 'a', 'title': 'b', 'c': 'd'}]}, 400, ''),
    ('column_missing', _COLUMNS, _PREDICT, {'inputs': {'query': ['a']}}, 400, 'Missing named input: title'),
    ('row_dtype', _VALUE, _PREDICT, {'instances': [{'query': 1, 'title': 'b'}]}, 400, 'not of expected type: string'),
    ('column_dtype', _VALUE, _PREDICT, {'inputs': {'query': [None], 'title': ['b']}}, 400, 'type: string'),
    ('lengths', _GRAPH, _PREDICT, {'inputs': {'query': ['a', 'b'], 'title': ['a', 'b', 'c']}}, 400, ''),
    ('scalar', _GRAPH, _PREDICT, {'inputs': {'query': 'a', 'title': 'b'}}, 400, ''),
    ('no_rows', _REQUEST, _PREDICT, {'instances': []}, 400, 'No values in'),
    ('no_list', _REQUEST, _PREDICT, {'instances': 1}, 400, "Excepting 'instances' to be an list/array"),
    ('both', _REQUEST, _PREDICT, {'instances': [], 'inputs': {}}, 400, 'expecting only one of'),
    ('neither', _REQUEST, _PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
    ('plain_rows', _ROWS, _PREDICT, {'instances': ['a']}, 400, 'plain list'),
    ('plain_columns', _COLUMNS, _PREDICT, {'inputs': ['a']}, 400, 'plain value/list'),
    ('ragged', _JSON + 'FillTensorProto', _PREDICT, {'inputs': {'query': [['a'], 'b'], 'title': ['b']}}, 400, ''),
    ('b64', _BASE64, _PREDICT, {'instances': [{'query': {'b64': '*'}, 'title': 'b'}]}, 400, 'base64'),
    ('b64_and_more', _BASE64, _PREDICT, {'instances': [{'query': {'b64': 'YQ==', 'c': 1}, 'title': 'b'}]}, 400, ''),
    ('empty_body', _PARSE, _PREDICT, b'', 400, 'JSON Parse error: The document is empty'),
    ('no_json', _PARSE, _PREDICT, b'{"instances": [', 400, 'JSON Parse error'),
    ('no_object', _PARSE, _PREDICT, b'[1]', 400, 'Is not object'),
    ('no_examples', _EXAMPLES, _MODEL + ':regress', {'signature_name': 'regress', 'examples': []}, 400, 'empty'),
    ('no_example', _EXAMPLES, _MODEL + ':classify', {'examples': [1]}, 400, 'Example must be JSON object'),
    ('null', _EXAMPLES, _MODEL + ':classify', {'examples': [{'query': None}]}, 400, 'unexpected JSON type: Null'),
    ('classify_predict', _CLASSIFY, _MODEL + ':classify', _ONE_EXAMPLE, 400, 'Expected one input Tensor.'),
    ('regress_predict', _REGRESS, _MODEL + ':regress', _ONE_EXAMPLE, 400, 'Expected one input Tensor.'),
    (
      'regress_classify',
      _REGRESS,
      _MODEL + ':regress',
      {'signature_name': 'classify', **_ONE_EXAMPLE},
      400,
      'Expected one output Tensor.',
    ),
    (
      'classify_regress',
      _CLASSIFY,
      _MODEL + ':classify',
      {'signature_name': 'regress', **_ONE_EXAMPLE},
      400,
      'at least one of "classes" or "scores"',
    ),
    (
      'classify_text',
      _CLASSIFY,
      '/v1/models/student_text:classify',
      {'examples': [{'text': 'a'}]},
      400,
      'No classification inputs found in SignatureDef',
    ),
  )
  def test_rest(self, source, path, body, status, text):
    self.assert_http_error(status, text, self.post(body, path), source)

  @parameterized.parameters(
    ('GET', _PREDICT),
    ('POST', _MODEL),
    ('GET', _MODEL + '/versions/x'),
    ('POST', _MODEL + ':explain'),
    ('POST', _MODEL + ':PREDICT'),
    ('POST', _PREDICT + '?x=1'),
    ('PUT', _PREDICT),
    ('DELETE', _MODEL),
    ('OPTIONS', _PREDICT),
    ('POST', '/V1/models/pair/versions/1/labels/stable:predict'),
  )
  def test_malformed(self, method, path):
    """http_rest_api_handler.cc, ProcessRequest; evhttp_request.cc, uri_path: the query string is part of the path."""
    self.assert_http_error(400, f'Malformed request: {method} {path}', self.http(method, path))

  @parameterized.parameters('/v1/models', _MODEL + '/versions/99999999999999999999')
  def test_malformed_in_words_of_its_own(self, path):
    """http_rest_api_util.cc, ParseModelInfo, and http_rest_api_handler.cc, ProcessModelStatusRequest."""
    self.assertEqual(self.raw('GET', path)[0], 400)

  @parameterized.parameters('/v2/models', '/v1', '/models/pair')
  def test_paths_outside_v1_are_not_found(self, path):
    """http_server.cc, RestApiRequestDispatcher::Dispatch."""
    self.assertEqual(self.raw('GET', path)[0], 404)

  @parameterized.parameters('/V1/MODELS/pair/VERSIONS/1', '/v1/models/pair/METADATA')
  def test_letters_case_of_paths(self, path):
    """http_rest_api_util.cc, kModelStatusApiRegex: no matter; but ProcessRequest knows `metadata` only in small."""
    self.assertIn('model_version_status', self.http('GET', path)[1])

  def test_status_of_an_unknown_model(self):
    """get_model_status_impl.cc, GetModelStatusWithModelSpec."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = 'x'
    text = 'Could not find any versions of model x'
    self.assert_rpc_error(grpc.StatusCode.NOT_FOUND, text, self.models.GetModelStatus, request)
    self.assert_http_error(404, text, self.http('GET', '/v1/models/x'))
    # http_rest_api_util.cc, kModelStatusApiRegex: all but / and : belongs to the name.
    text = 'Could not find any versions of model pair?x=1'
    self.assert_http_error(404, text, self.http('GET', _MODEL + '?x=1'))
    text = 'Could not find version 9 of model pair'
    self.assert_http_error(404, text, self.http('GET', _MODEL + '/versions/9'))

  def test_long_messages_are_cut(self):
    """grpc_status_util.cc, ToGRPCStatus."""
    with self.assertRaises(grpc.RpcError) as raised:
      self.prediction.Predict(_predict_request(signature='s' * 5000))
    self.assertLen(raised.exception.details(), 1024 + len('...TRUNCATED'))
    self.assertEndsWith(raised.exception.details(), 'sss...TRUNCATED')

  @parameterized.parameters('Predict', 'Classify', 'MultiInference', 'GetModelMetadata')
  def test_bytes_that_are_no_message(self, method):
    """gRPC, grpcpp/impl/proto_utils.h, GenericDeserialize."""
    call = self.channel.unary_unary(f'/tensorflow.serving.PredictionService/{method}')
    self.assert_rpc_error(grpc.StatusCode.INTERNAL, '', call, b'\xff\xff garbage')

  @parameterized.parameters(b'no gzip', gzip.compress(b'{"inputs": {"query": ["a"], "title": ["b"]}}')[:-12])
  def test_broken_gzip(self, body):
    """evhttp_request.cc, ReadRequestGzipBytes: it leaves an empty body."""
    self.assert_http_error(400, '', self.http('POST', _PREDICT, body, {'Content-Encoding': 'gzip'}))

  def test_batch_over_the_maximum(self):
    """TensorFlow, core/kernels/batching_util/shared_batch_scheduler.h, Queue::Schedule."""
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
    """json_tensor.cc, MakeRowFormatJsonFromTensors and MakeColumnarFormatJsonFromTensors; columns ignore other keys."""
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
    """json_tensor.cc, JsonDecodeBase64Object."""

    def rows(encode):
      return self.post(
        {'instances': [{'query': encode(query), 'title': encode(title)} for query, title in zip(_QUERIES, _TITLES)]}
      )

    encoded = rows(lambda text: {'b64': base64.b64encode(text.encode()).decode()})
    self.assertEqual(encoded, rows(str))

  def test_bytes_that_are_not_utf8(self):
    """json_tensor.cc, ParseJson: no flag asks it to validate encodings."""
    encoded = {'b64': base64.b64encode(b'\xff\xfe\x80').decode()}
    raw = b'{"inputs": {"query": ["\xff\xfe\x80"], "title": [""]}}'
    expected = self.post({'inputs': {'query': [encoded], 'title': ['']}})
    self.assertEqual(expected[0], 200)
    self.assertEqual(self.post(raw), expected)

  def test_empty_batch(self):
    """predict_util.cc, RunPredict, and json_tensor.cc, FillTensorMapFromInputsMap: nothing refuses it."""
    response = self.prediction.Predict(_predict_request(query=[], title=[]))
    self.assertEqual(tf.make_ndarray(response.outputs['logit']).shape, (0,))
    self.assertEqual(
      self.post({'inputs': {'query': [], 'title': []}}), (200, {'outputs': {'logit': [], 'probability': []}})
    )

  def test_floats_carry_a_point(self):
    """json_tensor.cc, WriteDecimal."""
    connection = http.client.HTTPConnection(self.rest, timeout=30)
    connection.request('POST', _PREDICT, '{"inputs": {"query": ["a"], "title": ["b"]}}')
    self.assertIn(b'2.0', connection.getresponse().read())
    connection.close()

  @parameterized.parameters('gzip', 'x-gzip')
  def test_gzip(self, encoding):
    """evhttp_request.cc, NeedUncompressGzipContent."""
    body = json.dumps({'inputs': {'query': _QUERIES, 'title': _TITLES}}).encode()
    status, answer = self.http('POST', _PREDICT, gzip.compress(body), {'Content-Encoding': encoding})
    self.assertEqual((status, answer['outputs']['logit']), (200, _LOGITS))

  def test_bytes_after_the_json_are_accepted(self):
    """json_tensor.cc, ParseJson."""
    body = b' {"inputs": {"query": ["a"], "title": ["b"]}} {"more": ['
    self.assertEqual(self.post(body)[1]['outputs']['logit'], [2.0])

  def test_strings_as_tensor_content(self):
    """TensorFlow, core/framework/tensor.cc, Tensor::FromProto: C++ clients send strings so."""
    texts = [text.encode() for text in _TITLES]
    content = bytes(map(len, texts)) + b''.join(texts)  # Lengths are varints: one byte each below 128.
    packed = tensor_pb2.TensorProto(dtype=tf.string.as_datatype_enum, tensor_content=content)
    packed.tensor_shape.dim.add(size=len(texts))
    response = self.prediction.Predict(_predict_request(query=_QUERIES, title=packed))
    self.assertEqual(tf.make_ndarray(response.outputs['logit']).tolist(), _LOGITS)
    packed.tensor_content = content[:-1]
    self.assert_rpc_error(
      grpc.StatusCode.INVALID_ARGUMENT, '', self.prediction.Predict, _predict_request(query=_QUERIES, title=packed)
    )

  def test_status_ignores_labels(self):
    """get_model_status_impl.cc, GetModelStatusWithModelSpec."""
    self.assertEqual(self.http('GET', _MODEL + '/labels/nope'), self.http('GET', _MODEL))

  def test_output_filter(self):
    """predict_util.cc, PreProcessPrediction."""
    response = self.prediction.Predict(_predict_request(outputs=['logit']))
    self.assertEqual(list(response.outputs), ['logit'])

  @parameterized.parameters((dict(version=1), '/versions/1'), (dict(label='stable'), '/labels/stable'))
  def test_version_and_label(self, spec, path):
    """http_rest_api_util.cc, ParseModelInfo; predict_util.cc, RunPredict (MakeModelSpec)."""
    response = self.prediction.Predict(_predict_request(**spec))
    expected = [logit - 1 for logit in _LOGITS]
    self.assertEqual(tf.make_ndarray(response.outputs['logit']).tolist(), expected)
    self.assertEqual(response.model_spec.version.value, 1)
    _, answer = self.post({'inputs': {'query': _QUERIES, 'title': _TITLES}}, f'{_MODEL}{path}:predict')
    self.assertEqual(answer['outputs']['logit'], expected)

  def test_classify_and_regress(self):
    """classifier.cc and regressor.cc, PostProcess…Result; util.cc, InputToSerializedExampleTensor; json_tensor.cc."""
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
    """multi_inference.cc, TensorFlowMultiInferenceRunner::Infer."""
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(_example(query='ab', title='abcd'))
    for name in ('classify', 'regress'):
      task = request.tasks.add(method_name=f'tensorflow/serving/{name}')
      task.model_spec.name, task.model_spec.signature_name = 'pair', name
    classified, regressed = self.prediction.MultiInference(request).results
    value = regressed.regression_result.regressions[0].value
    self.assertAlmostEqual(classified.classification_result.classifications[0].classes[1].score, value, 6)
    self.assertEqual([classified.model_spec.signature_name, regressed.model_spec.signature_name], _INFER)

  @parameterized.named_parameters(
    ('twice', ['classify', 'classify'], 'classify', 'INVALID_ARGUMENT', 'Duplicate evaluation of signature: classify'),
    ('unknown', ['s'], 'classify', 'INVALID_ARGUMENT', 'Requested signature not found in model graph: s'),
    ('method', ['classify'], 'predict', 'UNIMPLEMENTED', 'Unsupported signature method_name'),
    ('predict', ['serving_default'], 'classify', 'INVALID_ARGUMENT', 'Expected one input Tensor.'),
  )
  def test_multi_inference_refuses(self, signatures, method, code, text):
    """multi_inference.cc, TensorFlowMultiInferenceRunner::Infer."""
    request = inference_pb2.MultiInferenceRequest()
    request.input.example_list.examples.append(_example(query='ab', title='abcd'))
    for name in signatures:
      task = request.tasks.add(method_name=f'tensorflow/serving/{method}')
      task.model_spec.name, task.model_spec.signature_name = 'pair', name
    self.assert_rpc_error(getattr(grpc.StatusCode, code), text, self.prediction.MultiInference, request)

  def test_status_and_metadata(self):
    """get_model_status_impl.cc, get_model_metadata_impl.cc; http_rest_api_util.cc, ToJsonString."""
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
    """server.cc, Server::BuildAndStart."""
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


class BesideTheCallsTest(ServingCase):
  """Metrics and reflection."""

  def metrics(self):
    status, _, content = self.raw('GET', _METRICS)
    if status == 404:
      self.skipTest('needs a server with --monitoring_config_file')
    self.assertEqual(status, 200)
    samples = (line.rsplit(' ', 1) for line in content.decode().splitlines() if not line.startswith('#'))
    return {name: float(value) for name, value in samples}

  def counted(self, call):
    """What a call adds to the counts of `pair`."""
    before = self.metrics()
    call()
    names = [':tensorflow:serving:request_count{model_name="pair"', ':tensorflow:serving:request_latency_count{']
    return {
      name: value - before.get(name, 0)
      for name, value in self.metrics().items()
      if name.startswith(tuple(names)) and value != before.get(name, 0)
    }

  def test_calls_are_counted(self):
    """prediction_service_impl.cc; http_server.cc, ProcessRequest; util.cc, RecordRequestLatency."""
    rest = self.counted(lambda: self.post({'inputs': {'query': ['a'], 'title': ['b']}}))
    grpc_calls = self.counted(lambda: self.prediction.Predict(_predict_request()))
    for found, labels in ((rest, 'API="predict",entrypoint="REST"'), (grpc_calls, 'API="Predict",entrypoint="GRPC"')):
      self.assertEqual(found.pop(':tensorflow:serving:request_count{model_name="pair",status="OK"}'), 1)
      self.assertEqual(found, {f':tensorflow:serving:request_latency_count{{model_name="pair",{labels}}}': 1})

  def test_errors_are_counted_without_latency(self):
    """prediction_service_impl.cc, PredictionServiceImpl::Predict."""
    found = self.counted(lambda: self.post({'inputs': {'query': 1, 'title': ['b']}}))
    self.assertEqual(found, {':tensorflow:serving:request_count{model_name="pair",status="INVALID_ARGUMENT"}': 1})

  def test_metadata_status_and_multi_inference_over_grpc_are_not_counted(self):
    """prediction_service_impl.cc, GetModelMetadata and MultiInference; model_service_impl.cc."""

    def call():
      status = get_model_status_pb2.GetModelStatusRequest()
      metadata = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=['signature_def'])
      status.model_spec.name = metadata.model_spec.name = 'pair'
      self.models.GetModelStatus(status)
      self.prediction.GetModelMetadata(metadata)
      several = inference_pb2.MultiInferenceRequest()
      several.input.example_list.examples.append(_example(query='ab', title='abcd'))
      task = several.tasks.add(method_name='tensorflow/serving/classify')
      task.model_spec.name, task.model_spec.signature_name = 'pair', 'classify'
      self.prediction.MultiInference(several)

    self.assertEmpty(self.counted(call))

  def test_buckets(self):
    """util.cc, request_latency: Buckets::Exponential(10, 1.8, 33); prometheus_exporter.cc, SerializeHistogram."""
    self.prediction.Predict(_predict_request())
    name = ':tensorflow:serving:request_latency_bucket{model_name="pair",API="Predict",entrypoint="GRPC",le="'
    limits = [key.removeprefix(name).removesuffix('"}') for key in self.metrics() if key.startswith(name)]
    self.assertEqual((len(limits), limits[:3], limits[-1]), (34, ['10', '18', '32.4'], '+Inf'))

  def test_metrics_path_is_exact(self):
    """http_server.cc, ProcessPrometheusRequest."""
    self.metrics()
    status, _, content = self.raw('GET', _METRICS + '?x=1')
    self.assertEqual((status, content), (400, f'Unexpected path: {_METRICS}?x=1. Should be {_METRICS}'.encode()))

  def test_reflection(self):
    """server.cc, Server::BuildAndStart: InitProtoReflectionServerBuilderPlugin; what `grpcurl list` asks."""
    database = proto_reflection_descriptor_database.ProtoReflectionDescriptorDatabase(self.channel)
    services = ['tensorflow.serving.ModelService', 'tensorflow.serving.PredictionService']
    self.assertContainsSubset(services, database.get_services())
    pool = descriptor_pool.DescriptorPool(database)
    method = pool.FindServiceByName(services[1]).methods_by_name['Predict']
    self.assertEqual(method.input_type.fields_by_name['inputs'].message_type.GetOptions().map_entry, True)
    status = pool.FindServiceByName(services[0]).methods_by_name['GetModelStatus']
    self.assertEqual(status.output_type.full_name, 'tensorflow.serving.GetModelStatusResponse')


@parameterized.named_parameters(*((name, name) for name in served_models.STUDENTS))
class StudentsTest(ServingCase):
  """What `export` makes of students, by every way: a pair, a convolved text, five classes."""

  def predict(self, name, **inputs):
    response = self.prediction.Predict(_predict_request(model=name, **inputs))
    return {alias: tf.make_ndarray(value) for alias, value in response.outputs.items()}

  def texts(self, name):
    return {field: (_QUERIES, _TITLES)[index] for index, field in enumerate(served_models.STUDENTS[name].fields)}

  def test_all_ways_agree(self, name):
    texts = self.texts(name)
    expected = self.predict(name, **texts)
    classes = served_models.STUDENTS[name].num_classes
    self.assertEqual(expected['logit'].shape, (4,) if classes == 2 else (4, classes))
    path = f'/v1/models/{name}:predict'
    columns = self.post({'inputs': texts}, path)[1]['outputs']
    encoded = {
      field: [{'b64': base64.b64encode(text.encode()).decode()} for text in values] for field, values in texts.items()
    }
    rows = self.post({'instances': [dict(zip(encoded, row)) for row in zip(*encoded.values())]}, path)[1]
    for alias, values in expected.items():
      np.testing.assert_allclose(columns[alias], values, rtol=1e-5)
      np.testing.assert_allclose([row[alias] for row in rows['predictions']], values, rtol=1e-5)

  def test_classify(self, name):
    texts = self.texts(name)
    body = {'signature_name': 'classify', 'examples': [dict(zip(texts, row)) for row in zip(*texts.values())]}
    status, answer = self.post(body, f'/v1/models/{name}:classify')
    self.assertEqual(status, 200, answer)
    scores = np.array([[score for _, score in row] for row in answer['results']])
    probability = self.predict(name, **texts)['probability']
    if probability.ndim == 1:
      probability = np.stack([1 - probability, probability], axis=1)
    np.testing.assert_allclose(scores, probability, atol=1e-6)
    self.assertEqual([label for label, _ in answer['results'][0]], list(served_models.STUDENTS[name].classes or '01'))

  def test_empty_batch(self, name):
    outputs = self.predict(name, **{field: [] for field in self.texts(name)})
    self.assertEqual({len(values) for values in outputs.values()}, {0})

  def test_wrong_shapes(self, name):
    fields = list(self.texts(name))
    shapes = ['a', [['a']]] + ([(['a'], ['a', 'b'])] if len(fields) == 2 else [])
    for shape in shapes:
      inputs = dict(zip(fields, shape if isinstance(shape, tuple) else [shape] * len(fields)))
      request = _predict_request(model=name, **inputs)
      self.assert_rpc_error(grpc.StatusCode.INVALID_ARGUMENT, '', self.prediction.Predict, request, _GRAPH)

  def test_any_bytes(self, name):
    """NULs, invalid UTF-8, long texts and words: finite scores."""
    odd = [b'', b'\x00 a\x00', b'\xff\xfe', b'\xc3(', ('界' * 5000).encode(), b'w ' * 20000, b'x' * 200_000]
    inputs = {field: tf.make_tensor_proto(np.array(odd, object), tf.string) for field in self.texts(name)}
    for values in self.predict(name, **inputs).values():
      self.assertTrue(np.isfinite(values).all())


if __name__ == '__main__':
  absltest.main()
