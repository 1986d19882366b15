"""Tiny SavedModels with the exported signatures, for the serving tests.

Easy to check by hand: `logit = (bytes(title) - bytes(query)) / 8 + version` for pairs and
`logit = bytes(text) / 8 + version` for texts; `probability` is its sigmoid.
"""

import math
import os
import sys

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

WARMUP = os.path.join('assets.extra', 'tf_serving_warmup_requests')
_METHODS = {'classify': 'tensorflow/serving/classify', 'regress': 'tensorflow/serving/regress'}


def pair_logit(query: str, title: str, version: int = 1) -> float:
  return (len(title.encode()) - len(query.encode())) / 8 + version


def sigmoid(logit: float) -> float:
  return 1 / (1 + math.exp(-logit))


def save(
  base_path: str,
  version: int = 1,
  columns: tuple[str, ...] = ('query', 'title'),
  rank: bool = False,
  warmup: list[prediction_log_pb2.PredictionLog] | None = None,
) -> str:
  """Writes `base_path/version`, complete before it has that name and, with `rank`, that signature; returns the path."""
  partial = os.path.join(base_path, f'partial-{version}')
  module = tf.Module()
  tf.saved_model.save(module, partial, signatures=_signatures(columns, version, rank))
  updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(partial)
  for name, method in _METHODS.items():
    updater.replace_method_name(name, method)
  updater.save()
  if warmup is not None:
    os.makedirs(os.path.join(partial, 'assets.extra'))
    with tf.io.TFRecordWriter(os.path.join(partial, WARMUP)) as writer:
      for record in warmup:
        writer.write(record.SerializeToString())
  path = os.path.join(base_path, str(version))
  os.rename(partial, path)
  return path


def predict_log(**columns: list[str]) -> prediction_log_pb2.PredictionLog:
  """A warm-up record: a Predict call with these string columns."""
  request = predict_pb2.PredictRequest()
  for name, texts in columns.items():
    request.inputs[name].CopyFrom(tf.make_tensor_proto(texts, dtype=tf.string))
  log = prediction_log_pb2.PredictionLog()
  log.predict_log.request.CopyFrom(request)
  return log


def _signatures(columns, version, rank):
  def logits(texts):
    texts = [tf.ensure_shape(text, [None]) for text in texts]
    sizes = [tf.size(text) for text in texts]
    with tf.control_dependencies([tf.debugging.assert_equal(sizes[0], sizes[-1])]):
      lengths = [tf.cast(tf.strings.length(text), tf.float32) for text in texts]
    longer = lengths[-1] - lengths[0] if len(texts) > 1 else lengths[0]
    return longer / 8 + version

  def predict(*texts):
    logit = logits(texts)
    return {'probability': tf.sigmoid(logit), 'logit': logit}

  def parse(serialized):
    features = {name: tf.io.FixedLenFeature([], tf.string, '') for name in columns}
    examples = tf.io.parse_example(tf.ensure_shape(serialized, [None]), features)
    return tf.sigmoid(logits([examples[name] for name in columns]))

  def classify(inputs):
    probability = parse(inputs)
    classes = tf.tile([['0', '1']], [tf.size(probability), 1])
    return {'classes': classes, 'scores': tf.stack([1 - probability, probability], axis=1)}

  def regress(inputs):
    return {'outputs': parse(inputs)}

  def predict_rank(query, title):
    return predict(tf.broadcast_to(tf.ensure_shape(query, [1]), tf.shape(title)), title)

  specs = [tf.TensorSpec([None], tf.string, name=name) for name in columns]
  examples = tf.TensorSpec([None], tf.string, name='inputs')
  one_and_many = [tf.TensorSpec([size], tf.string, name=name) for name, size in (('query', 1), ('title', None))]
  ranking = {'rank': tf.function(predict_rank, input_signature=one_and_many)} if rank else {}
  return ranking | {
    'serving_default': tf.function(predict, input_signature=specs),
    'classify': tf.function(classify, input_signature=[examples]),
    'regress': tf.function(regress, input_signature=[examples]),
  }


def main(argv):
  """python -m tests.served_models FOLDER: the models that serving_conformance_test expects."""
  for version in (1, 2):
    save(os.path.join(argv[1], 'pair'), version)


if __name__ == '__main__':
  main(sys.argv)
