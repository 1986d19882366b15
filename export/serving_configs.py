"""The files beside the versions that tell TensorFlow Serving, and people, how to serve them.

All of them are protocol buffers in text form, named by the server's flags; `readme` shows the
command lines.
"""

import os

from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.config import model_server_config_pb2

from b2d import config
from b2d import runs
from export import deployment
from export import ops
from export import readme
from serving import server_config

_MODEL = """model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

_MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

# For --enable_batching. No waiting: only what queues up while all threads are busy is merged, so
# that a lone request pays nothing. max_batch_size bounds a request (one over it is refused, splitting or
# not); max_execution_batch_size is what runs at once.
_BATCHING = """max_batch_size { value: 16384 }
batch_timeout_micros { value: 0 }
num_batch_threads { value: 4 }
max_enqueued_batches { value: 256 }
enable_large_batch_splitting { value: true }
max_execution_batch_size { value: 512 }
"""

# Each request runs on the thread that brought it: nothing is handed over between threads.
_LATENCY = """intra_op_parallelism_threads: 1
inter_op_parallelism_threads: -1
experimental { executor_type: "SINGLE_THREADED_EXECUTOR" }
"""

# Large batches: an op may use every core.
_THROUGHPUT = """intra_op_parallelism_threads: 0
inter_op_parallelism_threads: 0
"""

_MESSAGES = {
  'model.config': model_server_config_pb2.ModelServerConfig,
  'monitoring.config': server_config.MonitoringConfig,
  'batching.config': server_config.BatchingParameters,
  'session_latency.config': config_pb2.ConfigProto,
  'session_throughput.config': config_pb2.ConfigProto,
}


def write(
  folder: str, model_name: str, schema: config.Schema, needs: ops.Report, kind: str, max_tokens: int | None = None
) -> None:
  """Writes the server's configuration files and README.md.

  Args:
    folder: of the versions.
    model_name: under which the server shall serve them.
    schema: what texts it reads, and what its labels were.
    needs: what its graph needs of the server.
    kind: 'student' or 'teacher'.
    max_tokens: of a request; None for any number.

  Raises:
    ValueError: the server would refuse one of the files.
  """
  files = {
    'model.config': _MODEL.format(name=model_name),
    'monitoring.config': _MONITORING,
    'batching.config': _BATCHING,
    'session_latency.config': _LATENCY,
    'session_throughput.config': _THROUGHPUT,
    **deployment.files(model_name, needs.lowest_release, kind),
    'README.md': readme.text(model_name, schema, needs, kind, max_tokens),
  }
  for name, content in files.items():
    if name in _MESSAGES:
      server_config.parse(content, name, _MESSAGES[name])
    runs.write_text(os.path.join(folder, name), content)
