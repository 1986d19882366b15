"""Folders of soft labels for the tests of what reads them."""

import os
import types

import numpy as np

from b2d.data import shards as shards_lib
from b2d.data import soft_labels


def write(
  folder, order, teacher, shard_rows=7, num_classes=2, texts=types.MappingProxyType({}), labels=None, classes=()
):
  """Rows 'id0', 'id1', ... in this order, with logits that tell teacher, row and class apart."""
  os.makedirs(folder)
  order = np.asarray(order)
  shards = {}
  for start in range(0, len(order), shard_rows):
    part = order[start : start + shard_rows]
    batch = {
      'id': np.array([f'id{row}'.encode() for row in part], object),
      'text': np.array([texts.get(row, f'text {row}').encode() for row in part], object),
      'logits': logits_of(part, teacher, num_classes),
    }
    if labels is not None:
      batch['label'] = np.float32(labels)[part]
    name = shards_lib.name(len(shards))
    shards[name] = soft_labels.write_shard(folder, len(shards), batch)
  manifest = soft_labels.Manifest((f'teacher{teacher}',), num_classes, ('text',), shards, classes=classes)
  soft_labels.write_manifest(folder, manifest)
  return folder


def logits_of(row_numbers, teacher, num_classes=2):
  """float32 [n, 1, num_classes]."""
  row_numbers = np.reshape(row_numbers, [-1, 1, 1])
  return (1000 * teacher + row_numbers + np.arange(num_classes) / 10).astype(np.float32)
