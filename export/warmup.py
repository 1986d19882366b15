"""Warm-up requests, which the server replays before a version takes traffic."""

from collections.abc import Iterator
from collections.abc import Sequence
import itertools
import os

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import input_pb2
from tensorflow_serving.apis import prediction_log_pb2

from export import signatures

ASSETS = 'assets.extra'
_FILE = 'tf_serving_warmup_requests'
_MAX_RECORDS = 1000  # More keep the version from loading.


def write(
  folder: str, model_name: str, signature_names: Sequence[str], texts: dict[str, np.ndarray], batch_sizes: Sequence[int]
) -> int:
  """Writes requests for every signature at several batch sizes.

  Args:
    folder: of the SavedModel.
    model_name: under which it will be served.
    signature_names: of the SavedModel.
    texts: bytes [n] by field, taken again from the start where a batch has more rows.
    batch_sizes: rows a request. Of `rank` only one: with --enable_batching more titles than queries are refused,
      and a warm-up request that is refused keeps the version from loading.

  Returns:
    The number of requests.

  Raises:
    ValueError: more requests than a server takes.
  """
  requests = [
    (name, size) for name, size in itertools.product(signature_names, batch_sizes) if name != 'rank' or size == 1
  ]
  num_records = len(requests)
  if num_records > _MAX_RECORDS:
    raise ValueError(f'{num_records} warm-up requests: a server takes at most {_MAX_RECORDS}')
  tf.io.gfile.makedirs(os.path.join(folder, ASSETS))
  with tf.io.TFRecordWriter(os.path.join(folder, ASSETS, _FILE)) as writer:
    for name, size in requests:
      rows = {field: np.resize(values, size) for field, values in texts.items()}
      writer.write(_request(name, model_name, rows).SerializeToString())
  return num_records


def examples(texts: dict[str, np.ndarray]) -> Iterator[tf.train.Example]:
  """The rows as tf.Example."""
  for row in zip(*texts.values()):
    yield tf.train.Example(
      features=tf.train.Features(
        feature={
          field: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for field, value in zip(texts, row)
        }
      )
    )


def _request(name: str, model_name: str, texts: dict[str, np.ndarray]) -> prediction_log_pb2.PredictionLog:
  log = prediction_log_pb2.PredictionLog()
  if name in signatures.METHODS:
    request = getattr(log, f'{name}_log').request
    rows = input_pb2.ExampleList(examples=examples(texts))
    request.input.CopyFrom(input_pb2.Input(example_list=rows))
  else:
    request = log.predict_log.request
    for field, values in texts.items():
      request.inputs[field].CopyFrom(tf.make_tensor_proto(values, dtype=tf.string))
  request.model_spec.name = model_name
  request.model_spec.signature_name = name
  return log
