"""The error that gRPC and REST answers are made from, with TensorFlow Serving's codes."""

import grpc

_MAX_GRPC_CHARS = 1024  # grpc_status_util.cc, ToGRPCStatus.

_HTTP_STATUS = {
  'INVALID_ARGUMENT': 400,
  'FAILED_PRECONDITION': 400,
  'OUT_OF_RANGE': 400,
  'UNAUTHENTICATED': 401,
  'PERMISSION_DENIED': 403,
  'NOT_FOUND': 404,
  'ALREADY_EXISTS': 409,
  'ABORTED': 409,
  'RESOURCE_EXHAUSTED': 429,
  'CANCELLED': 499,
  'UNIMPLEMENTED': 501,
  'UNAVAILABLE': 503,
  'DEADLINE_EXCEEDED': 504,
}
_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
  """A request's failure: `code` is a grpc.StatusCode."""

  def __init__(self, code: grpc.StatusCode, message: str):
    super().__init__(message)
    self.code = code
    self.message = message

  @property
  def http_status(self) -> int:
    return _HTTP_STATUS.get(self.code.name, 500)


def from_number(number: int, message: str) -> StatusError:
  """The error of a TensorFlow error code: the numbers are gRPC's."""
  return StatusError(_BY_NUMBER[number], message)


def from_exception(error: Exception) -> StatusError:
  """The error of an exception: a tf.errors.OpError keeps its code, what is unknown is INTERNAL."""
  if isinstance(error, StatusError):
    return error
  if hasattr(error, 'error_code') and hasattr(error, 'message'):
    return from_number(error.error_code, error.message)
  return StatusError(grpc.StatusCode.INTERNAL, f'{type(error).__name__}: {error}')


def invalid_argument(message: str) -> StatusError:
  return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def cut(message: str) -> str:
  """The message as gRPC carries it; REST carries it whole."""
  return message if len(message) <= _MAX_GRPC_CHARS else message[:_MAX_GRPC_CHARS] + '...TRUNCATED'
