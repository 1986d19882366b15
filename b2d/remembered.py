"""What the folder of a model, or of soft labels, remembers of the data: columns, classes, grades.

Whoever goes on from such a folder need not say it again. `config.Schema` has the rules.
"""

from collections.abc import Sequence
import dataclasses
import os
from typing import Any

import tensorflow as tf

from b2d import config
from b2d import record
from b2d import runs
from b2d.data import soft_labels


def complete(schema: config.Schema, folders: Sequence[str], *, labelled: bool, begun: Any = None) -> config.Schema:
  """The schema with what it was not given taken from the first of the folders that knows.

  Args:
    schema: as given by the user.
    folders: runs of b2d.finetune or b2d.distill, soft labels, or SavedModels that `export` wrote.
    labelled: whether the step reads labelled files.
    begun: the step's own run, if there is one: it knows where the folders are gone, as a finished run no longer needs
      them.

  Raises:
    ValueError: the schema contradicts a folder, or a label column is needed and nobody knows it.
  """
  completed = False
  for folder in folders:
    known = _of_soft_labels(folder) if tf.io.gfile.exists(os.path.join(folder, 'manifest.json')) else _of_run(folder)
    if known is not None:
      schema.check(known, folder)
      if not completed:
        schema, completed = schema.completed(known, labelled=labelled), True
  if begun is not None and not completed and folders and not any(map(tf.io.gfile.exists, folders)):
    schema = schema.completed(begun.schema, labelled=labelled)
  if labelled and not schema.label_column:
    gone = [
      folder for folder in folders if folder and not folder.startswith('package:') and not record.files_of(folder)
    ]
    raise ValueError(
      'set --label_column: the labelled files need one'
      + (f'; {gone[0]}, which may know it, is not there: run first what makes it' if gone else '')
    )
  return schema


def _of_run(folder: str) -> config.Schema | None:
  """Of a run, or of the run that a SavedModel was exported from; None of anything else."""
  run = runs.config_of(folder, config.Finetune, config.Distill, config.Label)
  if run is None and (exported := record.saved_model_folder(folder)):
    path = os.path.join(exported, 'assets.extra', 'export.json')
    return config.Schema.from_dict(runs.read_json(path)['run']['schema']) if tf.io.gfile.exists(path) else None
  return run and run.schema


def _of_soft_labels(folder: str) -> config.Schema:
  """By the manifest; what it does not have, the teacher's run has, or that of the labelling."""
  manifest = soft_labels.read_manifest(folder)
  known = manifest.schema
  for source in (*manifest.teachers, folder):
    run = _of_run(source)
    if run is not None and (run.fields, run.num_classes) == (known.fields, known.num_classes):
      return dataclasses.replace(known, text_columns=run.text_columns, label_column=run.label_column)
  return known
