"""Writes a trained run as a versioned SavedModel, complete before it has its name.

<output_dir>/<version>/   saved_model.pb, variables/, assets.extra/
    assets.extra/         warm-up requests; calibration.json; export.json: where the model comes
                          from, what it was measured at, what it needs
<output_dir>/             the server's configuration and a README.md that says how to use it
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import json
import os
from typing import Any

from absl import logging
import numpy as np
import tensorflow as tf

import b2d
from b2d import config
from b2d import record
from b2d import runs
from b2d.data import rows
from b2d.measures import metrics
from b2d.models import trained
from export import metadata
from export import modules
from export import ops
from export import parity
from export import serving_configs
from export import signatures
from export import warmup

_WARMUP_ROWS = {'student': (1, 8, 64, 512), 'teacher': (1, 8, 32)}
# What a version that need not be made again shares with the one that is asked for.
_SAME = ('kind', 'export', 'made_from', 'tensorflow', 'b2d', 'git_revision')
# An object store has no folders to rename: a version gets its files one by one, in order, and this one at the end.
_LAST = 'variables/variables.index'
_MEASURED = ('auc', 'accuracy', 'log_loss')


def export(settings: config.Export) -> tuple[str, dict[str, Any]]:
  """Exports the run folder `settings.model`.

  Returns:
    The folder of the version, and what its export.json holds; of the last one, if nothing has changed since.

  Raises:
    ValueError: no trained run lies there, the SavedModel disagrees with it, or no stock server
      could run it.
  """
  made_from = {path: file['sha256'] for path, file in record.read(settings, {}).items()}
  source = trained.load(settings.model)
  if source.run is None:
    raise ValueError(f'--model={settings.model}: expected a run of b2d.distill or b2d.finetune, found a SavedModel')
  if source.kind == 'teacher':  # It has no table.
    settings = dataclasses.replace(settings, table_dtype='float32')
  elif settings.table_dtype == 'float16' and source.keras.settings.weighted_pooling:
    raise ValueError(
      f'--table_dtype=float16: the sums of weights of {settings.model} (--weighted_pooling) may leave '
      'its range; choose bfloat16 or float32'
    )
  described = json.loads(json.dumps(_describe(settings, source, made_from)))
  before = _latest(settings.output_dir)
  if before and all(before[1].get(name) == described[name] for name in _SAME):
    logging.info('%s: exported before as %s, nothing to do', settings.model, before[0])
    return before
  held_out = _held_out(settings, source.run)
  texts = parity.sample(source.fields, held_out)
  max_tokens = None
  if source.kind == 'student':
    module = modules.StudentModule(source.keras, settings.table_dtype)
    max_tokens = modules.max_tokens(source.keras.settings)
  else:
    module = modules.TeacherModule(source.keras)
  with _new_version(settings.output_dir) as (partial, final):
    names = _save(module, source, partial)
    report = ops.check(partial)
    difference = parity.check(partial, texts, _serving_logits(source, texts), parity.TOLERANCES[settings.table_dtype])
    num_requests = warmup.write(partial, settings.model_name, names, texts, _warmup_rows(source, texts, max_tokens))
    described |= {
      'signatures': names,
      'warmup_requests': num_requests,
      'largest_difference': difference,
      'held_out': _measure(partial, source, held_out),
      'serving': report._asdict(),
    }
    _write_assets(os.path.join(partial, warmup.ASSETS), source, described)
  serving_configs.write(settings.output_dir, settings.model_name, source.run.schema, report, source.kind, max_tokens)
  return final, described


def _warmup_rows(source: trained.Model, texts: dict[str, np.ndarray], max_tokens: int | None) -> list[int]:
  """Rows of the warm-up requests, without those that the model would refuse: they would keep it from being served."""

  def num_tokens(num_rows):
    bags = source.keras.featurize({field: tf.constant(np.resize(texts[field], num_rows)) for field in source.fields})
    return int(tf.size(bags.ids)) // len(source.keras.settings.ngram_orders)

  return [rows for rows in _WARMUP_ROWS[source.kind] if max_tokens is None or num_tokens(rows) <= max_tokens]


def _serving_logits(source: trained.Model, texts: dict[str, np.ndarray]) -> np.ndarray:
  """As the SavedModel gives them: float32 [n], [n, num_classes] for more than two classes."""
  logits = source.logits(texts)
  return metrics.margin(logits) if source.num_classes == 2 else logits


def _held_out(settings: config.Export, run: config.Distill | config.Finetune) -> rows.Batch | None:
  if not settings.valid_files:
    return None
  if not run.schema.label_column:
    raise ValueError(
      f'--valid_files: {settings.model} was trained without --label_column, so none '
      'of their columns is known to hold labels; leave the flag out'
    )
  return rows.concatenate(list(rows.read(rows.expand(settings.valid_files), run.schema)))


def _latest(folder: str) -> tuple[str, dict[str, Any]] | None:
  """The folder of the highest version and what its export.json holds, if it is whole."""
  for version in record.saved_model_versions(folder)[-1:]:
    made = os.path.join(folder, str(version))
    paths = [os.path.join(made, warmup.ASSETS, 'export.json'), os.path.join(made, _LAST)]
    if all(map(tf.io.gfile.exists, paths)):
      return made, runs.read_json(paths[0])
  return None


@contextlib.contextmanager
def _new_version(folder: str) -> Iterator[tuple[str, str]]:
  """Yields a temporary folder and the next version's, to which it is renamed if all goes well."""
  tf.io.gfile.makedirs(folder)
  version = max(record.saved_model_versions(folder), default=0) + 1
  final = os.path.join(folder, str(version))
  # Not a number: no server looks at it.
  partial = os.path.join(folder, f'unfinished-{version}-{os.getpid()}')
  try:
    yield partial, final
    tf.io.gfile.rename(partial, final)
  finally:
    if tf.io.gfile.exists(partial):
      tf.io.gfile.rmtree(partial)


def _save(module, source: trained.Model, folder: str) -> list[str]:
  """Writes the SavedModel; returns the names of its signatures."""
  schema = source.run.schema
  # Of grades, '0' and '1' would be read as two of them.
  names = ('irrelevant', 'relevant') if schema.label_range else schema.classes
  made = signatures.make(module, source.calibration, names)
  tf.saved_model.save(module, folder, signatures=made)
  updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(folder)
  for name in signatures.METHODS.keys() & made.keys():
    updater.replace_method_name(name, signatures.METHODS[name])
  updater.save()
  return list(made)


def _measure(folder: str, source: trained.Model, held_out: rows.Batch | None) -> dict[str, dict[str, float]] | None:
  """Metrics of trained model and SavedModel on the held-out rows."""
  if held_out is None:
    return None
  texts = {field: held_out[field] for field in source.fields}
  saved = parity.saved_logits(folder, texts, batch_size=256)
  if saved.ndim == 1:
    saved = np.stack([np.zeros_like(saved), saved], axis=1)
  measured = {'trained': source.logits(texts), 'exported': saved}
  made = {}
  for name, logits in measured.items():
    values = metrics.held_out(held_out['label'], logits, source.run.schema)
    made[name] = {key: values[key] for key in _MEASURED if key in values}
  return made


def _describe(settings: config.Export, source: trained.Model, made_from: dict[str, str]) -> dict[str, Any]:
  return {
    'kind': source.kind,
    'export': dataclasses.asdict(settings),
    'run': dataclasses.asdict(source.run),
    'metrics': runs.read_json(os.path.join(settings.model, 'metrics.json')),
    'made_from': made_from,
    'trained_from': runs.read_json(os.path.join(settings.model, 'made_from.json')),
    'b2d': b2d.__version__,
    'git_revision': metadata.git_revision(),
    'tensorflow': tf.__version__,
  }


def _write_assets(folder: str, source: trained.Model, described: dict[str, Any]) -> None:
  assets = {'export.json': described}
  if source.num_classes == 2:
    assets['calibration.json'] = source.calibration._asdict()
  for name, values in assets.items():
    runs.write_text(os.path.join(folder, name), json.dumps(values, indent=2) + '\n')
