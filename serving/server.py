"""A local test server that answers as TensorFlow Serving, to try and to test an exported model without Docker.

    python -m serving.server --model_base_path=runs/quickstart/export

It takes the real server's flags and answers as it does; production is the real server. Each call
costs 0.3 to 0.8 ms in Python that the real one does not spend: nothing seen here is its latency.
Of --enable_batching it keeps the limits; it does not merge requests.
"""

import asyncio
import os
import signal

from absl import app
from absl import flags
from absl import logging
from tensorflow_serving.config import model_server_config_pb2

from serving import binary
from serving import server_config
from serving.local_server import grpc_api
from serving.local_server import model_process
from serving.local_server import options
from serving.local_server import rest_api
from serving.local_server import rest_server

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
_CORS = flags.DEFINE_bool('rest_api_enable_cors_support', False, 'Let pages of other origins call REST.')
_HEALTH = flags.DEFINE_bool('enable_grpc_healthcheck_service', False, 'Serve grpc.health.v1.')

# What else main.cc of release 2.20 takes. A command line for the real server must start this one too.
_REAL_ONLY = frozenset(
  (
    'enable_per_model_batching_parameters',
    'enable_profiler',
    'enable_serialization_as_tensor_content',
    'enable_signature_method_name_check',
    'flush_filesystem_caches',
    'grpc_channel_arguments',
    'grpc_max_threads',
    'load_retry_interval_micros',
    'max_num_load_retries',
    'mixed_precision',
    'model_config_file_poll_wait_seconds',
    'num_load_threads',
    'num_request_iterations_for_warmup',
    'num_tflite_interpreters_per_pool',
    'num_tflite_pools',
    'num_unload_threads',
    'per_process_gpu_memory_fraction',
    'platform_config_file',
    'prefer_tflite_model',
    'remove_unused_fields_from_bundle_metagraph',
    'rest_api_num_threads',
    'saved_model_tags',
    'skip_initialize_tpu',
    'ssl_config_file',
    'tensorflow_session_parallelism',
    'thread_pool_factory_config_file',
    'use_alts_credentials',
    'xla_cpu_compilation_enabled',
    'xla_gpu_compilation_enabled',
  )
)
_DEFAULT_MAX_BATCH_SIZE = 1000  # shared_batch_scheduler.h, QueueOptions::input_batch_size_limit.

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


def _parse(flag, message):
  """The message in the file that a flag names; an empty one where it names none."""
  return server_config.parse(_read(flag.value), flag.value, message) if flag.value else message()


def _model_config():
  if _MODEL_CONFIG_FILE.value:
    if _MODEL_BASE_PATH.value:
      logging.warning('--model_base_path is ignored: --model_config_file is set')
    return _parse(_MODEL_CONFIG_FILE, model_server_config_pb2.ModelServerConfig)
  if not _MODEL_BASE_PATH.value:
    raise app.UsageError('Set one of --model_base_path and --model_config_file.')
  config = model_server_config_pb2.ModelServerConfig()
  config.model_config_list.config.add(
    name=_MODEL_NAME.value, base_path=_MODEL_BASE_PATH.value, model_platform='tensorflow'
  )
  return config


def _max_rows():
  """--max_rows, and with batching at most max_batch_size."""
  if not _ENABLE_BATCHING.value:
    if _BATCHING_FILE.value:
      raise app.UsageError('--batching_parameters_file needs --enable_batching: without it the server does not start')
    return _MAX_ROWS.value
  batching = _parse(_BATCHING_FILE, server_config.BatchingParameters)
  limit = batching.max_batch_size.value if batching.HasField('max_batch_size') else _DEFAULT_MAX_BATCH_SIZE
  return min(_MAX_ROWS.value, limit)


def _metrics_path():
  config = _parse(_MONITORING_CONFIG_FILE, server_config.MonitoringConfig).prometheus_config
  return (config.path or '/monitoring/prometheus/metrics') if config.enable else None


def _options(config):
  file = _SESSION_CONFIG_FILE.value
  return options.Options(
    session_config=_read(file) if file else '',
    session_config_file=file,
    intra_op_threads=_INTRA_OP.value,
    inter_op_threads=_INTER_OP.value,
    timeout_secs=_REST_API_TIMEOUT_IN_MS.value / 1000,
    max_rows=_max_rows(),
    batching=_ENABLE_BATCHING.value,
    warmup=_ENABLE_WARMUP.value,
    poll_secs=_POLL_SECS.value,
    allow_labels_for_unavailable=_ALLOW_LABELS.value,
    start_paths=tuple(model.base_path for model in config.model_config_list.config),
    reload_root=_RELOAD_ROOT.value,
  )


def _check_words(words):
  """Warns of flags that only the real server has; refuses all else that is left of the command line."""
  for word in words:
    name = word.removeprefix('--').partition('=')[0]
    if not word.startswith('--') or name not in _REAL_ONLY:
      raise app.UsageError(f'{word}: expected a flag of TensorFlow Serving or of this server, as --name=value')
    logging.warning('--%s is accepted and ignored: only TensorFlow Serving itself has it', name)


async def _serve(models, rest_socket, metrics_path):
  addresses = [f'{_HOST.value}:{_PORT.value}'] if _PORT.value else []
  if _GRPC_SOCKET_PATH.value:
    addresses.append(f'unix:{os.path.abspath(_GRPC_SOCKET_PATH.value)}')
  stop = asyncio.Event()
  for number in (signal.SIGINT, signal.SIGTERM):
    asyncio.get_running_loop().add_signal_handler(number, stop.set)
  grpc_server = await grpc_api.make_server(models, addresses, _MAX_BODY_BYTES.value, _HEALTH.value)
  await grpc_server.start()
  logging.info('Local test server: gRPC at %s', ' and '.join(addresses) or 'no port')
  if rest_socket:
    application = rest_api.make_app(
      models, _MAX_BODY_BYTES.value, _CLIENT_TIMEOUT_SECS.value, metrics_path, cors=_CORS.value
    )
    server = rest_server.make(application, _CLIENT_TIMEOUT_SECS.value)
    serving = asyncio.create_task(server.serve(sockets=[rest_socket]))
    serving.add_done_callback(lambda _: stop.set())  # Else a failed start would wait for a signal.
    logging.info('REST, and a page to try at http://%s:%d/', _HOST.value, _REST_API_PORT.value)
    await stop.wait()
    server.should_exit = True
    await serving
  else:
    await stop.wait()
  await grpc_server.stop(1)


def main(words: list[str]) -> None:
  _check_words(words)
  config = _model_config()
  server_options, metrics_path = _options(config), _metrics_path()
  # Before the models load: a port that is taken is no news to wait for.
  if _PORT.value:
    rest_server.bind(_HOST.value, _PORT.value, 'port').close()
  rest_socket = None
  if _REST_API_PORT.value:
    if _REST_API_PORT.value == _PORT.value:
      raise app.UsageError('--rest_api_port must be another one than --port')
    rest_socket = rest_server.bind(_HOST.value, _REST_API_PORT.value, 'rest_api_port')
  models = model_process.ModelProcess(server_options, config.SerializeToString(), _MAX_CONCURRENT.value)
  try:
    asyncio.run(_serve(models, rest_socket, metrics_path))
  finally:
    models.close()


if __name__ == '__main__':
  binary.run(main, known_only=True)
