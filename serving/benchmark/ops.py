"""Prints a SavedModel's nodes and time by op, as the server's runtime executes them.

    python -m serving.benchmark.ops --model=exported/1 --texts=valid.tsv --text_columns=query,title

Nodes are those left after the session's graph optimisations. Times are the kernels' own, from step
statistics; the executor's work between the kernels is not in them, tracing slows them a little, and
the single-threaded executor keeps no statistics, so the default one runs here. Read shares from
this, latency from `bench`.
"""

import collections
import statistics
import sys

from absl import app
from absl import flags
import tensorflow as tf
import tensorflow_text  # noqa: F401  # registers its ops

from serving.benchmark import timing

_MODEL = flags.DEFINE_string('model', None, 'Folder of the SavedModel.')
_SIGNATURE = flags.DEFINE_string('signature', 'serving_default', 'Signature to call.')
_TEXTS = flags.DEFINE_string('texts', None, 'TSV of real texts with a header line, .gz or not.')
_TEXT_COLUMNS = flags.DEFINE_list('text_columns', None, 'Its columns for query,title or text.')
_WORKLOAD = flags.DEFINE_string(
  'workload', '1', 'Rows a call; 1x100: one query with 100 titles; rank100 with --signature=rank.'
)
_CALLS = flags.DEFINE_integer('calls', 200, 'Calls to trace, after a tenth as many to warm up.')


def profile(
  model_dir: str, signature: str, texts: timing.Columns, workload: str, calls: int
) -> dict[str, tuple[int, float]]:
  """Traces calls of a signature.

  Args:
    model_dir: folder of the SavedModel.
    signature: its name.
    texts: columns of texts, by the signature's input names.
    workload: see `timing.requests`.
    calls: calls to trace.

  Returns:
    {op: (nodes, microseconds a call, median over the calls)}, slowest first.

  Raises:
    ValueError: the model has no such signature.
  """
  v1 = tf.compat.v1
  config = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
  options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE, output_partition_graphs=True)
  stream = timing.requests(texts, workload)
  micros = []
  with tf.Graph().as_default(), v1.Session(config=config) as session:
    signatures = v1.saved_model.load(session, ['serve'], model_dir).signature_def
    if signature not in signatures:
      raise ValueError(f'{model_dir}: no signature {signature}; it has {sorted(signatures)}')
    inputs, outputs = signatures[signature].inputs, signatures[signature].outputs
    for _ in range(calls + calls // 10):
      request = next(stream)
      metadata = v1.RunMetadata()
      session.run(
        [info.name for info in outputs.values()],
        {info.name: request[name] for name, info in inputs.items()},
        options,
        metadata,
      )
      op_of = {node.name: node.op for graph in metadata.partition_graphs for node in graph.node}
      micros.append(_micros_by_op(metadata.step_stats, op_of))
  nodes = collections.Counter(op_of.values())
  found = {op: (nodes[op], statistics.median(call[op] for call in micros[-calls:])) for op in nodes}
  return dict(sorted(found.items(), key=lambda item: -item[1][1]))


def _micros_by_op(step_stats, op_of) -> collections.Counter:
  micros: collections.Counter[str] = collections.Counter()
  for device in step_stats.dev_stats:
    for node in device.node_stats:
      nanos = node.op_end_rel_nanos - node.op_start_rel_nanos
      micros[op_of.get(node.node_name, node.node_name)] += nanos / 1e3
  return micros


def main(_):
  try:
    texts = timing.read_texts(_TEXTS.value, _TEXT_COLUMNS.value)
    found = profile(_MODEL.value, _SIGNATURE.value, texts, _WORKLOAD.value, _CALLS.value)
  except (OSError, ValueError) as error:
    sys.exit(f'error: {error}')
  total_us = sum(micros for _, micros in found.values())
  print(f'{"op":40} {"nodes":>5} {"us":>9} {"share":>6}')
  for op, (nodes, micros) in found.items():
    print(f'{op:40} {nodes:5} {micros:9.2f} {micros / total_us:6.1%}')
  print(f'{"all":40} {sum(nodes for nodes, _ in found.values()):5} {total_us:9.2f}')


if __name__ == '__main__':
  flags.mark_flags_as_required(['model', 'texts'])
  app.run(main)
