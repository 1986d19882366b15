"""Replays a SavedModel's warm-up requests, so that no user pays for the first calls."""

import os

import grpc
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from serving.local_server import example_inference
from serving.local_server import inference
from serving.local_server import servable as servable_lib
from serving.local_server import status

_FILE = os.path.join('assets.extra', 'tf_serving_warmup_requests')
_MAX_RECORDS = 1000
_CALLS = {
  'predict_log': inference.predict,
  'classify_log': example_inference.classify,
  'regress_log': example_inference.regress,
  'multi_inference_log': example_inference.multi_inference,
}


def replay(servable: servable_lib.Servable, path: str) -> int:
  """Replays the PredictionLog records of the SavedModel at `path`.

  Returns:
    Their number, 0 where there is no such file.

  Raises:
    StatusError: a record fails, or there are more than 1,000.
    tf.errors.OpError: the file cannot be read.
  """
  file = os.path.join(path, _FILE)
  if not tf.io.gfile.exists(file):
    return 0
  records = list(tf.data.TFRecordDataset(file).take(_MAX_RECORDS + 1).as_numpy_iterator())
  if len(records) > _MAX_RECORDS:
    raise status.invalid_argument(f'Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}')
  for record in records:
    log = prediction_log_pb2.PredictionLog.FromString(record)
    kind = log.WhichOneof('log_type')
    if kind not in _CALLS:
      raise status.StatusError(grpc.StatusCode.UNIMPLEMENTED, f'Unsupported log_type for warmup: {kind}')
    _CALLS[kind](servable, getattr(log, kind).request)
  return len(records)
