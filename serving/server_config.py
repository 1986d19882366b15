"""TensorFlow Serving's configuration files: messages in text form, read as strictly as the server reads them.

A field that the message does not have stops the server at its start, so it stops `export` and the local test
server as well. tensorflow-serving-api lacks two of the messages, which are declared here as release 2.20 has
them (servables/tensorflow/session_bundle_config.proto, config/monitoring_config.proto); text form needs only
the names and types of their fields.
"""

from typing import TypeVar

from google.protobuf import descriptor_pb2
from google.protobuf import descriptor_pool
from google.protobuf import message
from google.protobuf import message_factory
from google.protobuf import text_format
from google.protobuf import wrappers_pb2

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = 'tensorflow.serving'
_INT64, _BOOL, _STRING = ('.google.protobuf.' + name for name in ('Int64Value', 'BoolValue', 'StringValue'))
# Message → its fields in order: a scalar type, or the full name of a message.
_MESSAGES = {
  'BatchingParameters': {
    'max_batch_size': _INT64,
    'batch_timeout_micros': _INT64,
    'max_enqueued_batches': _INT64,
    'num_batch_threads': _INT64,
    'thread_pool_name': _STRING,
    'allowed_batch_sizes': _Field.TYPE_INT64,
    'pad_variable_length_inputs': _Field.TYPE_BOOL,
    'enable_large_batch_splitting': _BOOL,
    'max_execution_batch_size': _INT64,
  },
  'PrometheusConfig': {'enable': _Field.TYPE_BOOL, 'path': _Field.TYPE_STRING},
  'MonitoringConfig': {'prometheus_config': f'.{_PACKAGE}.PrometheusConfig'},
}
_REPEATED = ('allowed_batch_sizes',)
_Message = TypeVar('_Message', bound=message.Message)


def _declare() -> descriptor_pool.DescriptorPool:
  """The messages, in a pool of their own: a release of tensorflow-serving-api may bring them one day."""
  file = descriptor_pb2.FileDescriptorProto(
    name='server_config.proto', package=_PACKAGE, syntax='proto3', dependency=[wrappers_pb2.DESCRIPTOR.name]
  )
  for name, fields in _MESSAGES.items():
    declared = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), 1):
      added = declared.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL)
      if field in _REPEATED:
        added.label = _Field.LABEL_REPEATED
      if isinstance(kind, str):
        added.type, added.type_name = _Field.TYPE_MESSAGE, kind
      else:
        added.type = kind
  pool = descriptor_pool.DescriptorPool()
  pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
  pool.AddSerializedFile(file.SerializeToString())
  return pool


_POOL = _declare()


def _message_class(name: str) -> type[message.Message]:
  return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f'{_PACKAGE}.{name}'))


BatchingParameters = _message_class('BatchingParameters')
MonitoringConfig = _message_class('MonitoringConfig')


def parse(text: str, file: str, expected: type[_Message]) -> _Message:
  """Parses a configuration file.

  Args:
    text: its content.
    file: its name, for the error.
    expected: the class of its message.

  Raises:
    ValueError: it is not such a message in text form; says where.
  """
  try:
    return text_format.Parse(text, expected())
  except text_format.ParseError as error:
    name = expected.DESCRIPTOR.name
    raise ValueError(f'{file}:{error}: expected a {name} in text form, as TensorFlow Serving reads it') from None
