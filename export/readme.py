"""The README.md beside the versions: commands that work as pasted, made for the model's inputs."""

import json
import string

from b2d import config
from b2d.models import ngrams
from export import deployment
from export import ops

_EXAMPLES = {
  'text': ('a visually stunning film', 'a dull film'),
  'query': ('cordless drill', 'cordless drill'),
  'title': ('18V Cordless Drill Driver Kit', 'Claw Hammer, 16 oz'),
}

_TEXT = string.Template("""# $name: a $kind for TensorFlow Serving

Numbered folders are versions of a SavedModel; the server loads the highest one and takes up a new
one by itself. Needed: a stock TensorFlow Serving, release $release or later. The commands below
start in this folder. They were made for this model from the server's documented interface; the
export does not run the C++ server.

## Start the server

```sh
docker run --rm -p 127.0.0.1:8500:8500 -p 127.0.0.1:8501:8501 \\
    -v "$$PWD:/models/$name:ro" \\
    ${environment}tensorflow/serving \\
    --model_config_file=/models/$name/model.config \\
    --monitoring_config_file=/models/$name/monitoring.config \\
    --tensorflow_session_config_file=/models/$name/session_latency.config \\
    --tensorflow_intra_op_parallelism=1 --tensorflow_inter_op_parallelism=-1
```

- The two `parallelism` flags must stay beside `session_latency.config`: the server overwrites the
  file's numbers of threads with its flags, also with their default 0. Never add
  `--tensorflow_session_parallelism`.
- For large requests instead:
  `--tensorflow_session_config_file=/models/$name/session_throughput.config`, without the two
  `parallelism` flags.
- To merge the requests of many clients:
  `--enable_batching --batching_parameters_file=/models/$name/batching.config`.$batching
$note
## Call it

```sh
curl -s http://127.0.0.1:8501/v1/models/$name                       # its state
curl -s http://127.0.0.1:8501/v1/models/$name/metadata              # its signatures
curl -s http://127.0.0.1:8501/monitoring/prometheus/metrics         # its counters
curl -s -d '$columns' \\
    http://127.0.0.1:8501/v1/models/$name:predict
curl -s -d '$examples' \\
    http://127.0.0.1:8501/v1/models/$name:classify
$rank```

Python, with nothing installed:

```python
import json
import urllib.request

body = json.dumps($python).encode()
with urllib.request.urlopen('http://127.0.0.1:8501/v1/models/$name:predict', body) as response:
  print(json.load(response)['outputs']['probability'])
```

Python over gRPC (`pip install tensorflow-serving-api`):

```python
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

request = predict_pb2.PredictRequest()
request.model_spec.name = '$name'
for name, texts in $inputs.items():
  request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, dtype=tf.string))
channel = grpc.insecure_channel('127.0.0.1:8500')
response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=1.0)
print(tf.make_ndarray(response.outputs['probability']))
```

## Signatures

$signatures

Every signature was called for the warm-up at several batch sizes when the version was loaded.
`<version>/assets.extra/export.json` says where the model comes from: configuration, metrics,
training data, ops and their lowest release.

## Limits

- With `--enable_batching`, a request of more rows than `max_batch_size` (16,384 in `batching.config`) is refused;
  a longer one than `max_execution_batch_size` (512) runs in parts. Without it the server limits no rows.
- The server limits neither the length of a request nor that of a text, and the model cuts no text but a teacher's.
  $memory gRPC clients refuse answers over 4 MB unless
  `grpc.max_receive_message_length` allows more.
- **REST is not for strangers.** The server goes through JSON by recursion: 50,000 nested brackets, 50 kB, ended release
  2.19 (tensorflow/serving issue 4116, CVE-2025-0649; releases up to 2.20.0 have no fix). What this model takes nests
  four deep at most. So put a proxy before it that limits the body to what your requests need (`client_max_body_size`
  of nginx) and refuses deeper JSON (`SecRequestBodyJsonDepthLimit 8` of ModSecurity), or one that parses JSON itself
  and calls gRPC (Envoy's gRPC-JSON transcoder); or let strangers call gRPC.

## Outside TensorFlow Serving

$outside

What does not work: TensorFlow Lite (`--prefer_tflite_model`), which has no ops for strings like these; XLA; and
`TFSMLayer` of Keras 3 with a model of two inputs, to which it passes one: call the signature itself.
""")

_CORE_ALONE = """`tf.saved_model.load('<version>').signatures['serving_default']` needs TensorFlow alone: the graph
holds no op of TensorFlow Text."""
_TEXT_OPS = """`import tensorflow_text` before `tf.saved_model.load`: the graph holds the ops $ops of TensorFlow Text,
which the stock server links, but TensorFlow's own package does not."""

# Measured as the growth of the process's peak over one request, of a session with the settings that are exported.
_MEMORY = 'Memory grows with the tokens of a request, by about 100 bytes each with the defaults: limit its bytes.'
_CUT = 'Its memory grows with the rows of a request.'
_CONVOLVED_MEMORY = string.Template("""Memory grows with the tokens of
  a request; over $tokens tokens the model refuses it (INVALID_ARGUMENT), before the convolution takes more than some
  0.6 GB for it.""")

_PAIR_NOTE = """Inputs are columns of equal length: repeat the query for each of its titles."""


def text(model_name: str, schema: config.Schema, needs: ops.Report, kind: str, max_tokens: int | None = None) -> str:
  """The README, Markdown; arguments as of `serving_configs.write`."""
  fields = schema.fields
  inputs = {field: list(_EXAMPLES[field]) for field in fields}
  rows = [dict(zip(fields, row)) for row in zip(*inputs.values())]
  student = kind == 'student'
  ranks = student and len(fields) == 2
  return _TEXT.substitute(
    name=model_name,
    kind=kind,
    release=needs.lowest_release,
    outside=_outside(needs),
    environment=''.join(f'-e {name}={value} ' for name, value in deployment.ENVIRONMENT[kind].items()),
    batching=_BATCHING_NOTE if ranks else '',
    rank=_RANK.substitute(name=model_name, columns=json.dumps(_ranking(inputs))) if ranks else '',
    memory=_memory(kind, max_tokens),
    note=_ENVIRONMENT_NOTE if student else '',
    columns=json.dumps({'inputs': inputs}),
    examples=json.dumps({'signature_name': 'classify', 'examples': rows}),
    python={'inputs': inputs},
    inputs=inputs,
    signatures=_signatures(schema, ranks),
  )


_ENVIRONMENT_NOTE = """- `TF_ENABLE_ONEDNN_OPTS=0` keeps small matrix products on Eigen: at one row,
  oneDNN's own preparation takes longer than the product.
- `GLIBC_TUNABLES=glibc.malloc.hugetlb=1` asks the kernel for huge pages: rows are looked up all over the
  table. It needs glibc 2.35 and transparent huge pages that are not `never`; elsewhere it does nothing.
- The `Dockerfile` here puts jemalloc into the image, with huge pages of its own: where it was measured, one row takes
  a fifth less time. `docker build -t serving-jemalloc - < Dockerfile`, then `serving-jemalloc` in place of
  `tensorflow/serving`, here and in the other files.
"""


_RANK = string.Template("""curl -s -d '$columns' \\
    http://127.0.0.1:8501/v1/models/$name:predict
""")

_BATCHING_NOTE = """ Such a server refuses
  the signature `rank`: what it merges must have equally many rows in every input. It applies to all
  models of a server, so rank on one without the flag."""


def _memory(kind: str, max_tokens: int | None) -> str:
  if kind == 'teacher':
    return _CUT
  return _CONVOLVED_MEMORY.substitute(tokens=f'{max_tokens:,}') if max_tokens else _MEMORY


def _ranking(inputs: dict[str, list[str]]) -> dict[str, object]:
  """The body of a request to `rank`."""
  return {'signature_name': 'rank', 'inputs': {**inputs, 'query': inputs['query'][:1]}}


def _signatures(schema: config.Schema, ranks: bool) -> str:
  fields, num_classes = schema.fields, schema.num_classes
  shape = '[N]' if num_classes == 2 else f'[N, {num_classes}]'
  takes = ' and '.join(f'`{field}`' for field in fields)
  lines = [
    f'- `serving_default`: {takes}, strings [N] → `probability` and `logit`, floats {shape}. The probability '
    f'is that of {schema.event}.' + (f' {_PAIR_NOTE}' if len(fields) == 2 else ''),
    f'- `classify`: serialised `tf.Example` with {takes} → `classes`, by name where the run has names '
    f'(`irrelevant` and `relevant` of grades), and `scores` '
    f'[N, {num_classes}].',
  ]
  if ranks:
    lines.append(
      f'- `rank`: one `query`, string [1], and its titles, `title` [N] → as `serving_default` of the query repeated '
      f"(within 1e-5), sooner and with fewer bytes; at most {ngrams.MAX_COMPARISONS:,} pairs of a query's and a "
      "title's token. In columns (`inputs`) alone, and never batched."
    )
  if num_classes == 2:
    lines.append(f'- `regress`: serialised `tf.Example` with {takes} → the probability.')
  return '\n'.join(lines)


def _outside(needs: ops.Report) -> str:
  if not needs.text_ops:
    return _CORE_ALONE
  return string.Template(_TEXT_OPS).substitute(ops=', '.join(f'`{op}`' for op in needs.text_ops))
