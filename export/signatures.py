"""The signatures that TensorFlow Serving calls: strings in, dense floats out, row by row."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from b2d.models import calibration

METHODS = {'classify': 'tensorflow/serving/classify', 'regress': 'tensorflow/serving/regress'}


def make(
  module: Any, fitted: calibration.Calibration = calibration.PLAIN, classes: tuple[str, ...] = ()
) -> dict[str, Callable[..., Any]]:
  """The signatures of a module of `modules`.

      tf.saved_model.save(module, path, signatures=signatures.make(module))

  - serving_default: string [N] by field → 'probability', 'logit' float [N]; [N, num_classes] for
    more than two.
  - classify: serialised tf.Example string [N], a feature for each field → 'classes' string,
    'scores' float, both [N, num_classes].
  - regress: the same → 'outputs' float [N], the probability. Two classes only.
  - rank: string [1] 'query' and [N] 'title' → as serving_default of the query repeated. Students of pairs only.

  All of them refuse other ranks and unequal lengths (INVALID_ARGUMENT): the modules see to it.

  Args:
    module: has `fields`, `num_classes` and `logits`.
    fitted: calibration of the probability.
    classes: names that classify answers; empty: the classes' indices.
  """

  def predict(*texts):
    return answer(module.logits(dict(zip(module.fields, texts))))

  def answer(logit):
    return {'probability': _probability(logit, fitted), 'logit': logit}

  def parse(serialized):
    features = {field: tf.io.FixedLenFeature([], tf.string) for field in module.fields}
    texts = tf.io.parse_example(tf.ensure_shape(serialized, [None]), features)
    return _probability(module.logits(texts), fitted)

  def classify(inputs):
    scores = parse(inputs)
    if module.num_classes == 2:
      scores = tf.stack([1 - scores, scores], axis=1)
    names = tf.constant([list(classes) or [str(i) for i in range(module.num_classes)]])
    return {'classes': tf.broadcast_to(names, tf.shape(scores)), 'scores': scores}

  specs = [tf.TensorSpec([None], tf.string, name=field) for field in module.fields]
  examples = [tf.TensorSpec([None], tf.string, name='inputs')]
  made = {'serving_default': _function(predict, specs), 'classify': _function(classify, examples)}
  if module.num_classes == 2:
    made['regress'] = _function(lambda inputs: {'outputs': parse(inputs)}, examples)
  if len(module.fields) == 2 and hasattr(module, 'ranking_logits'):
    one_and_many = [tf.TensorSpec([1], tf.string, name='query'), tf.TensorSpec([None], tf.string, name='title')]
    made['rank'] = _function(lambda query, title: answer(module.ranking_logits(query, title)), one_and_many)
  return made


def _function(python_function: Callable[..., Any], specs: list[tf.TensorSpec]):
  return tf.function(python_function, input_signature=specs, autograph=False)


def _probability(logit: tf.Tensor, fitted: calibration.Calibration) -> tf.Tensor:
  if logit.shape.rank == 2:
    return tf.nn.softmax(logit)
  return tf.sigmoid(logit if fitted == calibration.PLAIN else fitted.scale * logit + fitted.offset)
