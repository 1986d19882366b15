"""What a training tells TensorBoard, every tag with its description. Nothing here runs once a step."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import os
from typing import Any

import numpy as np
from scipy import special
from tensorboard.plugins.pr_curve import summary as pr_curves
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.measures import metrics

_DESCRIPTIONS = {
  'loss': 'Mean loss of the training rows since the point before.',
  'learning_rate': 'Learning rate of the step: it rises over --warmup_proportion of the steps, then falls to 0.',
  'rows_per_sec': 'Training rows a second since the point before, evaluations apart.',
  'rows': 'Rows trained on so far, each epoch counted: what the steps are in rows.',
  'input_wait': 'Share of the time in which training waited for its input; near 0 the input keeps up.',
  'held_out/accuracy': 'Share of the held-out rows that are decided right.',
  'held_out/auc': 'Area under the ROC curve of the held-out rows: how often a relevant row stands above another.',
  'held_out/log_loss': 'Cross-entropy of the held-out rows against their labels, grades from 0 to 1.',
  'held_out/ece': 'Expected calibration error of the held-out rows, before the calibration that ends the training.',
  'held_out/spearman': "Rank correlation of the held-out rows' scores with their grades.",
  'held_out/probability': 'How the scores of the held-out rows lie, before the calibration that ends the training.',
  'held_out/precision_recall': 'Precision and recall of the held-out rows at every threshold.',
  'table/vector_lengths': "Lengths of the table's rows that training has moved.",
  'table/buckets_in_use': "Share of the table's rows that training has moved; near 1 raise --num_buckets.",
}


def scalars(values: Mapping[str, float], step: int, prefix: str = '') -> None:
  """Writes numbers of a step to the default writer."""
  for name, value in values.items():
    tf.summary.scalar(prefix + name, value, step=step, description=_DESCRIPTIONS.get(prefix + name))


def configuration(folder: str) -> None:
  """Writes the flags of a run as text, if it has some."""
  path = os.path.join(folder, 'run.flags')
  if tf.io.gfile.exists(path):
    with tf.io.gfile.GFile(path) as file:
      tf.summary.text(
        'run.flags', '```\n' + file.read() + '```', step=0, description='The flagfile that repeats the run.'
      )


def measured(
  predict_logits: Callable[[rows.Batch], np.ndarray], held_out: rows.Batch, schema: config.Schema
) -> dict[str, float]:
  """`metrics.held_out` of a model; of two classes writes how its scores lie, at the default writer's step."""
  logits, label = predict_logits(held_out), held_out['label']
  if schema.num_classes == 2 and tf.summary.should_record_summaries():
    scores = special.expit(metrics.margin(logits))
    name = 'held_out/probability'
    tf.summary.histogram(name, scores, description=_DESCRIPTIONS[name])
    name = 'held_out/precision_recall'
    positive = metrics.relevant(label, schema.relevant_target)
    curve = pr_curves.pb(name, positive, scores, description=_DESCRIPTIONS[name])
    tf.summary.experimental.write_raw_pb(curve.SerializeToString())
  return metrics.held_out(label, logits, schema)


def table(folder: str, model: Any, step: int) -> dict[str, float]:
  """Writes what training has made of the table of a `StudentModel`; returns buckets_in_use, a share."""
  moved = model.moved_rows()[: model.settings.num_buckets]
  lengths = np.linalg.norm(model.table.numpy()[: len(moved)][moved], axis=1)
  found = {'buckets_in_use': float(moved.mean())}
  with tf.summary.create_file_writer(os.path.join(folder, 'events')).as_default(step):
    name = 'table/vector_lengths'
    tf.summary.histogram(name, lengths, description=_DESCRIPTIONS[name])
    scalars(found, step, 'table/')
  return found


def teacher_line(folder: str, teacher: str, valid_files: Sequence[str], steps: int) -> None:
  """Writes a teacher's own held-out metrics as a run 'teacher', a line to compare the student's with.

  Only where it was measured on the same files; a teacher that is elsewhere, or was imported, has none.
  """
  run = runs.config_of(teacher, config.Finetune)
  if run is None or not runs.finished(teacher) or tuple(run.valid_files) != tuple(valid_files):
    return
  reached = runs.read_json(os.path.join(teacher, 'metrics.json'))
  known = {name: value for name, value in reached.items() if f'held_out/{name}' in _DESCRIPTIONS}
  with tf.summary.create_file_writer(os.path.join(folder, 'events', 'teacher')).as_default():
    for step in (0, steps):
      scalars(known, step, 'held_out/')
