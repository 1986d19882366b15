"""Which releases of the stock TensorFlow Serving can run a graph.

The server links TensorFlow's core ops and those of TF Text, of which the releases 2.15 to 2.19
have an older version. `tf.raw_ops` lists the core ops of the installed TensorFlow alone, whatever
libraries are loaded beside it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

_OLDEST, _NEWEST = '2.15', '2.20'
_TEXT_PREFIX = 'TFText>'
# Core ops of TensorFlow 2.20.0 that 2.15.1 does not have, from the two wheels' `raw_ops`.
_NEW_CORE = frozenset(
  (
    'CheckPinned',
    'DatasetFingerprint',
    'DecodeWebP',
    'GlobalShuffleDataset',
    'IndexFlatMapDataset',
    'IteratorGetModelProto',
    'ListSnapshotChunksDataset',
    'TPUDummyInput',
    'WeightedFlatMapDataset',
  )
)
_TEXT = frozenset(
  (
    'WhitespaceTokenizeWithOffsetsV2',
    'UnicodeScriptTokenizeWithOffsets',
    'RegexSplitWithOffsets',
    'CaseFoldUTF8',
    'NormalizeUTF8',
    'FastWordpieceTokenizeWithOffsets',
  )
)
_NEW_TEXT = frozenset(('RoundRobinTrim', 'Utf8Binarize'))


class Report(NamedTuple):
  """What a graph needs of a server.

  Attributes:
    ops: the core ops, sorted.
    text_ops: the ops of TF Text, sorted.
    lowest_release: of TensorFlow Serving, e.g. '2.15', the oldest that is looked at.
  """

  ops: list[str]
  text_ops: list[str]
  lowest_release: str


def check(folder: str) -> Report:
  """Checks the SavedModel in `folder`.

  Raises:
    ValueError: an op that no stock server has, or that it could not be told of.
  """
  with tf.io.gfile.GFile(f'{folder}/saved_model.pb', 'rb') as file:
    saved_model = saved_model_pb2.SavedModel.FromString(file.read())
  return check_ops(op for meta_graph in saved_model.meta_graphs for op in _ops_of(meta_graph.graph_def))


def check_ops(names: Iterable[str]) -> Report:
  """As `check`, of the names of ops."""
  core, text, unknown, new = [], [], [], False
  for name in sorted(set(names)):
    bare = name.removeprefix(_TEXT_PREFIX)
    new |= name in _NEW_CORE or bare in _NEW_TEXT
    if hasattr(tf.raw_ops, name):
      core.append(name)
    elif bare in _TEXT or bare in _NEW_TEXT:
      text.append(name)
    else:
      unknown.append(name)
  if unknown:
    raise ValueError(
      f'the graph holds ops that no stock TensorFlow Serving is known to have: '
      f'{", ".join(unknown)}; choose another --tokenizer or '
      '--normalization for the run'
    )
  return Report(core, text, _NEWEST if new else _OLDEST)


def _ops_of(graph: graph_pb2.GraphDef) -> Iterable[str]:
  functions = {function.signature.name for function in graph.library.function}
  for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
    yield from (node.op for node in nodes if node.op not in functions)
