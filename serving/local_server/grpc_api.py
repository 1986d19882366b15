"""gRPC as TensorFlow Serving speaks it: PredictionService and ModelService.

On grpc.aio: a call whose message never comes waits on the event loop, where grpcio's threaded
server would give it a thread. Messages pass as bytes: the model process knows what they mean.
"""

from absl import logging
import grpc

from serving.local_server import model_process
from serving.local_server import status

_METHODS = {
  'tensorflow.serving.PredictionService': ('Predict', 'Classify', 'Regress', 'MultiInference', 'GetModelMetadata'),
  'tensorflow.serving.ModelService': ('GetModelStatus', 'HandleReloadConfigRequest'),
}


def make_server(models: model_process.ModelProcess, addresses: list[str], max_message_bytes: int) -> grpc.aio.Server:
  """A server, not started yet, of both services on `addresses` ('host:port' or 'unix:path').

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
  for address in addresses:
    try:
      server.add_insecure_port(address)
    except RuntimeError as error:
      raise ValueError(f'{address} is not free to listen on; set --port or --grpc_socket_path: {error}') from None
  return server


def _handler(models, method):
  """The handler of one method, from bytes to bytes."""

  async def answer(request, context):
    timeout_secs = context.time_remaining()
    try:
      if method == 'HandleReloadConfigRequest':
        return await models.reload(request, timeout_secs)
      return await models.call('grpc', method, request, timeout_secs=timeout_secs)
    except status.StatusError as error:
      await context.abort(error.code, error.message)
    except Exception:  # answered below, without its text
      logging.exception('%s failed', method)
      await context.abort(grpc.StatusCode.INTERNAL, 'Internal error of the local test server; see its log.')

  return grpc.unary_unary_rpc_method_handler(answer)
