"""One way to score rows with whatever holds a model: a run folder or a SavedModel.

A SavedModel is scored through its `serving_default`, as a server would. The two-class logit z that
it gives is taken as the logits [0, z], as a student's.
"""

from collections.abc import Callable
import dataclasses
import os

import numpy as np
import tensorflow as tf

from b2d import runs
from b2d.data import rows
from b2d.models import calibration
from b2d.models import student
from b2d.models import teacher

_SAVED_MODEL_ROWS = 1024  # Rows of one call.


@dataclasses.dataclass(frozen=True)
class Scorer:
  """A model that is ready to score.

  Attributes:
    name_kind: 'teacher', 'student' or 'saved_model'.
    fields: the texts that it reads, ('text',) or ('query', 'title').
    predict_logits: batch of n rows → float32 [n, num_classes].
    platt: calibration of the probability, where one was fitted.
  """

  name_kind: str
  fields: tuple[str, ...]
  predict_logits: Callable[[rows.Batch], np.ndarray]
  platt: calibration.Calibration | None = None


def load(folder: str) -> Scorer:
  """Loads the model in `folder`.

  Args:
    folder: a run folder of `b2d.finetune` or `b2d.distill`; a SavedModel; or a folder of numbered
      versions of one, of which the highest is taken.

  Raises:
    ValueError: there is no such model in the folder.
  """
  if tf.io.gfile.exists(os.path.join(folder, 'config.json')):
    step = runs.step_of(folder)
    if step == 'finetune':
      model = teacher.load(folder)
      return Scorer('teacher', model.fields, model.predict_logits)
    if step == 'distill':
      model = student.load(folder)
      return Scorer('student', model.fields, model.predict_logits, _read_calibration(student.calibration_path(folder)))
  saved_model = _saved_model_folder(folder)
  if not saved_model:
    raise ValueError(
      f'{folder}: expected a run folder of b2d.finetune or b2d.distill, or a '
      'SavedModel (saved_model.pb, or numbered versions), found none; correct the '
      'path'
    )
  return _load_saved_model(saved_model)


def versions(folder: str) -> list[int]:
  """The versions of a SavedModel in the folder, ascending."""
  names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
  return sorted(int(name.rstrip('/')) for name in names if name.rstrip('/').isdecimal())


def _saved_model_folder(folder: str) -> str:
  """`folder`, or its highest version, where saved_model.pb lies; '' if nowhere."""
  for candidate in [folder] + [os.path.join(folder, str(version)) for version in versions(folder)[-1:]]:
    if tf.io.gfile.exists(os.path.join(candidate, 'saved_model.pb')):
      return candidate
  return ''


def _load_saved_model(folder: str) -> Scorer:
  loaded = tf.saved_model.load(folder)
  signature = loaded.signatures.get('serving_default')
  if signature is None or 'logit' not in signature.structured_outputs:
    raise ValueError(
      f'{folder}: expected a signature serving_default with an output logit, found '
      f'{sorted(loaded.signatures)}; export the model with python -m export'
    )
  fields = tuple(sorted(signature.structured_input_signature[1]))  # 'query' before 'title'.

  def predict_logits(batch, model=loaded):  # The model is bound here: its variables die with it.
    del model
    parts = []
    for start in range(0, len(batch[fields[0]]), _SAVED_MODEL_ROWS):
      part = {field: tf.constant(batch[field][start : start + _SAVED_MODEL_ROWS], tf.string) for field in fields}
      parts.append(signature(**part)['logit'].numpy())
    logits = np.concatenate(parts)
    return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)

  return Scorer(
    'saved_model', fields, predict_logits, _read_calibration(os.path.join(folder, 'assets.extra', 'calibration.json'))
  )


def _read_calibration(path: str) -> calibration.Calibration | None:
  if not tf.io.gfile.exists(path):
    return None
  return calibration.Calibration(**runs.read_json(path))
