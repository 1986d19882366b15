"""Classify, Regress and MultiInference: calls whose input is a list of tf.train.Example.

The order of checks, the codes and the texts are those of the server at release 2.20 (classifier.cc,
regressor.cc, multi_inference.cc). It does not look at a signature's method name, unless a flag asks it to.
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
_INPUTS = 'inputs'


def classify(
  servable: servable_lib.Servable, request: classification_pb2.ClassificationRequest
) -> classification_pb2.ClassificationResponse:
  """PredictionService.Classify; raises StatusError."""
  response = classification_pb2.ClassificationResponse()
  _infer(servable, request, _check_classification, response)
  return response


def regress(
  servable: servable_lib.Servable, request: regression_pb2.RegressionRequest
) -> regression_pb2.RegressionResponse:
  """PredictionService.Regress; raises StatusError."""
  response = regression_pb2.RegressionResponse()
  _infer(servable, request, _check_regression, response)
  return response


def multi_inference(
  servable: servable_lib.Servable, request: inference_pb2.MultiInferenceRequest
) -> inference_pb2.MultiInferenceResponse:
  """PredictionService.MultiInference: all tasks in one run, on the same Examples; raises StatusError."""
  names: list[str] = []
  signatures = []
  for task in request.tasks:
    names.append(_task_signature_name(servable, task, names))
    signatures.append(servable.signatures[names[-1]])
    if task.method_name not in _CHECKS:
      raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED, f'Unsupported signature method_name: {task.method_name}')
    _CHECKS[task.method_name](signatures[-1])
  values = _run(servable, signatures, request.input)
  response = inference_pb2.MultiInferenceResponse()
  for task, name, signature in zip(request.tasks, names, signatures):
    result = response.results.add()
    inference.fill_spec(result.model_spec, servable, name)
    if task.method_name == _CLASSIFY:
      _fill_classification(signature, values, result.classification_result)
    else:
      _fill_regression(signature, values, result.regression_result)
  return response


def _infer(servable, request, check, response):
  name = request.model_spec.signature_name or inference.DEFAULT_SIGNATURE
  if name not in servable.signatures:
    raise status.invalid_argument(f'No signature was found with the name: {name}')
  signature = servable.signatures[name]
  check(signature)
  values = _run(servable, [signature], request.input)
  inference.fill_spec(response.model_spec, servable, name)
  fill = _fill_classification if check is _check_classification else _fill_regression
  fill(signature, values, response.result)


def _task_signature_name(servable, task, before):
  if not task.model_spec.name:
    raise status.invalid_argument('Found ModelSpec with an empty model name.')
  if task.model_spec.name != servable.name:
    raise status.invalid_argument('All ModelSpecs in a MultiInferenceRequest must access the same model name.')
  name = task.model_spec.signature_name or inference.DEFAULT_SIGNATURE
  if name in before:
    raise status.invalid_argument(f'Duplicate evaluation of signature: {name}')
  if name not in servable.signatures:
    raise status.invalid_argument(f'Requested signature not found in model graph: {name}')
  return name


def _check_classification(signature):
  """PreProcessClassification in classifier.cc."""
  if len(signature.inputs) != 1:
    raise status.invalid_argument('Expected one input Tensor.')
  if len(signature.outputs) not in (1, 2):
    raise status.invalid_argument(f'Expected one or two output Tensors, found {len(signature.outputs)}')
  if _INPUTS not in signature.inputs:
    raise _failed_precondition('No classification inputs found in SignatureDef: ')
  if not {'classes', 'scores'} & set(signature.outputs):
    raise _failed_precondition(
      'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: '
    )


def _check_regression(signature):
  """PreProcessRegression in regressor.cc."""
  if len(signature.inputs) != 1:
    raise status.invalid_argument('Expected one input Tensor.')
  if len(signature.outputs) != 1:
    raise status.invalid_argument('Expected one output Tensor.')
  if _INPUTS not in signature.inputs:
    raise _failed_precondition('No regression inputs found in SignatureDef: ')
  if 'outputs' not in signature.outputs:
    raise _failed_precondition('No regression outputs found in SignatureDef: ')


_CHECKS = {_CLASSIFY: _check_classification, _REGRESS: _check_regression}


def _failed_precondition(message):
  return status.StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)


def _run(servable, signatures, examples):
  """Feeds serialised Examples to every signature in one run; tensor name → value, batch sizes checked.

  A context goes before each Example: their bytes merge on parsing.
  """
  if examples.HasField('example_list_with_context'):
    context = examples.example_list_with_context.context.SerializeToString()
    rows = [context + example.SerializeToString() for example in examples.example_list_with_context.examples]
  else:
    rows = [example.SerializeToString() for example in examples.example_list.examples]
  if not rows:
    raise status.invalid_argument('Input is empty.')
  servable.options.check_rows(len(rows))
  feeds = dict.fromkeys((signature.inputs[_INPUTS].name for signature in signatures), np.array(rows, dtype=object))
  fetches = sorted({info.name for signature in signatures for info in signature.outputs.values()})
  values = dict(zip(fetches, servable.run(feeds, tuple(fetches))))
  for value in values.values():
    if value.shape[:1] != (len(rows),):
      raise status.invalid_argument(f'Expected output batch size of {len(rows)}. Got: {value.shape}')
  return values


def _fill_classification(signature, values, result):
  aliases = [alias for alias in ('classes', 'scores') if alias in signature.outputs]
  outputs = [values[signature.outputs[alias].name] for alias in aliases]
  for value in outputs:
    if value.ndim != 2:
      raise status.invalid_argument(f'Expected Tensor shape: [batch_size num_classes] but got {list(value.shape)}')
  for row in zip(*outputs):
    classes = result.classifications.add().classes
    for cells in zip(*row):
      cell = dict(zip(aliases, cells))
      classes.add(label=cell.get('classes', b'').decode('utf-8', 'replace'), score=cell.get('scores', 0))


def _fill_regression(signature, values, result):
  value = values[signature.outputs['outputs'].name]
  if value.size != len(value):
    raise status.invalid_argument(
      f'Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {list(value.shape)}'
    )
  for score in value.ravel():
    result.regressions.add(value=score)
