"""Rows a second of training and of labelling, text to gradient or logit, and memory: each in a process of its own."""

from collections.abc import Callable
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import process
import dataclasses
import functools
import multiprocessing
import resource
import tempfile
import time

import numpy as np
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.data import soft_labels
from b2d.learning import distillation
from b2d.models import trained

_PADDED_ROWS = 32  # A batch.
_WARM_UP_ROWS = 256


def measure(settings: config.MeasureSpeed) -> Iterator[tuple[str, float, float]]:
  """Yields (what, rows a second, peak resident memory in MB), one after the other.

  Raises:
    ValueError: soft labels or teacher are not there, or do not fit together.
  """
  soft_labels.num_rows(settings.soft_labels)
  manifest = soft_labels.read_manifest(settings.soft_labels[0])
  calls = {
    f'train a student, {buckets:,} buckets': functools.partial(_train, _distill_config(settings, manifest, buckets))
    for buckets in settings.table_buckets
  }
  if settings.teacher_dir:
    _check_teacher(settings.teacher_dir, manifest)
    calls[f'label, padded to {settings.padded_length}, float32'] = functools.partial(
      _label, settings, 'float32', settings.padded_length
    )
    for precision in config.groups.PRECISIONS:
      calls[f'label, by length, {precision}'] = functools.partial(_label, settings, precision, 0)
  # A process for each: memory once taken is not given back.
  with futures.ProcessPoolExecutor(
    1, mp_context=multiprocessing.get_context('spawn'), max_tasks_per_child=1
  ) as executor:
    for what, call in calls.items():
      try:
        yield what, *executor.submit(_measured, call).result()
      except process.BrokenProcessPool as error:
        raise ChildProcessError(f'{what}: the process died; out of memory? Leave that one out') from error


def _measured(call: Callable[[], float]) -> tuple[float, float]:
  return call(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _distill_config(settings: config.MeasureSpeed, manifest: soft_labels.Manifest, num_buckets: int) -> config.Distill:
  return config.Distill(
    soft_labels=settings.soft_labels,
    max_rows=settings.max_rows,
    schema=config.Schema(text_columns=manifest.fields, num_classes=manifest.num_classes),
    student=dataclasses.replace(settings.student, num_buckets=num_buckets),
    training=settings.training,
  )


def _check_teacher(folder: str, manifest: soft_labels.Manifest) -> None:
  schema = runs.load_config(folder, config.Finetune).schema
  if not runs.finished(folder):
    raise ValueError(f'{folder}: expected a finished run of b2d.finetune; repeat its command')
  expected, found = (len(manifest.fields), manifest.num_classes), (len(schema.fields), schema.num_classes)
  if expected != found:
    raise ValueError(
      f'{folder}: expected a teacher of %d texts and %d classes, as --soft_labels have, found one of '
      '%d and %d; correct --teacher_dir' % (*expected, *found)
    )


def _train(distill_config: config.Distill) -> float:
  with tempfile.TemporaryDirectory() as folder:
    return distillation.distill(dataclasses.replace(distill_config, output_dir=folder))['rows_per_sec']


def _label(settings: config.MeasureSpeed, precision: str, padded_length: int) -> float:
  model = trained.load(settings.teacher_dir, precision=precision).keras
  batch = rows.concatenate(list(soft_labels.read(settings.soft_labels, max_rows=settings.label_rows)))

  @tf.function(input_signature=[{field: tf.TensorSpec([None], tf.string) for field in model.fields}])
  def padded(texts):
    return model.classify(model.pack(texts).to_tensor(model.tokenizer.pad_id, shape=[None, padded_length]))

  def score(batch):
    if not padded_length:
      return model.predict_logits(batch)
    return np.concatenate(
      [
        padded({field: tf.constant(part[field], tf.string) for field in model.fields})
        for part in (
          rows.take(batch, slice(start, start + _PADDED_ROWS)) for start in range(0, rows.size(batch), _PADDED_ROWS)
        )
      ]
    )

  score(rows.take(batch, slice(0, _WARM_UP_ROWS)))
  started = time.perf_counter()
  score(batch)
  return rows.size(batch) / (time.perf_counter() - started)
