"""Tiny SavedModels with the exported signatures, for the serving tests.

    python -m tests.served_models FOLDER --base_path=/models

writes those of serving/conformance_test, with the server's configuration. The others are
easy to check by hand: `logit = (bytes(title) - bytes(query)) / 8 + version` for pairs and
`logit = bytes(text) / 8 + version` for texts; `probability` is its sigmoid.
"""

import dataclasses
import math
import os
from typing import Any

from absl import app
from absl import flags
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_log_pb2

from b2d import config
from b2d.models import student as student_lib
from export import modules
from export import signatures

_BASE_PATH = flags.DEFINE_string('base_path', '/models', 'Where the server will find the folder of the models.')

WARMUP = os.path.join('assets.extra', 'tf_serving_warmup_requests')
_TWO_VERSIONS = "model_version_policy { all {} } version_labels { key: 'stable' value: 1 }"
_METHODS = {'classify': 'tensorflow/serving/classify', 'regress': 'tensorflow/serving/regress'}


@dataclasses.dataclass(frozen=True)
class Student:
  """A student as exported, its weights untrained: its fields, number of classes and what its config.Student sets."""

  fields: tuple[str, ...]
  num_classes: int
  settings: dict[str, Any]
  classes: tuple[str, ...] = ()  # Their names.


STUDENTS = {
  'student_pair': Student(('query', 'title'), 2, {}),
  'student_text': Student(('text',), 2, {'convolution_filters': 4}),
  'student_classes': Student(('text',), 5, {}, ('news', 'sport', 'arts', 'science', 'money')),
}


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


def save_student(base_path: str, student: Student) -> None:
  """Version 1 of an exported student, its weights as initialised."""
  settings = config.Student(num_buckets=64, embedding_dim=4, hidden_layers=(4,), **student.settings)
  module = modules.StudentModule(student_lib.StudentModel(settings, student.fields, student.num_classes), 'float32')
  made = signatures.make(module, classes=student.classes)
  tf.saved_model.save(module, os.path.join(base_path, '1'), signatures=made)


def write(folder: str, base_path: str) -> None:
  """Writes what serving/conformance_test expects.

  Args:
    folder: gets the models, models.config and monitoring.config.
    base_path: where the server will find the folder.
  """
  for version in (1, 2):
    save(os.path.join(folder, 'pair'), version)
  for name, student in STUDENTS.items():
    save_student(os.path.join(folder, name), student)
  models = '\n'.join(
    f'config {{ name: "{name}" base_path: "{base_path}/{name}" model_platform: "tensorflow" {more} }}'
    for name, more in [('pair', _TWO_VERSIONS), *((name, '') for name in STUDENTS)]
  )
  files = {
    'models.config': f'model_config_list {{ {models} }}',
    'monitoring.config': 'prometheus_config { enable: true }',
  }
  for name, content in files.items():
    with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
      file.write(content)


def main(words):
  write(words[1], _BASE_PATH.value)


if __name__ == '__main__':
  app.run(main)
