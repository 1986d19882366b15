"""gRPC as TensorFlow Serving speaks it: PredictionService, ModelService, reflection and health.

On grpc.aio: a call whose message never comes waits on the event loop, where grpcio's threaded
server would give it a thread. Messages pass as bytes: the model process knows what they mean.
"""

from absl import logging
from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
import grpc
from grpc_health.v1 import health
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from serving.local_server import model_process
from serving.local_server import status

_METHODS = {
  'tensorflow.serving.PredictionService': ('Predict', 'Classify', 'Regress', 'MultiInference', 'GetModelMetadata'),
  'tensorflow.serving.ModelService': ('GetModelStatus', 'HandleReloadConfigRequest'),
}


async def make_server(
  models: model_process.ModelProcess, addresses: list[str], max_message_bytes: int, healthcheck: bool
) -> grpc.aio.Server:
  """A server, not started yet, of both services on `addresses` ('host:port' or 'unix:path').

  Args:
    models: answers the calls.
    addresses: to listen on.
    max_message_bytes: the longest request.
    healthcheck: whether grpc.health.v1 is served.

  Raises:
    ValueError: an address is taken.
  """
  server = grpc.aio.server(
    options=[
      ('grpc.max_receive_message_length', max_message_bytes),
      ('grpc.max_send_message_length', -1),
      ('grpc.so_reuseport', 0),
    ]
  )
  for service, methods in _METHODS.items():
    server.add_generic_rpc_handlers(
      [grpc.method_handlers_generic_handler(service, {method: _handler(models, method) for method in methods})]
    )
  reflection.enable_server_reflection([*_METHODS, reflection.SERVICE_NAME], server, await _descriptors(models))
  if healthcheck:
    servicer = health.aio.HealthServicer()
    for service in ('', *_METHODS):
      await servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
  for address in addresses:
    try:
      server.add_insecure_port(address)
    except RuntimeError as error:
      raise ValueError(f'{address} is not free to listen on; set --port or --grpc_socket_path: {error}') from None
  return server


async def _descriptors(models):
  """The descriptors of the services. The model process has them; importing them here would import TensorFlow."""
  pool = descriptor_pool.DescriptorPool()
  files = descriptor_pb2.FileDescriptorSet.FromString(await models.call('descriptors')).file
  for file in files:
    pool.AddSerializedFile(file.SerializeToString())
  return pool


def _handler(models, method):
  """The handler of one method, from bytes to bytes."""

  async def answer(request, context):
    timeout_secs = context.time_remaining()
    try:
      if method == 'HandleReloadConfigRequest':
        return await models.reload(request, timeout_secs)
      return await models.call('grpc', method, request, timeout_secs=timeout_secs)
    except status.StatusError as error:
      await context.abort(error.code, status.cut(error.message))
    except Exception:  # answered below, without its text
      logging.exception('%s failed', method)
      await context.abort(grpc.StatusCode.INTERNAL, 'Internal error of the local test server; see its log.')

  return grpc.unary_unary_rpc_method_handler(answer)
