"""REST's JSON ↔ TensorFlow Serving's messages, by the rules of the server's json_tensor.cc.

Texts pass through as the bytes that came: JSON is decoded with `surrogateescape`, so that invalid
UTF-8 reaches the model, as it does in the server, instead of being refused or mended here.
"""

import base64
import binascii
from collections.abc import Callable
from collections.abc import Mapping
import json
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import regression_pb2

from serving.local_server import status

_TYPES: dict[tf.DType, type | tuple[type, ...]] = {
  tf.float32: (int, float),
  tf.float64: (int, float),
  tf.int32: int,
  tf.int64: int,
  tf.bool: bool,
  tf.string: str,
}

_MAX_SHOWN_CHARS = 512
_SPACE = ' \t\r\n'


def parse(body: bytes) -> dict[str, Any]:
  """The request's JSON object; raises StatusError."""
  if not body:
    raise status.invalid_argument('JSON Parse error: The document is empty')
  try:
    # The parser stops after the first value: what follows it is nobody's.
    document, _ = json.JSONDecoder().raw_decode(body.decode('utf-8-sig', 'surrogateescape').lstrip(_SPACE))
  except (ValueError, RecursionError) as error:
    raise status.invalid_argument(f'JSON Parse error: {error}') from None
  if not isinstance(document, dict):
    raise _format_error(document, 'Is not object')
  if not isinstance(document.get('signature_name', ''), str):
    raise status.invalid_argument(
      f"JSON Value: {_show(document)} not formatted correctly. 'signature_name' key must be a string value."
    )
  return document


def inputs(
  document: dict[str, Any], infos: Mapping[str, Any], check_rows: Callable[[int], None]
) -> tuple[dict[str, np.ndarray], bool]:
  """A predict call's inputs, from `instances` (rows) or `inputs` (columns).

  Args:
    document: the request's JSON object.
    infos: input name → TensorInfo of the signature.
    check_rows: raises StatusError for too many rows; called before they are converted.

  Returns:
    Input name → value; whether rows came, and so are to be answered.

  Raises:
    StatusError: the JSON does not fit the signature.
  """
  rows = 'instances' in document
  if rows and 'inputs' in document:
    raise _format_error(document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
  if rows:
    instances = document['instances']
    if not isinstance(instances, list):
      raise _format_error(document, "Excepting 'instances' to be an list/array")
    if not instances:
      raise _format_error(document, "No values in 'instances' array")
    check_rows(len(instances))
    columns = _rows_to_columns(instances, infos)
  elif 'inputs' in document:
    columns = _named_columns(document['inputs'], infos)
    check_rows(max((len(values) for values in columns.values() if isinstance(values, list)), default=1))
  else:
    raise status.invalid_argument("Missing 'inputs' or 'instances' key")
  return {name: _to_array(values, infos[name].dtype) for name, values in columns.items()}, rows


def fill_examples(document: dict[str, Any], request: Any, check_rows: Callable[[int], None]) -> None:
  """Fills a ClassificationRequest or RegressionRequest from `examples` and `context`; else as `inputs`."""
  examples = document.get('examples')
  if 'examples' not in document:
    raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
  if not isinstance(examples, list):
    raise _format_error(document, "Expecting 'examples' value to be an list/array")
  if not examples:
    raise _format_error(document, "'examples' value is an empty array")
  check_rows(len(examples))
  target = request.input.example_list
  if 'context' in document:
    target = request.input.example_list_with_context
    _fill_example(document['context'], target.context)
  for example in examples:
    _fill_example(example, target.examples.add())


def predict_answer(outputs: dict[str, np.ndarray], rows: bool) -> dict[str, Any]:
  """`predictions` (rows) or `outputs` (columns); a single output goes without its name."""
  columns = {name: _to_json(value, name) for name, value in outputs.items()}
  only = next(iter(columns.values())) if len(columns) == 1 else None
  if not rows:
    return {'outputs': columns if only is None else only}
  sizes = {len(values) if isinstance(values, list) else None for values in columns.values()}
  if len(sizes) > 1 or None in sizes:
    raise status.invalid_argument(
      'Outputs have inconsistent batch sizes: ask for columns, with "inputs", instead of rows'
    )
  if only is not None:
    return {'predictions': only}
  return {'predictions': [dict(zip(columns, row)) for row in zip(*columns.values())]}


def classify_answer(response: classification_pb2.ClassificationResponse) -> dict[str, Any]:
  """`results`: for each Example a list of [label, score]."""
  return {
    'results': [
      [[item.label, _shortest(np.float32(item.score))] for item in row.classes]
      for row in response.result.classifications
    ]
  }


def regress_answer(response: regression_pb2.RegressionResponse) -> dict[str, Any]:
  """`results`: a number for each Example."""
  return {'results': [_shortest(np.float32(row.value)) for row in response.result.regressions]}


def dump(answer: dict[str, Any]) -> bytes:
  """JSON as the server writes it: NaN and Infinity bare, floats always with a point or exponent."""
  return json.dumps(answer, ensure_ascii=False).encode('utf-8', 'surrogateescape')


def _rows_to_columns(instances, infos):
  objects = _is_row_object(instances[0])
  if not objects and len(infos) > 1:
    raise status.invalid_argument(
      'instances is a plain list, but expecting list of objects as multiple input tensors '
      'required as per tensorinfo_map'
    )
  columns: dict[str, list] = {name: [] for name in infos}
  for index, row in enumerate(instances):
    if objects != _is_row_object(row):
      found = 'object but got list' if objects else 'value/list but got object'
      raise status.invalid_argument(f'Expecting {found} at item {index} of input list')
    if objects and set(row) != set(infos):
      raise status.invalid_argument(
        f"Failed to process element: {index} of 'instances' list. JSON object: {_show(row)} keys "
        f'must be equal to: {",".join(sorted(infos))}'
      )
    for name, values in columns.items():
      values.append(row[name] if objects else row)
  return columns


def _named_columns(inputs, infos):
  if _is_row_object(inputs):
    for name in infos:
      if name not in inputs:
        raise status.invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: inputs[name] for name in infos}
  if len(infos) > 1:
    raise status.invalid_argument(
      'inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map'
    )
  return dict.fromkeys(infos, inputs)


def _is_base64(value):
  return isinstance(value, dict) and list(value) == ['b64'] and isinstance(value['b64'], str)


def _is_row_object(value):
  return isinstance(value, dict) and not _is_base64(value)


def _to_array(values, dtype_enum):
  dtype = tf.dtypes.as_dtype(dtype_enum)
  if dtype not in _TYPES:
    raise status.invalid_argument(f'Conversion of JSON Value to type: {dtype.name} is not supported')
  array = np.array(values, dtype=object)  # Where lists differ in length or depth, lists are left in it.
  scalars = [_scalar(value, dtype) for value in array.ravel()]
  return np.array(scalars, dtype=dtype.as_numpy_dtype).reshape(array.shape)


def _scalar(value, dtype):
  if dtype == tf.string and isinstance(value, dict):
    return _decode_base64(value)
  if isinstance(value, list):
    raise status.invalid_argument(f'JSON Value: {_show(value)} found at incorrect level in the JSON DOM')
  if not isinstance(value, _TYPES[dtype]) or (isinstance(value, bool) and dtype != tf.bool):
    raise status.invalid_argument(
      f'JSON Value: {_show(value)} Type: {_type_name(value)} is not of expected type: {dtype.name}'
    )
  if dtype == tf.string:
    return _to_bytes(value)
  if dtype.is_integer and not dtype.min <= value <= dtype.max:
    raise status.invalid_argument(f'JSON Value: {_show(value)} Type: Number is not of expected type: {dtype.name}')
  return value


def _decode_base64(value):
  if not _is_base64(value):
    raise status.invalid_argument(f'JSON Value: {_show(value)} not formatted correctly for base64 data')
  try:
    return base64.b64decode(value['b64'], validate=True)
  except (binascii.Error, ValueError):
    raise status.invalid_argument('Unable to base64 decode') from None


def _to_bytes(text):
  try:
    return text.encode('utf-8', 'surrogateescape')
  except UnicodeEncodeError:
    raise status.invalid_argument('JSON Parse error: The surrogate pair in string is invalid.') from None


def _fill_example(value, example):
  if not isinstance(value, dict):
    raise status.invalid_argument(f'Example must be JSON object but got JSON {_type_name(value)}')
  for name, content in value.items():
    feature = example.features.feature[_to_bytes(name).decode('utf-8', 'replace')]
    for item in content if isinstance(content, list) else [content]:
      _add_to_feature(name, item, feature)


def _add_to_feature(name, item, feature):
  if isinstance(item, str) or _is_base64(item):
    kind, value = 'bytes_list', _to_bytes(item) if isinstance(item, str) else _decode_base64(item)
  elif isinstance(item, float):
    kind, value = 'float_list', item
  elif isinstance(item, int) and tf.int64.min <= item <= tf.int64.max:
    kind, value = 'int64_list', int(item)
  else:
    raise status.invalid_argument(f'Feature: {name} has element with unexpected JSON type: {_type_name(item)}')
  if feature.WhichOneof('kind') not in (None, kind):
    expected = feature.WhichOneof('kind').removesuffix('_list')
    raise status.invalid_argument(f'Unexpected element type in feature: {name} expecting type: {expected}')
  getattr(feature, kind).value.append(value)


def _to_json(array, name):
  if array.dtype != object:
    return _shortest(array) if array.dtype.kind == 'f' else array.tolist()
  as_base64 = name.endswith('_bytes')
  texts = [
    {'b64': base64.b64encode(value).decode()} if as_base64 else value.decode('utf-8', 'surrogateescape')
    for value in array.ravel()
  ]
  return np.array(texts, dtype=object).reshape(array.shape).tolist()


def _shortest(value):
  """Python floats that print as the float32 do: 0.2, not 0.20000000298023224."""
  return value.astype(str).astype(float).tolist()


def _format_error(document, problem):
  return status.invalid_argument(f'JSON Value: {_show(document)} {problem}')


def _show(value):
  return json.dumps(value)[:_MAX_SHOWN_CHARS]


def _type_name(value):
  names = {type(None): 'Null', dict: 'Object', list: 'Array', str: 'String'}
  return str(value) if isinstance(value, bool) else names.get(type(value), 'Number')
