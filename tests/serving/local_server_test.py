"""The local test server beside its answers: versions, crashes, limits, slow clients, metrics; the client."""

from concurrent import futures
import contextlib
import gzip
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from absl.testing import absltest
import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import client
from serving.local_server import model_worker
from serving.local_server import options
from serving.local_server import servable
from tests import local_server
from tests import served_models

_MAX_BODY_BYTES = 100_000
_MOST_CALLS = 64
_METRICS = '/monitoring/prometheus/metrics'
_QUERY, _TITLE = 'ab', 'abcd'
_LOGIT = served_models.pair_logit(_QUERY, _TITLE, 0)  # plus the version
_ROOT = pathlib.Path(__file__).parents[2]
_server = None


def setUpModule():
  global _server
  folder = tempfile.mkdtemp()
  unittest.addModuleCleanup(shutil.rmtree, folder)
  served_models.save(os.path.join(folder, 'pair'))
  monitoring = os.path.join(folder, 'monitoring.config')
  pathlib.Path(monitoring).write_text(f'prometheus_config {{ enable: true, path: "{_METRICS}" }}')
  _server = local_server.LocalServer(
    [
      '--model_name=pair',
      f'--model_base_path={folder}/pair',
      f'--reload_root={folder}',
      f'--monitoring_config_file={monitoring}',
      f'--max_body_bytes={_MAX_BODY_BYTES}',
      '--client_timeout_secs=2',
      '--file_system_poll_wait_seconds=0.2',
      f'--max_concurrent_requests={_MOST_CALLS}',
      '--enable_grpc_healthcheck_service',
      '--rest_api_enable_cors_support',
      # Flags of the real server that this one does not have; and one that a configuration file would win over.
      '--rest_api_num_threads=4',
      '--flush_filesystem_caches',
    ],
    os.path.join(folder, 'log'),
  )
  unittest.addModuleCleanup(_server.stop)


def tearDownModule():
  unittest.doModuleCleanups()  # pytest does not.


def _wait(condition, seconds=300):
  deadline = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > deadline:
      raise TimeoutError('the condition did not come true')
    time.sleep(0.1)


class LocalServerCase(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = os.path.dirname(_server.log_path)
    self.channel = self.enter_context(grpc.insecure_channel(_server.grpc))
    self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
    self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

  def predict(self, model='pair', label=None, timeout=30):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    if label:
      request.model_spec.version_label = label
    for name, text in (('query', _QUERY), ('title', _TITLE)):
      request.inputs[name].CopyFrom(tf.make_tensor_proto([text]))
    return self.prediction.Predict(request, timeout)

  def logit(self, model):
    return tf.make_ndarray(self.predict(model).outputs['logit']).tolist()

  def post(self, body, headers=None, timeout=30):
    connection = http.client.HTTPConnection(_server.rest, timeout=timeout)
    try:
      connection.request('POST', '/v1/models/pair:predict', body, headers or {})
      response = connection.getresponse()
      return response.status, json.loads(response.read())
    finally:
      connection.close()

  def states(self, model):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = model
    state = get_model_status_pb2.ModelVersionStatus.State
    return {
      version.version: (state.Name(version.state), version.status.error_message)
      for version in self.models.GetModelStatus(request).model_version_status
    }

  def reload(self, *models, labels=None, base_path=None):
    """Serves `pair`, with these labels, and the other models."""
    request = model_management_pb2.ReloadConfigRequest()
    for name in ('pair', *models):
      config = request.config.model_config_list.config.add(
        name=name, model_platform='tensorflow', base_path=base_path or os.path.join(self.folder, name)
      )
      if name == 'pair':
        config.version_labels.update(labels or {})
    return self.models.HandleReloadConfigRequest(request, timeout=60)

  @contextlib.contextmanager
  def assert_rpc_error(self, code, text=''):
    with self.assertRaises(grpc.RpcError) as raised:
      yield
    self.assertEqual(raised.exception.code(), code, raised.exception.details())
    self.assertIn(text, raised.exception.details())


class VersionsTest(LocalServerCase):
  def test_a_new_version_replaces_the_old_one_without_a_failed_call(self):
    served_models.save(os.path.join(self.folder, 'changing'))
    self.reload('changing')
    self.addCleanup(self.reload)
    done, answers = threading.Event(), set()

    def call():
      while not done.is_set():
        answers.update(self.logit('changing'))

    with futures.ThreadPoolExecutor(4) as clients:
      calls = [clients.submit(call) for _ in range(4)]
      _wait(lambda: answers)
      served_models.save(os.path.join(self.folder, 'changing'), 2)
      _wait(lambda: _LOGIT + 2 in answers)
      _wait(lambda: self.states('changing')[1][0] == 'END')
      done.set()
      for result in calls:
        result.result()
    self.assertEqual(answers, {_LOGIT + 1, _LOGIT + 2})
    self.assertEqual(self.states('changing'), {1: ('END', ''), 2: ('AVAILABLE', '')})

  def test_a_broken_version_leaves_the_old_one(self):
    base_path = os.path.join(self.folder, 'breaking')
    served_models.save(base_path)
    self.reload('breaking')
    self.addCleanup(self.reload)
    os.makedirs(os.path.join(base_path, '2'))
    _wait(lambda: self.states('breaking').get(2, ('',))[0] == 'END')
    wrong = [served_models.predict_log(query=['a'], title=['b', 'c'])]
    served_models.save(base_path, 3, warmup=wrong)
    _wait(lambda: self.states('breaking').get(3, ('',))[0] == 'END')
    states = self.states('breaking')
    self.assertEqual(states[1], ('AVAILABLE', ''))
    self.assertIn('SavedModel', states[2][1])
    self.assertIn('assertion failed', states[3][1])
    self.assertEqual(self.logit('breaking'), [_LOGIT + 1])
    served_models.save(base_path, 4, warmup=[served_models.predict_log(query=['a'], title=['b'])])
    _wait(lambda: self.logit('breaking') == [_LOGIT + 4])

  def test_reload(self):
    with self.assert_rpc_error(grpc.StatusCode.FAILED_PRECONDITION, 'not currently available'):
      self.reload(labels={'canary': 7})
    self.reload(labels={'canary': 1})
    self.assertEqual(self.predict(label='canary').model_spec.version.value, 1)
    self.reload()
    with self.assert_rpc_error(grpc.StatusCode.INVALID_ARGUMENT, 'Unrecognized servable version label'):
      self.predict(label='canary')
    with self.assert_rpc_error(grpc.StatusCode.INVALID_ARGUMENT, 'multiple times'):
      self.reload('pair')
    with self.assert_rpc_error(grpc.StatusCode.INVALID_ARGUMENT, 'ServerModelConfig type'):
      self.models.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    with self.assert_rpc_error(grpc.StatusCode.PERMISSION_DENIED, '--reload_root'):
      self.reload(base_path=os.path.join(self.folder, '..'))
    self.assertEqual(self.logit('pair'), [_LOGIT + 1])

  def test_a_base_path_that_is_gone_keeps_what_is_loaded(self):
    base_path = os.path.join(self.folder, 'leaving')
    served_models.save(base_path)
    self.reload('leaving')
    self.addCleanup(self.reload)
    os.rename(base_path, f'{base_path}.away')  # At once: a poll amid a removal would find a folder without versions.
    _wait(lambda: 'leaving: could not find base path' in _server.log())
    self.assertEqual(self.logit('leaving'), [_LOGIT + 1])
    self.assertEqual(self.states('leaving'), {1: ('AVAILABLE', '')})

  def test_a_version_as_base_path_gets_a_hint(self):
    os.makedirs(os.path.join(self.folder, 'versioned'))
    shutil.copy(os.path.join(self.folder, 'pair', '1', 'saved_model.pb'), os.path.join(self.folder, 'versioned'))
    self.reload('versioned')
    self.addCleanup(self.reload)
    self.assertIn(f'is itself a version; the base path is its folder: {self.folder}', _server.log())


class StartTest(LocalServerCase):
  """What stops the start, in one line."""

  def start(self, *flags, files=(), **ports):
    """Starts a second server that cannot serve; returns its error."""
    for name, content in files:
      pathlib.Path(self.folder, name).write_text(content)
    ports = {'port': local_server.free_port(), 'rest_api_port': local_server.free_port(), **ports}
    command = [f'--{name}={port}' for name, port in ports.items()]
    command += [flag.replace('FOLDER', self.folder) for flag in ('--model_base_path=FOLDER/pair', *flags)]
    result = subprocess.run(
      [sys.executable, '-m', 'serving.server', *command],
      capture_output=True,
      text=True,
      timeout=300,
      cwd=_ROOT,
      check=False,
      env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'},
    )
    self.assertEqual(result.returncode, 1, result.stderr)
    lines = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    self.assertEqual(result.stderr.splitlines()[-1:], lines, result.stderr)
    self.assertNotIn('Traceback', result.stderr)
    return lines[0]

  def test_misspelt_fields(self):
    for flags, name, content, text in (
      (
        ['--enable_batching', '--batching_parameters_file'],
        'batching.config',
        'max_batch_sise { value: 4 }',
        'BatchingParameters',
      ),
      (['--monitoring_config_file'], 'wrong.config', 'prometheus { enable: true }', 'MonitoringConfig'),
    ):
      error = self.start(*flags[:-1], f'{flags[-1]}=FOLDER/{name}', files=[(name, content)])
      self.assertRegex(error, rf'{name}:1:1 : .* has no field named .*: expected a {text} in text form')
    settings = options.Options(session_config='intra_op_threads: 1', session_config_file='session.config')
    with self.assertRaisesRegex(ValueError, 'session.config:1:1 : .*: expected a ConfigProto in text form'):
      servable.session_config(settings)

  def test_flags(self):
    self.assertIn('needs --enable_batching', self.start('--batching_parameters_file=x'))
    self.assertIn('--no_such_flag=1: expected a flag', self.start('--no_such_flag=1'))

  def test_taken_ports(self):
    self.assertIn(f'127.0.0.1:{_server.rest_port} is not free', self.start(rest_api_port=_server.rest_port))
    self.assertIn(f'127.0.0.1:{_server.grpc_port} is not free', self.start(port=_server.grpc_port))

  def test_flags_that_only_the_real_server_has(self):
    for name in ('rest_api_num_threads', 'flush_filesystem_caches'):
      self.assertIn(f'--{name} is accepted and ignored', _server.log())


class CrashTest(LocalServerCase):
  def test_the_model_process_is_started_again_with_the_last_configuration(self):
    self.reload(labels={'canary': 1})
    self.addCleanup(self.reload)
    (child,) = _server.children()
    os.kill(child, signal.SIGKILL)
    with self.assert_rpc_error(grpc.StatusCode.UNAVAILABLE):
      for _ in range(1000):
        self.predict()

    def answers():
      try:
        return self.logit('pair') == [_LOGIT + 1]
      except grpc.RpcError:
        return False

    _wait(answers)
    self.assertNotEqual(_server.children(), [child])
    self.assertEqual(self.predict(label='canary').model_spec.version.value, 1)


class LimitsTest(LocalServerCase):
  def test_oversize_bodies(self):
    text = 'a' * _MAX_BODY_BYTES
    body = json.dumps({'inputs': {'query': [text], 'title': ['']}}).encode()
    self.assertEqual(self.post(body)[0], 413)
    self.assertEqual(self.post(gzip.compress(body), {'Content-Encoding': 'gzip'})[0], 413)
    self.assertEqual(self.post(b'no gzip', {'Content-Encoding': 'gzip'})[0], 400)
    request = predict_pb2.PredictRequest()
    request.inputs['query'].CopyFrom(tf.make_tensor_proto([text]))
    with self.assert_rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED):
      self.prediction.Predict(request)

  def test_a_small_message_cannot_ask_for_a_large_tensor(self):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = 'pair'
    for name in ('query', 'title'):
      request.inputs[name].CopyFrom(tf.make_tensor_proto(['a']))
      request.inputs[name].tensor_shape.dim[0].size = 1 << 40
    with self.assert_rpc_error(grpc.StatusCode.INVALID_ARGUMENT, 'larger than maximum input batch size'):
      self.prediction.Predict(request)
    request.inputs['title'].tensor_shape.dim[0].size = 1
    request.inputs['query'].tensor_shape.dim[0].size = 1
    request.inputs['query'].tensor_shape.dim.add(size=1 << 40)
    with self.assert_rpc_error(grpc.StatusCode.INVALID_ARGUMENT, 'tensor parsing error: query'):
      self.prediction.Predict(request)

  @absltest.skipIf('TF_CPP_MIN_LOG_LEVEL' in os.environ, 'whoever sets it wants to see more')
  def test_a_gpu_that_is_not_there_is_no_error(self):
    self.assertNotIn('cuInit', _server.log())

  def test_garbage_leaves_no_traceback_in_the_log(self):
    call = self.channel.unary_unary('/tensorflow.serving.PredictionService/Predict')
    with self.assert_rpc_error(grpc.StatusCode.INTERNAL, 'no serialised PredictRequest'):
      call(b'\xff\xff garbage')
    self.assertNotIn('Traceback', _server.log())

  def test_half_closed_sockets_are_answered(self):
    body = json.dumps({'inputs': {'query': [_QUERY], 'title': [_TITLE]}})
    for header in ('', 'Connection: close\r\n'):
      with socket.create_connection(('127.0.0.1', _server.rest_port), 10) as connection:
        head = f'POST /v1/models/pair:predict HTTP/1.1\r\nHost: a\r\n{header}Content-Length: {len(body)}\r\n\r\n'
        connection.sendall((head + body).encode())
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile('rb').read()
      self.assertStartsWith(answer, b'HTTP/1.1 200')
      self.assertIn(b'"logit"', answer)

  def test_deeply_nested_json(self):
    for depth in (500, 20000):
      nested = b'[' * depth + b']' * depth
      body = b'{"inputs": {"query": ' + nested + b', "title": []}}'
      self.assertEqual(self.post(body)[0], 400)

  def test_slow_and_half_open_clients_starve_nobody(self):
    head = b'POST /v1/models/pair:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{'
    sockets = []
    for sent in (b'', b'POST /v1/mod', head):
      for port in (_server.rest_port, _server.grpc_port):
        for _ in range(30):
          connection = self.enter_context(socket.create_connection(('127.0.0.1', port), 10))
          connection.sendall(sent)
          sockets += [connection] if port == _server.rest_port else []
    stop = threading.Event()
    self.addCleanup(stop.set)

    def no_message():
      stop.wait()
      yield from ()

    stalled = self.channel.stream_unary('/tensorflow.serving.PredictionService/Predict')
    calls = [stalled.future(no_message()) for _ in range(150)]
    started = time.monotonic()
    self.assertEqual(self.logit('pair'), [_LOGIT + 1])
    body = json.dumps({'inputs': {'query': [_QUERY], 'title': [_TITLE]}})
    self.assertEqual(self.post(body)[0], 200)
    self.assertLess(time.monotonic() - started, 5)
    for connection in sockets:  # Closed by the server, or told that the body did not come.
      self.assertIn(connection.recv(12), (b'', b'HTTP/1.1 408'))
    for call in calls:
      call.cancel()

  def test_one_request_too_many_is_unavailable(self):
    (child,) = _server.children()
    os.kill(child, signal.SIGSTOP)
    with futures.ThreadPoolExecutor(_MOST_CALLS) as clients:
      try:
        calls = [clients.submit(self.predict) for _ in range(_MOST_CALLS)]

        def refused():
          body = json.dumps({'inputs': {'query': [_QUERY], 'title': [_TITLE]}})
          with contextlib.suppress(TimeoutError):  # It was one of the first: they wait.
            return self.post(body, timeout=1)[0] == 503

        _wait(refused)
        with self.assert_rpc_error(grpc.StatusCode.UNAVAILABLE, 'queue to which this task was submitted is full'):
          self.predict()
      finally:
        os.kill(child, signal.SIGCONT)
      for call in calls:
        if not isinstance(call.exception(), grpc.RpcError):
          self.assertEqual(call.result().model_spec.version.value, 1)
    self.assertEqual(self.logit('pair'), [_LOGIT + 1])

  def test_work_that_comes_after_its_deadline_is_not_begun(self):
    connection, calls = absltest.mock.Mock(), absltest.mock.Mock()
    worker = model_worker.Worker(connection, calls)
    worker.answer(5, 'grpc', ('Predict', b''), time.monotonic() - 1)
    self.assertEqual(connection.send.call_args.args[0][:2], (5, grpc.StatusCode.DEADLINE_EXCEEDED.value[0]))
    self.assertEmpty(calls.mock_calls)

  def test_only_loopback_listens(self):
    listening = [
      line.split()[1][-13:]
      for file in ('tcp', 'tcp6')
      for line in pathlib.Path(f'/proc/net/{file}').read_text().splitlines()[1:]
      if line.split()[3] == '0A'
    ]
    for port in (_server.rest_port, _server.grpc_port):
      addresses = [address for address in listening if address.endswith(f':{port:04X}')]
      self.assertEqual(addresses, [f'0100007F:{port:04X}'])

  def test_nothing_of_a_request_starts_a_line_of_the_log(self):
    connection = http.client.HTTPConnection(_server.rest, timeout=10)
    connection.request('GET', '/v1/models/x%0Aforged')
    self.assertEqual(connection.getresponse().status, 404)
    connection.close()
    self.assertNotIn('\nforged', _server.log())


class MetricsTest(LocalServerCase):
  def test_counts_and_latencies(self):
    self.predict()
    with self.assert_rpc_error(grpc.StatusCode.NOT_FOUND):
      self.predict('made-up')
    connection = http.client.HTTPConnection(_server.rest, timeout=10)
    connection.request('GET', _METRICS)
    page = connection.getresponse().read().decode()
    connection.close()
    self.assertRegex(page, r'(?m)^:tensorflow:serving:request_count\{model_name="pair",status="OK"\} \d+$')
    self.assertRegex(
      page,
      r'request_latency_bucket\{model_name="pair",API="Predict",entrypoint="GRPC",'
      r'le="10"\} \d+',
    )
    self.assertNotIn('made-up', page)


class HealthTest(LocalServerCase):
  def test_health(self):
    health = health_pb2_grpc.HealthStub(self.channel)
    for service in ('', 'tensorflow.serving.PredictionService'):
      answer = health.Check(health_pb2.HealthCheckRequest(service=service))
      self.assertEqual(answer.status, health_pb2.HealthCheckResponse.SERVING)
    with self.assert_rpc_error(grpc.StatusCode.NOT_FOUND):
      health.Check(health_pb2.HealthCheckRequest(service='x'))

  def test_pages_of_other_origins_may_call(self):
    for method, status in (('OPTIONS', 200), ('GET', 400)):
      connection = http.client.HTTPConnection(_server.rest, timeout=10)
      connection.request(method, '/v1/models/pair:predict', headers={'Origin': 'http://a', 'Host': 'b'})
      response = connection.getresponse()
      self.assertEqual((response.status, response.getheader('Access-Control-Allow-Origin')), (status, '*'))
      self.assertEqual(response.getheader('Access-Control-Allow-Methods'), 'POST, GET')
      connection.close()


class ClientTest(LocalServerCase):
  def test_an_idle_connection_that_the_server_closed_is_opened_again(self):
    listener = self.enter_context(socket.create_server(('127.0.0.1', 0)))
    answer = json.dumps({'outputs': {'logit': [1.0]}}).encode()

    def serve():
      """Two connections, an answer on each, then closed without a word."""
      for _ in range(2):
        connection, _ = listener.accept()
        with connection:
          connection.recv(1 << 16)
          connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % len(answer) + answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    rest = client.RestClient(f'127.0.0.1:{listener.getsockname()[1]}')
    for _ in range(2):
      self.assertEqual(rest.predict('m', {'text': ['a']}), {'logit': [1.0]})
    thread.join(10)
    listener.close()
    with self.assertRaises(OSError):
      rest.predict('m', {'text': ['a']})

  def test_several_classes(self):
    outputs = {'probability': [[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]], 'logit': [[0.0, 1.0, 0.5], [0.0, 1.0, 2.0]]}
    with absltest.mock.patch.object(client.RestClient, 'predict', return_value=outputs):
      ranked = client.rank(None, ['a', 'b'])
    self.assertEqual(ranked, [client.Scored('b', 0.7, 2.0, 2), client.Scored('a', 0.5, 1.0, 1)])

  def test_rank(self):
    titles = ['', 'a', 'abcdef', 'abc']
    expected = ['abcdef', 'abc', 'a', '']
    by_rest = client.rank('ab', titles, model_name='pair', address=_server.rest)
    by_grpc = client.rank('ab', titles, model_name='pair', address=_server.grpc, grpc=True)
    self.assertEqual([item.text for item in by_rest], expected)
    np.testing.assert_allclose(
      [item.probability for item in by_grpc], [item.probability for item in by_rest], rtol=1e-6
    )
    self.assertEqual(by_rest[0].logit, served_models.pair_logit('ab', 'abcdef'))

  def test_rank_sends_the_query_once_where_the_model_takes_it(self):
    sent = []

    class Client:
      def predict(self, model_name, columns, signature_name='serving_default'):
        sent.append((signature_name, columns))
        if model_name != 'student' and signature_name == 'rank':
          raise ValueError('HTTP 400: Serving signature name: "rank" not found in signature def')
        return {'probability': [0.5, 0.75], 'logit': [0.0, 1.0]}

    once, pairs = ('rank', {'query': ['a'], 'title': ['b', 'c']}), {'query': ['a', 'a'], 'title': ['b', 'c']}
    with absltest.mock.patch.object(client, 'connect', return_value=Client()):
      self.assertEqual([item.text for item in client.rank('a', ['b', 'c'])], ['c', 'b'])
      client.rank('a', ['b', 'c'], model_name='teacher')
    self.assertEqual(sent, [once, once, ('serving_default', pairs)])

  def test_errors(self):
    for grpc_too, address in ((False, _server.rest), (True, _server.grpc)):
      with self.assertRaisesRegex(ValueError, 'Servable not found'):
        client.rank('a', ['b'], model_name='x', address=address, grpc=grpc_too)
      with self.assertRaises(OSError):
        client.rank('a', ['b'], address=f'127.0.0.1:{local_server.free_port()}', grpc=grpc_too)
    with self.assertRaisesRegex(ValueError, 'a:b: expected host:port'):
      client.rank('a', ['b'], address='a:b')

  def test_importing_the_client_imports_nothing_more(self):
    program = (
      'import sys; from serving import client; assert not {"tensorflow", "grpc", "numpy", "absl"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', program], check=True, cwd=_ROOT)

  def test_query(self):
    result = self.binary('query', '--query=ab', '--titles=a', 'abcdef')
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertRegex(result.stdout, r'^0\.8176\tabcdef\n0\.\d{4}\ta\n$')
    self.assertRegex(result.stderr, r'2 scored in \d+\.\d ms')

  def test_load(self):
    result = self.binary('load', '--concurrency=2', '--rows=3', '--seconds=.5')
    self.assertRegex(result.stdout.splitlines()[-1], r'^\| REST \| 3 \| 2 \| \d+ \| [\d.]+ ')

  def test_slips_are_one_line(self):
    for arguments, line in (
      (('query', '--query=a'), 'error: set --query and --titles, or --texts alone'),
      (('query', '--query=a', '--titles=b', '--model_name=x'), 'error: x: HTTP 404: Servable not found'),
      (('load', '--rows=0'), 'error: --rows=0: expected numbers from 1'),
    ):
      result = self.binary(*arguments)
      self.assertEqual((result.returncode, result.stdout.count('\n'), result.stderr.count('\n')), (1, 0, 1), result)
      self.assertStartsWith(result.stderr, line)

  def binary(self, name, *arguments):
    return subprocess.run(
      [sys.executable, '-m', f'serving.{name}', f'--address={_server.rest}', '--model_name=pair', *arguments],
      capture_output=True,
      text=True,
      timeout=300,
      cwd=_ROOT,
      check=False,
    )


if __name__ == '__main__':
  absltest.main()
