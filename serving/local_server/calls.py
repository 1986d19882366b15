"""The calls of gRPC and REST on the loaded models, from bytes to bytes, counted.

REST's JSON is translated to what gRPC's messages say (json_tensor.py).
"""

import contextlib
import json
import time

from google.protobuf import json_format
from google.protobuf import message as protobuf_message
import grpc
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

from serving.local_server import descriptors
from serving.local_server import example_inference
from serving.local_server import inference
from serving.local_server import json_tensor
from serving.local_server import metrics as metrics_lib
from serving.local_server import options as options_lib
from serving.local_server import status
from serving.local_server import versions

_REQUESTS = {
  'Predict': predict_pb2.PredictRequest,
  'Classify': classification_pb2.ClassificationRequest,
  'Regress': regression_pb2.RegressionRequest,
  'MultiInference': inference_pb2.MultiInferenceRequest,
  'GetModelMetadata': get_model_metadata_pb2.GetModelMetadataRequest,
  'GetModelStatus': get_model_status_pb2.GetModelStatusRequest,
}
_RUNS = {
  'Predict': inference.predict,
  'Classify': example_inference.classify,
  'Regress': example_inference.regress,
  'MultiInference': example_inference.multi_inference,
  'GetModelMetadata': inference.metadata,
}
_COUNTED = ('Predict', 'Classify', 'Regress')
_EXAMPLE_ANSWERS = {'Classify': json_tensor.classify_answer, 'Regress': json_tensor.regress_answer}


class Calls:
  """Every call raises StatusError. Thread-safe.

  Args:
    manager: the loaded versions.
    options: what a request may ask for.
  """

  def __init__(self, manager: versions.Manager, options: options_lib.Options):
    self._manager = manager
    self._options = options
    self._metrics = metrics_lib.Metrics()

  def grpc(self, api: str, content: bytes) -> bytes:
    """A gRPC call: its name ('Predict') and its serialised request → its serialised response."""
    request = _parse(_REQUESTS[api], content)
    # Of gRPC, prediction_service_impl.cc counts these three alone.
    counted = self._counted(_spec(request).name, api, 'GRPC') if api in _COUNTED else contextlib.nullcontext()
    with counted:
      return self._answer(api, request).SerializeToString()

  def rest(self, api: str, serialized_spec: bytes, body: bytes) -> bytes:
    """A REST call: its name as in gRPC, a serialised ModelSpec and the body → the answer's body."""
    spec = model_pb2.ModelSpec.FromString(serialized_spec)
    # http_server.cc: the method of the path, which calls by GET do not have.
    with self._counted(spec.name, api.lower() if api in _COUNTED else '', 'REST'):
      if api == 'GetModelStatus':
        return json.dumps(_to_json(self._manager.status(spec))).encode()
      if api == 'GetModelMetadata':
        return json.dumps(self._metadata(spec)).encode()
      try:
        document = json_tensor.parse(body)
        return json_tensor.dump(self._predict(spec, document) if api == 'Predict' else self._infer(api, spec, document))
      except RecursionError:
        raise status.invalid_argument('JSON Parse error: nested too deeply') from None

  def reload(self, content: bytes) -> bytes:
    """A serialised ReloadConfigRequest → the ModelServerConfig that is now in force."""
    config = _parse(model_management_pb2.ReloadConfigRequest, content).config
    self._manager.reload(config)
    return config.SerializeToString()

  def descriptors(self) -> bytes:
    """A serialised FileDescriptorSet of both services."""
    return descriptors.collect().SerializeToString()

  def metrics(self) -> bytes:
    """The Prometheus page."""
    return self._metrics.page().encode()

  def models(self) -> bytes:
    """JSON: a list of {'name', 'inputs', 'signatures'} of the models that can be predicted with."""
    models = []
    for servable in filter(None, map(self._manager.latest, self._manager.names())):
      if inference.DEFAULT_SIGNATURE in servable.signatures:
        inputs = servable.signatures[inference.DEFAULT_SIGNATURE].inputs
        models.append({'name': servable.name, 'inputs': sorted(inputs), 'signatures': sorted(servable.signatures)})
    return json.dumps(models).encode()

  @contextlib.contextmanager
  def _counted(self, model_name, api, entrypoint):
    started, code = time.monotonic(), 'INTERNAL'
    try:
      yield
      code = 'OK'
    except status.StatusError as error:
      code = error.code.name
      raise
    finally:
      if model_name in self._manager.names():
        self._metrics.record(model_name, api, entrypoint, code, (time.monotonic() - started) * 1e6)

  def _answer(self, api, request):
    if api != 'MultiInference' and not request.HasField('model_spec'):
      raise status.invalid_argument('Missing ModelSpec')
    if api == 'GetModelStatus':
      return self._manager.status(request.model_spec)
    return _RUNS[api](self._manager.lookup(_spec(request)), request)

  def _metadata(self, spec):
    answer = self._answer(
      'GetModelMetadata',
      get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=['signature_def']),
    )
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer.metadata['signature_def'].Unpack(signatures)
    return {'model_spec': _to_json(answer.model_spec), 'metadata': {'signature_def': _to_json(signatures)}}

  def _predict(self, spec, document):
    servable = self._manager.lookup(spec)
    name = document.get('signature_name') or inference.DEFAULT_SIGNATURE
    if name not in servable.signatures:
      raise status.invalid_argument(f'Serving signature name: "{name}" not found in signature def')
    infos = servable.signatures[name].inputs
    if not infos:
      raise status.invalid_argument(f'Failed to get input map for signature: {name}')
    inputs, rows = json_tensor.inputs(document, infos, self._options.check_rows)
    return json_tensor.predict_answer(inference.run(servable, name, inputs), rows)

  def _infer(self, api, spec, document):
    request = _REQUESTS[api](model_spec=spec)
    request.model_spec.signature_name = document.get('signature_name', '')
    json_tensor.fill_examples(document, request, self._options.check_rows)
    return _EXAMPLE_ANSWERS[api](self._answer(api, request))


def _parse(message, content):
  """As the server's gRPC library answers bytes that are no such message (proto_utils.h, GenericDeserialize)."""
  try:
    return message.FromString(content)
  except protobuf_message.DecodeError:
    raise status.StatusError(
      grpc.StatusCode.INTERNAL, f'The bytes are no serialised {message.DESCRIPTOR.name}'
    ) from None


def _spec(request):
  """The ModelSpec that a request is about; MultiInference's tasks all name the same model."""
  holder = request
  if isinstance(request, inference_pb2.MultiInferenceRequest):
    holder = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
  return getattr(holder, 'model_spec', model_pb2.ModelSpec())


def _to_json(message):
  return json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
