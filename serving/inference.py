"""Predict and GetModelMetadata on one loaded version, with TensorFlow Serving's answers.

Requests and responses are the server's own protocol buffers; REST is a translation to and from them
(json_tensor.py). The order of checks, the codes and the texts are those of the server at release
2.20 (predict_util.cc, get_model_metadata_impl.cc); the other calls are in example_inference.py.
"""

import dataclasses
import math

import grpc
import numpy as np
from tensorflow.core.framework import tensor_pb2
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import predict_pb2

from serving import runtime
from serving import status

DEFAULT_SIGNATURE = 'serving_default'
_MAX_ELEMENTS = 1 << 22
_VALUE_FIELDS = {
    tf.float32: 'float_val', tf.float64: 'double_val', tf.int32: 'int_val', tf.int64: 'int64_val',
    tf.bool: 'bool_val', tf.string: 'string_val',
}


@dataclasses.dataclass(frozen=True)
class Limits:
  """What one request may ask for.

  Attributes:
    max_rows: rows (dimension 0 of the inputs, or Examples).
    batching: whether inputs must be as `--enable_batching` needs them: a common dimension 0.
  """

  max_rows: int
  batching: bool = False


def predict(servable: runtime.Servable, request: predict_pb2.PredictRequest, limits: Limits,
            deadline: float) -> predict_pb2.PredictResponse:
  """PredictionService.Predict; raises StatusError."""
  name = request.model_spec.signature_name or DEFAULT_SIGNATURE
  if name not in servable.signatures:
    raise status.StatusError(
        grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
  signature = servable.signatures[name]
  _check_input_names(signature, request)
  feeds = {}
  for alias, info in sorted(signature.inputs.items(), key=lambda item: item[1].name):
    feeds[info.name] = _to_array(alias, request.inputs[alias])
  _check_inputs(signature, feeds, limits)
  aliases = _output_aliases(signature, request.output_filter)
  values = servable.run(
      feeds, tuple(signature.outputs[alias].name for alias in aliases), deadline)
  response = predict_pb2.PredictResponse()
  fill_spec(response.model_spec, servable, name)
  for alias, value in zip(aliases, values):
    response.outputs[alias].CopyFrom(_to_proto(value))
  return response


def metadata(servable: runtime.Servable, request: get_model_metadata_pb2.GetModelMetadataRequest
             ) -> get_model_metadata_pb2.GetModelMetadataResponse:
  """PredictionService.GetModelMetadata; raises StatusError."""
  if not request.metadata_field:
    raise status.invalid_argument(
        'GetModelMetadataRequest must specify at least one metadata_field')
  for field in request.metadata_field:
    if field != 'signature_def':
      raise status.invalid_argument(f'Metadata field {field} is not supported')
  signatures = get_model_metadata_pb2.SignatureDefMap()
  for name, signature in servable.signatures.items():
    signatures.signature_def[name].CopyFrom(signature)
  response = get_model_metadata_pb2.GetModelMetadataResponse()
  response.model_spec.name = servable.name
  response.model_spec.version.value = servable.version
  response.metadata['signature_def'].Pack(signatures)
  return response


def fill_spec(spec: model_pb2.ModelSpec, servable: runtime.Servable, signature_name: str) -> None:
  """Says in a response which model, version and signature answered."""
  spec.name = servable.name
  spec.version.value = servable.version
  spec.signature_name = signature_name


def check_rows(rows: int, limits: Limits) -> None:
  """Raises StatusError for more rows than a request may have."""
  if rows > limits.max_rows:
    raise status.invalid_argument(
        f'Task size {rows} is larger than maximum input batch size {limits.max_rows}')


def _check_input_names(signature, request):
  sent, needed = set(request.inputs), set(signature.inputs)
  if len(sent) != len(needed):
    def names(values):
      return '{' + ','.join(sorted(values)) + '}'
    raise status.invalid_argument(
        f'input size does not match signature: {len(sent)}!={len(needed)} len({names(sent)}) != '
        f'len({names(needed)}). Sent extra: {names(sent - needed)}. Missing but required: '
        f'{names(needed - sent)}.')
  for alias in sorted(needed - sent):
    raise status.invalid_argument(
        f'Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in '
        f'request and no default value provided. Inputs expected to be in the request '
        f'{{{",".join(sorted(sent))}}}, or default input alias set: ')


def _to_array(alias, proto):
  sizes = [dim.size for dim in proto.tensor_shape.dim]
  # A single value may stand for a tensor of any shape: a few bytes must not ask for gigabytes.
  if (proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0
      or math.prod(sizes) > _MAX_ELEMENTS):
    raise status.invalid_argument(f'tensor parsing error: {alias}')
  try:
    return tf.make_ndarray(proto)
  except (TypeError, ValueError, IndexError, KeyError):
    raise status.invalid_argument(f'tensor parsing error: {alias}') from None


def _check_inputs(signature, feeds, limits):
  types = {info.name: tf.dtypes.as_dtype(info.dtype) for info in signature.inputs.values()}
  sizes = {array.shape[0] for array in feeds.values() if array.ndim}
  if limits.batching and not all(array.ndim for array in feeds.values()):
    raise status.invalid_argument('Batching Run() input tensors must have at least one dimension')
  if limits.batching and len(sizes) > 1:
    raise status.invalid_argument('Batching Run() input tensors must have equal 0th-dimension size')
  check_rows(max(sizes, default=1), limits)
  for index, (name, array) in enumerate(feeds.items()):
    dtype = _dtype(array)
    if dtype != types[name]:
      raise status.invalid_argument(
          f'Expects arg[{index}] to be {types[name].name} but {dtype.name} is provided')


def _output_aliases(signature, output_filter):
  for index, alias in enumerate(output_filter):
    if alias not in signature.outputs:
      raise status.invalid_argument(
          f'output tensor alias not found in signature: {alias} Outputs expected to be in the set '
          f'{{{",".join(sorted(signature.outputs))}}}.')
    if alias in output_filter[:index]:
      raise status.invalid_argument(f'duplicate output tensor alias: {alias}')
  return sorted(output_filter or signature.outputs)


def _dtype(array):
  return tf.string if array.dtype == object else tf.dtypes.as_dtype(array.dtype)


def _to_proto(array):
  dtype = _dtype(array)
  if dtype not in _VALUE_FIELDS:
    return tf.make_tensor_proto(array)
  # Value by value, as the server answers; tf.make_tensor_proto would pack them as bytes.
  proto = tensor_pb2.TensorProto(
      dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(array.shape).as_proto())
  getattr(proto, _VALUE_FIELDS[dtype]).extend(array.ravel().tolist())
  return proto
