"""gRPC as TensorFlow Serving speaks it: PredictionService and ModelService.

On grpc.aio: a call whose message never comes waits on the event loop, where grpcio's threaded
server would give it a thread.
"""

import functools

from absl import logging
import grpc
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import prediction_service_pb2_grpc

from serving import engine as engine_lib
from serving import example_inference
from serving import inference
from serving import status

_NO_SPEC = model_pb2.ModelSpec()


def make_server(engine: engine_lib.Engine, addresses: list[str],
                max_message_bytes: int) -> grpc.aio.Server:
  """A server, not started yet, of both services on `addresses` ('host:port' or 'unix:path').

  Raises:
    ValueError: an address is taken.
  """
  server = grpc.aio.server(options=[
      ('grpc.max_receive_message_length', max_message_bytes),
      ('grpc.max_send_message_length', -1),
      ('grpc.so_reuseport', 0),
  ])
  prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
      _PredictionService(engine), server)
  model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelService(engine), server)
  for address in addresses:
    try:
      server.add_insecure_port(address)
    except RuntimeError as error:
      raise ValueError(f'{address} is not free to listen on; set --port or --grpc_socket_path: '
                       f'{error}') from None
  return server


async def _answer(engine, context, handle, spec, api):
  try:
    return await engine.submit(handle, spec.name, api, 'GRPC', context.time_remaining())
  except status.StatusError as error:
    await context.abort(error.code, error.message)
  except Exception:  # pylint: disable=broad-exception-caught  # answered below, without its text
    logging.exception('%s of model %r failed', api, spec.name)
    await context.abort(grpc.StatusCode.INTERNAL, 'Internal error of the stand-in; see its log.')


def _require_spec(request):
  if not request.HasField('model_spec'):
    raise status.invalid_argument('Missing ModelSpec')


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
  """The calls that run a model."""

  def __init__(self, engine):
    self._engine = engine

  def _run(self, call, request, spec, deadline):
    return call(self._engine.manager.lookup(spec), request, self._engine.limits, deadline)

  def _run_with_spec(self, call, request, deadline):
    _require_spec(request)
    return self._run(call, request, request.model_spec, deadline)

  def _answer(self, call, request, context, api):
    handle = functools.partial(self._run_with_spec, call, request)
    return _answer(self._engine, context, handle, request.model_spec, api)

  async def Predict(self, request, context):
    return await self._answer(inference.predict, request, context, 'Predict')

  async def Classify(self, request, context):
    return await self._answer(example_inference.classify, request, context, 'Classify')

  async def Regress(self, request, context):
    return await self._answer(example_inference.regress, request, context, 'Regress')

  async def GetModelMetadata(self, request, context):
    def handle(_):
      _require_spec(request)
      return inference.metadata(self._engine.manager.lookup(request.model_spec), request)
    return await _answer(self._engine, context, handle, request.model_spec, 'GetModelMetadata')

  async def MultiInference(self, request, context):
    spec = request.tasks[0].model_spec if request.tasks else _NO_SPEC
    handle = functools.partial(self._run, example_inference.multi_inference, request, spec)
    return await _answer(self._engine, context, handle, spec, 'MultiInference')


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
  """The calls about models."""

  def __init__(self, engine):
    self._engine = engine

  async def GetModelStatus(self, request, context):
    def handle(_):
      _require_spec(request)
      return self._engine.manager.status(request.model_spec)
    return await _answer(self._engine, context, handle, request.model_spec, 'GetModelStatus')

  async def HandleReloadConfigRequest(self, request, context):
    def handle(_):
      self._engine.manager.reload(request.config)
      return model_management_pb2.ReloadConfigResponse()
    return await _answer(self._engine, context, handle, _NO_SPEC, 'HandleReloadConfigRequest')
