"""What reflection tells of the two services.

tensorflow-serving-api's own modules of the services cannot be imported beside protobuf 4 and later: they write to
a descriptor. So the services are declared here, over the messages' own files.
"""

from google.protobuf import descriptor_pb2
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import regression_pb2

# File → service → method → the file of its messages, and what their names begin with.
_SERVICES = {
  'prediction_service': (
    'PredictionService',
    {
      'Classify': (classification_pb2, 'Classification'),
      'Regress': (regression_pb2, 'Regression'),
      'Predict': (predict_pb2, 'Predict'),
      'MultiInference': (inference_pb2, 'MultiInference'),
      'GetModelMetadata': (get_model_metadata_pb2, 'GetModelMetadata'),
    },
  ),
  'model_service': (
    'ModelService',
    {
      'GetModelStatus': (get_model_status_pb2, 'GetModelStatus'),
      'HandleReloadConfigRequest': (model_management_pb2, 'ReloadConfig'),
    },
  ),
}


def collect() -> descriptor_pb2.FileDescriptorSet:
  """The files of both services, each after those that it imports."""
  files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
  for file_name, (service_name, methods) in _SERVICES.items():
    file = descriptor_pb2.FileDescriptorProto(
      name=f'tensorflow_serving/apis/{file_name}.proto', package='tensorflow.serving', syntax='proto3'
    )
    service = file.service.add(name=service_name)
    for method, (module, prefix) in methods.items():
      _add(module.DESCRIPTOR, files)
      file.dependency.append(module.DESCRIPTOR.name)
      names = (f'.{file.package}.{prefix}{suffix}' for suffix in ('Request', 'Response'))
      service.method.add(name=method, input_type=next(names), output_type=next(names))
    files[file.name] = file
  return descriptor_pb2.FileDescriptorSet(file=files.values())


def _add(descriptor, files):
  if descriptor.name not in files:
    for dependency in descriptor.dependencies:
      _add(dependency, files)
    files[descriptor.name] = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(files[descriptor.name])
