"""The one door to a trained model: a teacher's run, a student's run, or an exported SavedModel, called alike.

    import b2d
    model = b2d.load('runs/mine/student')
    model.probability(query=['cordless drill'], title=['20V drill'])

A SavedModel is scored through its `serving_default`, as a server would. The two-class logit z that it gives is taken
as the logits [0, z], as a student's.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import os
from typing import Any

import numpy as np
from scipy import special
import tensorflow as tf

from b2d import config
from b2d import record
from b2d import runs
from b2d.measures import metrics
from b2d.models import calibration
from b2d.models import explanation
from b2d.models import student
from b2d.models import teacher

Texts = Mapping[str, Sequence[str] | np.ndarray]

_SAVED_MODEL_ROWS = 256  # Rows of one call, which has a limit of tokens in a student with convolution.


@dataclasses.dataclass(frozen=True)
class Model:
  """A model that is ready to score.

  Attributes:
    folder: where it was loaded from.
    kind: 'teacher', 'student' or 'saved_model'.
    fields: the texts that it reads, ('text',) or ('query', 'title').
    num_classes: number of classes.
    finished: whether its training has ended; a run that still goes on gives its best weights so far.
    run: the `config.Finetune` or `config.Distill` that it was trained with; None of a SavedModel.
    calibration: of the probability: see `calibration`.
    keras: the `TeacherModel` or `StudentModel`; None of a SavedModel.
  """

  folder: str
  kind: str
  fields: tuple[str, ...]
  num_classes: int
  finished: bool
  run: Any
  calibration: calibration.Calibration
  keras: Any
  predict_logits: Callable[[Mapping[str, np.ndarray]], np.ndarray] = dataclasses.field(repr=False)

  def logits(self, batch: Texts | None = None, /, **texts: Sequence[str]) -> np.ndarray:
    """Scores rows.

    Args:
      batch: the texts by field, n each, as str or UTF-8 bytes; other keys don't matter.
      **texts: or the same as keywords, `query=[...], title=[...]` or `text=[...]`.

    Returns:
      float32 [n, num_classes], unscaled.

    Raises:
      ValueError: a field is missing, or they differ in length.
    """
    given = {**(batch or {}), **texts}
    if missing := [field for field in self.fields if field not in given]:
      raise ValueError(f'{self.folder}: expected {", ".join(self.fields)}, found no {", ".join(missing)}')
    made = {field: _as_bytes(given[field]) for field in self.fields}
    if len({len(values) for values in made.values()}) > 1:
      raise ValueError(f'expected as many of each of {", ".join(self.fields)}, found {[*map(len, made.values())]}')
    if not len(made[self.fields[0]]):
      return np.zeros([0, self.num_classes], np.float32)
    return self.predict_logits(made)

  def probability(self, batch: Texts | None = None, /, **texts: Sequence[str]) -> np.ndarray:
    """Scores rows, as `logits` takes them.

    Returns:
      float64 [n] in [0, 1]: P(class 1), of grades P(grade >= relevant_from); of more than two classes [n, num_classes].

    Raises:
      ValueError: see `logits`.
    """
    logits = self.logits(batch, **texts)
    if self.num_classes > 2:
      return special.softmax(logits.astype(np.float64), axis=1)
    return calibration.apply(self.calibration, metrics.margin(logits))

  def explain(self, **texts: str) -> explanation.Explanation:
    """What each part of one row contributes to its score: see `explanation.Explanation`.

        model.explain(query='puppy cushion', title='Beige Dog Bed').words

    Raises:
      ValueError: a field is missing.
    """
    if missing := [field for field in self.fields if field not in texts]:
      raise ValueError(f'{self.folder}: expected {", ".join(self.fields)}, found no {", ".join(missing)}')
    return explanation.explain(self.logits, {field: texts[field] for field in self.fields}, self.keras)


def load(folder: str, *, precision: str = 'float32', batch_tokens: int = 4096) -> Model:
  """Loads the model in `folder`.

  Args:
    folder: a run folder of `b2d.finetune` or `b2d.distill`; a SavedModel; or a folder of numbered versions of one, of
      which the highest is taken.
    precision: of a teacher's matrix products, 'float32' or 'bfloat16'.
    batch_tokens: padded word pieces in a batch of a teacher.

  Raises:
    ValueError: there is no such model in the folder.
  """
  run = read_config(folder)
  if run is None:
    return _load_saved_model(folder)
  finished = runs.finished(folder)
  fitted = _read_calibration(calibration.path(folder)) or calibration.unfitted(run.schema)
  if isinstance(run, config.Finetune):
    model = teacher.load(folder, precision)
    predict = functools.partial(model.predict_logits, max_tokens=batch_tokens)
    return Model(folder, 'teacher', model.fields, model.num_classes, finished, run, fitted, model, predict)
  model = student.load(folder)
  return Model(folder, 'student', model.fields, model.num_classes, finished, run, fitted, model, model.predict_logits)


def read_config(folder: str) -> Any:
  """What the model in `folder` was trained with, read in no time; None where a SavedModel lies.

  Raises:
    ValueError: no model lies there.
  """
  run = runs.config_of(folder, config.Finetune, config.Distill)
  if run is not None:
    return run
  if tf.io.gfile.exists(os.path.join(folder, 'config.json')):
    step = runs.step_of(folder)
    found = f'a run of b2d.{step}' if step else 'another config.json'
  elif record.saved_model_folder(folder):
    return None
  else:
    found = 'none'
  raise ValueError(
    f'{folder}: expected a run folder of b2d.finetune or b2d.distill, or a SavedModel (saved_model.pb, or numbered '
    f'versions), found {found}; correct the path'
  )


def _load_saved_model(folder: str) -> Model:
  path = record.saved_model_folder(folder)
  loaded: Any = tf.saved_model.load(path)
  signature = loaded.signatures.get('serving_default')
  if signature is None or 'logit' not in signature.structured_outputs:
    raise ValueError(
      f'{path}: expected a signature serving_default with an output logit, found '
      f'{sorted(loaded.signatures)}; export the model with python -m export'
    )
  fields = tuple(sorted(signature.structured_input_signature[1]))  # 'query' before 'title'.
  shape = signature.structured_outputs['logit'].shape

  def predict_logits(batch, model=loaded):  # The model is bound here: its variables die with it.
    del model
    parts = []
    for start in range(0, len(batch[fields[0]]), _SAVED_MODEL_ROWS):
      part = {field: tf.constant(batch[field][start : start + _SAVED_MODEL_ROWS], tf.string) for field in fields}
      parts.append(signature(**part)['logit'].numpy())
    logits = np.concatenate(parts)
    return logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)

  fitted = _read_calibration(calibration.path(os.path.join(path, 'assets.extra'))) or calibration.PLAIN
  num_classes = 2 if shape.rank == 1 else int(shape[1])
  return Model(path, 'saved_model', fields, num_classes, True, None, fitted, None, predict_logits)


def _read_calibration(path: str) -> calibration.Calibration | None:
  return calibration.Calibration(**runs.read_json(path)) if tf.io.gfile.exists(path) else None


def _as_bytes(texts: Sequence[str] | np.ndarray) -> np.ndarray:
  if isinstance(texts, str | bytes):
    raise ValueError(f'expected a list of texts, found one: {texts!r}; write [{texts!r}]')
  return np.array([text.encode() if isinstance(text, str) else text for text in texts], object)
