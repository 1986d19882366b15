"""Writes a trained run as a versioned SavedModel, complete before it has its name.

    <output_dir>/<version>/   saved_model.pb, variables/ and, in assets.extra/, warm-up requests and export.json
    <output_dir>/             the server's configuration files and a README.md that says how to use them
"""

import contextlib
import dataclasses
import os
from typing import Iterator

import tensorflow as tf

from b2d import calibration
from b2d import config
from b2d import runs
from b2d import student
from b2d import teacher
from export import modules
from export import signatures


@dataclasses.dataclass(frozen=True)
class _Source:
  """A trained run: its model, configuration, and calibration where one was fitted."""
  model: student.StudentModel | teacher.TeacherModel
  run: config.Distill | config.Finetune
  calibration: calibration.Calibration | None


def export(settings: config.Export) -> str:
  """Exports the run folder `settings.model`.

  Returns:
    The folder of the new version.

  Raises:
    ValueError: no trained run lies there.
  """
  source = _load(settings.model)
  if isinstance(source.model, student.StudentModel):
    module = modules.StudentModule(source.model, settings.table_dtype)
  else:
    module = modules.TeacherModule(source.model)
  with _new_version(settings.output_dir) as (partial, final):
    _save(module, source.calibration, partial)
  return final


def _load(folder: str) -> _Source:
  step = runs.read_json(os.path.join(folder, 'config.json')).get('step')
  if step == 'distill':
    path = student.calibration_path(folder)
    fitted = calibration.Calibration(**runs.read_json(path)) if tf.io.gfile.exists(path) else None
    return _Source(student.load(folder), runs.load_config(folder, config.Distill, step), fitted)
  if step == 'finetune':
    return _Source(teacher.load(folder), runs.load_config(folder, config.Finetune, step), None)
  raise ValueError(f'--model={folder}: expected a run of b2d.distill or b2d.finetune, found one of b2d.{step}')


@contextlib.contextmanager
def _new_version(folder: str) -> Iterator[tuple[str, str]]:
  """Yields a temporary folder, and the next version's, to which it is renamed unless there is an error."""
  tf.io.gfile.makedirs(folder)
  names = [name.rstrip('/') for name in tf.io.gfile.listdir(folder)]
  version = 1 + max((int(name) for name in names if name.isdecimal()), default=0)
  final = os.path.join(folder, str(version))
  partial = os.path.join(folder, f'unfinished-{version}-{os.getpid()}')  # No number: no server looks at it.
  try:
    yield partial, final
    tf.io.gfile.rename(partial, final)
  finally:
    if tf.io.gfile.exists(partial):
      tf.io.gfile.rmtree(partial)


def _save(module, fitted: calibration.Calibration | None, folder: str) -> None:
  made = signatures.make(module, fitted)
  tf.saved_model.save(module, folder, signatures=made)
  updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(folder)
  for name in made:
    if name in signatures.METHODS:
      updater.replace_method_name(name, signatures.METHODS[name])
  updater.save()
