"""Classify, Regress and MultiInference: calls whose input is a list of tf.train.Example.

The order of checks, the codes and the texts are those of the server at release 2.20 (classifier.cc,
regressor.cc, multi_inference.cc).
"""

import grpc
import numpy as np
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import regression_pb2

from serving.local_server import inference
from serving.local_server import servable as servable_lib
from serving.local_server import status

_CLASSIFY = 'tensorflow/serving/classify'
_REGRESS = 'tensorflow/serving/regress'


def classify(
  servable: servable_lib.Servable, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
  """PredictionService.Classify; raises StatusError."""
  name, signature = _signature(servable, request.model_spec, _CLASSIFY, 'classification')
  response = classification_pb2.ClassificationResponse()
  inference.fill_spec(response.model_spec, servable, name)
  _classify(servable, signature, request.input, response.result)
  return response


def regress(
  servable: servable_lib.Servable, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
  """PredictionService.Regress; raises StatusError."""
  name, signature = _signature(servable, request.model_spec, _REGRESS, 'regression')
  response = regression_pb2.RegressionResponse()
  inference.fill_spec(response.model_spec, servable, name)
  _regress(servable, signature, request.input, response.result)
  return response


def multi_inference(
  servable: servable_lib.Servable, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
  """PredictionService.MultiInference; raises StatusError.

  As in the server, all tasks must read one and the same input tensor. tf.saved_model.save gives
  each signature a placeholder of its own, so a classify and a regress task together are refused.
  """
  tasks = [(task, *_task_signature(servable, task)) for task in request.tasks]
  names = [name for _, name, _ in tasks]
  if len(set(names)) < len(names):
    raise status.invalid_argument(f'Duplicate evaluation of signature: {max(names, key=names.count)}')
  if len({signature.inputs['inputs'].name for _, _, signature in tasks}) > 1:
    raise status.invalid_argument('Input tensor must be the same for all Signatures.')
  response = inference_pb2.MultiInferenceResponse()
  for task, name, signature in tasks:
    result = response.results.add()
    inference.fill_spec(result.model_spec, servable, name)
    if task.method_name == _CLASSIFY:
      run, part = _classify, result.classification_result
    else:
      run, part = _regress, result.regression_result
    run(servable, signature, request.input, part)
  return response


def _signature(servable, spec, method, kind):
  name = spec.signature_name or inference.DEFAULT_SIGNATURE
  if name not in servable.signatures:
    raise status.invalid_argument(f'No signature was found with the name: {name}')
  signature = servable.signatures[name]
  if signature.method_name != method:
    raise status.invalid_argument(f'Expected {kind} signature method_name to be {method}. Was: {signature.method_name}')
  if list(signature.inputs) != ['inputs']:
    raise status.invalid_argument('Expected one input Tensor.')
  return name, signature


def _task_signature(servable, task):
  if not task.model_spec.name:
    raise status.invalid_argument('Found ModelSpec with an empty model name.')
  if task.model_spec.name != servable.name:
    raise status.invalid_argument('All ModelSpecs in a MultiInferenceRequest must access the same model name.')
  name = task.model_spec.signature_name or inference.DEFAULT_SIGNATURE
  if name not in servable.signatures:
    raise status.invalid_argument(f'Requested signature not found in model graph: {name}')
  if task.method_name not in (_CLASSIFY, _REGRESS):
    raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED, f'Unsupported signature method_name: {task.method_name}')
  kind = 'classification' if task.method_name == _CLASSIFY else 'regression'
  return _signature(servable, task.model_spec, task.method_name, kind)


def _run(servable, signature, examples, aliases):
  """Feeds serialised Examples, behind the context if there is one: their bytes merge on parsing."""
  if examples.HasField('example_list_with_context'):
    context = examples.example_list_with_context.context.SerializeToString()
    rows = [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
  else:
    rows = [example.SerializeToString() for example in examples.example_list.examples]
  if not rows:
    raise status.invalid_argument('Input is empty.')
  inference.check_rows(servable, len(rows))
  feeds = {signature.inputs['inputs'].name: np.array(rows, dtype=object)}
  values = servable.run(feeds, tuple(signature.outputs[alias].name for alias in aliases))
  for alias, value in zip(aliases, values):
    if len(value) != len(rows):
      raise status.invalid_argument(f'Expected {alias} output batch size of {len(rows)}. Got: {len(value)}')
  return values


def _classify(servable, signature, examples, result):
  aliases = [alias for alias in ('classes', 'scores') if alias in signature.outputs]
  if not aliases:
    raise status.StatusError(
      grpc.StatusCode.FAILED_PRECONDITION,
      'Expected classification signature outputs to contain at least one of "classes" or "scores".',
    )
  values = _run(servable, signature, examples, aliases)
  for value in values:
    if value.ndim != 2:
      raise status.invalid_argument(f'Expected Tensor shape: [batch_size num_classes] but got {list(value.shape)}')
  for row in zip(*values):
    classes = result.classifications.add().classes
    for cells in zip(*row):
      cell = dict(zip(aliases, cells))
      classes.add(label=cell.get('classes', b'').decode('utf-8', 'replace'), score=cell.get('scores', 0))


def _regress(servable, signature, examples, result):
  if 'outputs' not in signature.outputs:
    raise status.StatusError(grpc.StatusCode.FAILED_PRECONDITION, 'No regression outputs found in SignatureDef.')
  (value,) = _run(servable, signature, examples, ['outputs'])
  if value.size != len(value):
    raise status.invalid_argument(
      f'Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(value.shape)}'
    )
  for score in value.ravel():
    result.regressions.add(value=score)
