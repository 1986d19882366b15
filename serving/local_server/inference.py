"""Predict and GetModelMetadata on one loaded version, with TensorFlow Serving's answers.

The codes and the texts are those of the server at release 2.20 (predict_util.cc,
get_model_metadata_impl.cc); the other calls are in example_inference.py.
"""

from collections.abc import Sequence
import math

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import predict_pb2

from serving.local_server import servable as servable_lib
from serving.local_server import status

DEFAULT_SIGNATURE = 'serving_default'
_MAX_ELEMENTS = 1 << 22
_VALUE_FIELDS = {
  tf.float32: 'float_val',
  tf.float64: 'double_val',
  tf.int32: 'int_val',
  tf.int64: 'int64_val',
  tf.bool: 'bool_val',
  tf.string: 'string_val',
}


def predict(servable: servable_lib.Servable, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
  """PredictionService.Predict; raises StatusError."""
  name = request.model_spec.signature_name or DEFAULT_SIGNATURE
  for proto in request.inputs.values():  # Before any of them is converted, which takes long.
    servable.options.check_rows(proto.tensor_shape.dim[0].size if proto.tensor_shape.dim else 1)
  inputs = {alias: _to_array(alias, proto) for alias, proto in request.inputs.items()}
  outputs = run(servable, name, inputs, request.output_filter)
  response = predict_pb2.PredictResponse()
  fill_spec(response.model_spec, servable, name)
  for alias, value in outputs.items():
    response.outputs[alias].CopyFrom(_to_proto(value))
  return response


def run(
  servable: servable_lib.Servable, signature_name: str, inputs: dict[str, np.ndarray], output_filter: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """Runs a signature: input name → value to output name → value; raises StatusError."""
  if signature_name not in servable.signatures:
    raise status.StatusError(
      grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.'
    )
  signature = servable.signatures[signature_name]
  _check_input_names(signature, inputs)
  tensor_names = {alias: signature.inputs[alias].name for alias in inputs}
  feeds = {tensor_names[alias]: inputs[alias] for alias in sorted(inputs, key=tensor_names.__getitem__)}
  _check_inputs(servable, signature, feeds)
  aliases = _output_aliases(signature, output_filter)
  return dict(zip(aliases, servable.run(feeds, tuple(signature.outputs[alias].name for alias in aliases))))


def metadata(
  servable: servable_lib.Servable, request: get_model_metadata_pb2.GetModelMetadataRequest
) -> get_model_metadata_pb2.GetModelMetadataResponse:
  """PredictionService.GetModelMetadata; raises StatusError."""
  if not request.metadata_field:
    raise status.invalid_argument('GetModelMetadataRequest must specify at least one metadata_field')
  for field in request.metadata_field:
    if field != 'signature_def':
      raise status.invalid_argument(f'Metadata field {field} is not supported')
  response = get_model_metadata_pb2.GetModelMetadataResponse()
  response.model_spec.name = servable.name
  response.model_spec.version.value = servable.version
  response.metadata['signature_def'].Pack(get_model_metadata_pb2.SignatureDefMap(signature_def=servable.signatures))
  return response


def fill_spec(spec: model_pb2.ModelSpec, servable: servable_lib.Servable, signature_name: str) -> None:
  """Says in a response which model, version and signature answered."""
  spec.name = servable.name
  spec.version.value = servable.version
  spec.signature_name = signature_name


def _check_input_names(signature, inputs):
  sent, needed = set(inputs), set(signature.inputs)
  if len(sent) != len(needed):

    def names(values):
      return '{' + ','.join(sorted(values)) + '}'

    raise status.invalid_argument(
      f'input size does not match signature: {len(sent)}!={len(needed)} len({names(sent)}) != '
      f'len({names(needed)}). Sent extra: {names(sent - needed)}. Missing but required: '
      f'{names(needed - sent)}.'
    )
  for alias in sorted(needed - sent):
    raise status.invalid_argument(
      f'Signature input alias: {alias}(feed name: {signature.inputs[alias].name}) not found in '
      f'request and no default value provided. Inputs expected to be in the request '
      f'{{{",".join(sorted(sent))}}}, or default input alias set: '
    )


def _to_array(alias, proto):
  sizes = [dim.size for dim in proto.tensor_shape.dim]
  # A single value may stand for a tensor of any shape: a few bytes must not ask for gigabytes.
  if proto.tensor_shape.unknown_rank or min(sizes, default=0) < 0 or math.prod(sizes) > _MAX_ELEMENTS:
    raise status.invalid_argument(f'tensor parsing error: {alias}')
  try:
    if proto.dtype == types_pb2.DT_STRING and proto.tensor_content:  # As C++ clients send them.
      return np.asarray(tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy(), dtype=object)
    return tf.make_ndarray(proto)
  except (TypeError, ValueError, IndexError, KeyError, tf.errors.OpError):
    raise status.invalid_argument(f'tensor parsing error: {alias}') from None


def _check_inputs(servable, signature, feeds):
  types = {info.name: tf.dtypes.as_dtype(info.dtype) for info in signature.inputs.values()}
  sizes = {array.shape[0] for array in feeds.values() if array.ndim}
  if servable.options.batching and not all(array.ndim for array in feeds.values()):
    raise status.invalid_argument('Batching Run() input tensors must have at least one dimension')
  if servable.options.batching and len(sizes) > 1:
    raise status.invalid_argument('Batching Run() input tensors must have equal 0th-dimension size')
  servable.options.check_rows(max(sizes, default=1))
  for index, (name, array) in enumerate(feeds.items()):
    dtype = _dtype(array)
    if dtype != types[name]:
      raise status.invalid_argument(f'Expects arg[{index}] to be {types[name].name} but {dtype.name} is provided')


def _output_aliases(signature, output_filter):
  for index, alias in enumerate(output_filter):
    if alias not in signature.outputs:
      raise status.invalid_argument(
        f'output tensor alias not found in signature: {alias} Outputs expected to be in the set '
        f'{{{",".join(sorted(signature.outputs))}}}.'
      )
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
  proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(array.shape).as_proto())
  getattr(proto, _VALUE_FIELDS[dtype]).extend(array.ravel().tolist())
  return proto
