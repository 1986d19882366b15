"""client.RestClient's counterpart over gRPC; imports TensorFlow, as the stubs need it."""

from collections.abc import Mapping
from collections.abc import Sequence

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class GrpcClient:
  """Predict over gRPC. Thread-safe.

  Args:
    address: 'host:port' or 'unix:path'.
    timeout_secs: how long to wait for an answer.
  """

  def __init__(self, address: str, timeout_secs: float = 10):
    # Without the limit of 4 MB that clients set by default.
    channel = grpc.insecure_channel(address, [('grpc.max_receive_message_length', -1)])
    self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    self._timeout_secs = timeout_secs

  def predict(
    self, model_name: str, columns: Mapping[str, Sequence[str]], signature_name: str = 'serving_default'
  ) -> dict[str, list[float]]:
    """As client.RestClient.predict."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature_name
    for name, texts in columns.items():
      request.inputs[name].CopyFrom(tf.make_tensor_proto(list(texts), tf.string, [len(texts)]))
    try:
      response = self._stub.Predict(request, self._timeout_secs)
    except grpc.RpcError as error:
      kind = OSError if error.code() in _UNREACHABLE else ValueError
      raise kind(f'{model_name}: {error.code().name}: {error.details()}') from None
    return {name: tf.make_ndarray(proto).tolist() for name, proto in response.outputs.items()}
