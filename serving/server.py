"""A local test server that answers as TensorFlow Serving, to try and to test an exported model without Docker.

    python -m serving.server --model_base_path=runs/quickstart/export

It takes the real server's flags and answers as it does; production is the real server. Each call
costs 0.3 to 0.8 ms in Python that the real one does not spend: nothing seen here is its latency.
Of --enable_batching it keeps the limits; it does not merge requests.
"""

import asyncio
import contextlib
import os
import re
import signal

from absl import app
from absl import flags
from absl import logging
from google.protobuf import text_format
import h11
from tensorflow_serving.config import model_server_config_pb2
import uvicorn
from uvicorn.protocols.http import h11_impl

from serving import binary
from serving.local_server import grpc_api
from serving.local_server import model_process
from serving.local_server import options
from serving.local_server import rest_api

# The real server's flags.
_PORT = flags.DEFINE_integer('port', 8500, 'Port of gRPC; 0 for none.')
_GRPC_SOCKET_PATH = flags.DEFINE_string('grpc_socket_path', '', 'Unix socket of gRPC; empty for none.')
_REST_API_PORT = flags.DEFINE_integer('rest_api_port', 8501, 'Port of REST; 0 for none.')
_REST_API_TIMEOUT_IN_MS = flags.DEFINE_integer(
  'rest_api_timeout_in_ms', 30000, 'The longest that a request may take, over gRPC too.'
)
_MODEL_NAME = flags.DEFINE_string(
  'model_name',
  'student',
  'Name of the model at --model_base_path. The default is that of `export`; the real server\'s is "default".',
)
_MODEL_BASE_PATH = flags.DEFINE_string(
  'model_base_path', '', 'Folder with a numbered subfolder for each version of the one model.'
)
_MODEL_CONFIG_FILE = flags.DEFINE_string(
  'model_config_file', '', 'ModelServerConfig in text form: several models, policies and labels.'
)
_POLL_SECS = flags.DEFINE_float('file_system_poll_wait_seconds', 1, 'Time between two looks for new versions.')
_ENABLE_WARMUP = flags.DEFINE_bool('enable_model_warmup', True, "Replay the model's warm-up requests.")
_ALLOW_LABELS = flags.DEFINE_bool(
  'allow_version_labels_for_unavailable_models',
  False,
  'Let a new label name a version that is not loaded yet, as labels in --model_config_file do.',
)
_MONITORING_CONFIG_FILE = flags.DEFINE_string(
  'monitoring_config_file', '', 'MonitoringConfig in text form: the path of the Prometheus page.'
)
_ENABLE_BATCHING = flags.DEFINE_bool('enable_batching', False, 'Keep the limits of batching.')
_BATCHING_FILE = flags.DEFINE_string(
  'batching_parameters_file', '', 'BatchingParameters in text form; max_batch_size counts.'
)
_SESSION_CONFIG_FILE = flags.DEFINE_string('tensorflow_session_config_file', '', 'ConfigProto in text form.')
_INTRA_OP = flags.DEFINE_integer('tensorflow_intra_op_parallelism', 0, 'Threads within an op.')
_INTER_OP = flags.DEFINE_integer('tensorflow_inter_op_parallelism', 0, 'Threads across ops.')

# Flags of the local test server alone.
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on: loopback unless you say so.')
_MAX_BODY_BYTES = flags.DEFINE_integer(
  'max_body_bytes', 16 << 20, 'The longest request, over REST also when unzipped.', lower_bound=1
)
_MAX_ROWS = flags.DEFINE_integer('max_rows', 10000, 'Most rows in a request.', lower_bound=1)
_MAX_CONCURRENT = flags.DEFINE_integer(
  'max_concurrent_requests', 128, 'One more is answered UNAVAILABLE.', lower_bound=1
)
_CLIENT_TIMEOUT_SECS = flags.DEFINE_float(
  'client_timeout_secs', 10, 'Time in which a client must have sent its head, and then its body.'
)
_RELOAD_ROOT = flags.DEFINE_string(
  'reload_root',
  '',
  'Folder whose subfolders a reload request may name as base paths, besides those that the server starts with.',
)


def _read(file):
  with open(file, encoding='utf-8') as lines:
    return lines.read()


def _model_config():
  if bool(_MODEL_BASE_PATH.value) == bool(_MODEL_CONFIG_FILE.value):
    raise app.UsageError('Set one of --model_base_path and --model_config_file.')
  config = model_server_config_pb2.ModelServerConfig()
  if _MODEL_CONFIG_FILE.value:
    try:
      return text_format.Parse(_read(_MODEL_CONFIG_FILE.value), config)
    except text_format.ParseError as error:
      raise ValueError(f'{_MODEL_CONFIG_FILE.value}:{error}: expected a ModelServerConfig in text form') from None
  config.model_config_list.config.add(
    name=_MODEL_NAME.value, base_path=_MODEL_BASE_PATH.value, model_platform='tensorflow'
  )
  return config


def _max_rows():
  """--max_rows, and with batching max_batch_size: tensorflow-serving-api has no such message."""
  max_rows = _MAX_ROWS.value
  if _ENABLE_BATCHING.value and _BATCHING_FILE.value:
    found = re.search(r'\bmax_batch_size\s*:?\s*\{\s*value\s*:\s*(\d+)', _read(_BATCHING_FILE.value))
    max_rows = min(max_rows, int(found.group(1))) if found else max_rows
  return max_rows


def _metrics_path():
  if not _MONITORING_CONFIG_FILE.value:
    return None
  text = _read(_MONITORING_CONFIG_FILE.value)
  path = re.search(r'\bpath\s*:\s*["\']([^"\']*)', text)
  enabled = re.search(r'\benable\s*:\s*true', text)
  return (path.group(1) if path else '/monitoring/prometheus/metrics') if enabled else None


def _options(config):
  file = _SESSION_CONFIG_FILE.value
  return options.Options(
    # The flags win over the file, as they do there.
    session_config=(_read(file) if file else '') + f'\nintra_op_parallelism_threads: {_INTRA_OP.value}'
    f'\ninter_op_parallelism_threads: {_INTER_OP.value}\n',
    timeout_secs=_REST_API_TIMEOUT_IN_MS.value / 1000,
    max_rows=_max_rows(),
    batching=_ENABLE_BATCHING.value,
    warmup=_ENABLE_WARMUP.value,
    poll_secs=_POLL_SECS.value,
    allow_labels_for_unavailable=_ALLOW_LABELS.value,
    start_paths=tuple(model.base_path for model in config.model_config_list.config),
    reload_root=_RELOAD_ROOT.value,
  )


class _ImpatientProtocol(h11_impl.H11Protocol):
  """Closes a connection on which a request's head does not come in time; uvicorn waits for ever."""

  _timer = None

  def connection_made(self, transport):
    super().connection_made(transport)
    self._watch()

  def data_received(self, data):
    super().data_received(data)
    self._watch()

  def connection_lost(self, exc):
    self._stop_watch()
    super().connection_lost(exc)

  def _watch(self):
    if self.conn.their_state is not h11.IDLE:
      self._stop_watch()
    elif not self._timer:
      self._timer = self.loop.call_later(_CLIENT_TIMEOUT_SECS.value, self.transport.close)

  def _stop_watch(self):
    if self._timer:
      self._timer.cancel()
      self._timer = None


class _RestServer(uvicorn.Server):
  """Leaves the signals to _serve, which has the gRPC server to stop too."""

  def capture_signals(self):
    return contextlib.nullcontext()


def _rest_server(models):
  application = rest_api.make_app(models, _MAX_BODY_BYTES.value, _CLIENT_TIMEOUT_SECS.value, _metrics_path())
  return _RestServer(
    uvicorn.Config(
      application,
      _HOST.value,
      _REST_API_PORT.value,
      http=_ImpatientProtocol,
      ws='none',
      lifespan='off',
      log_config=None,
      access_log=False,
      server_header=False,
      timeout_graceful_shutdown=1,
    )
  )


async def _serve(models):
  addresses = [f'{_HOST.value}:{_PORT.value}'] if _PORT.value else []
  if _GRPC_SOCKET_PATH.value:
    addresses.append(f'unix:{os.path.abspath(_GRPC_SOCKET_PATH.value)}')
  stop = asyncio.Event()
  for number in (signal.SIGINT, signal.SIGTERM):
    asyncio.get_running_loop().add_signal_handler(number, stop.set)
  grpc_server = grpc_api.make_server(models, addresses, _MAX_BODY_BYTES.value)
  await grpc_server.start()
  logging.info('Local test server: gRPC at %s', ' and '.join(addresses) or 'no port')
  if _REST_API_PORT.value:
    rest_server = _rest_server(models)
    serving = asyncio.create_task(rest_server.serve())
    logging.info('REST, and a page to try at http://%s:%d/', _HOST.value, _REST_API_PORT.value)
    await stop.wait()
    rest_server.should_exit = True
    await serving
  else:
    await stop.wait()
  await grpc_server.stop(1)


def main(words: list[str]) -> None:
  if words:
    raise app.UsageError(f'expected flags only, got {words}')
  config = _model_config()
  models = model_process.ModelProcess(_options(config), config.SerializeToString(), _MAX_CONCURRENT.value)
  try:
    asyncio.run(_serve(models))
  finally:
    models.close()


if __name__ == '__main__':
  binary.run(main)
