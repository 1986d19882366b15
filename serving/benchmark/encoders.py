"""BERT-family encoders to compare with: random weights, real WordPiece, TensorFlow and ONNX int8.

Time does not depend on the weights' values. The SavedModel is tf-models-official's encoder with
tokenising and packing inside, a signature `tokens_<n>` for each length; every request is padded to
that length. The ONNX graph has the same weights in ONNX Runtime's own fused BERT operators (what
its optimiser makes of an exported BERT), quantised to int8: its best case, not a straw man. It
takes ids; `baselines.py` tokenises for it.
"""

from collections.abc import Sequence
import dataclasses
import os
import shutil

from absl import logging
import numpy as np
from official.nlp.modeling import networks
import onnx
from onnx import helper
from onnx import numpy_helper
from onnxruntime import quantization
import tensorflow as tf
import tensorflow_text as tf_text
import tf_keras


@dataclasses.dataclass(frozen=True)
class Size:
  num_layers: int
  hidden_size: int
  num_heads: int
  inner_dim: int


SIZES = {
  'BERT-Base': Size(12, 768, 12, 3072),
  'TinyBERT-6L-768': Size(6, 768, 12, 3072),
  'TinyBERT-4L-312': Size(4, 312, 12, 1200),
  'MiniLM-L6': Size(6, 384, 12, 1536),
}


class Encoder(tf.Module):
  """Texts → WordPiece → BERT → one logit."""

  def __init__(self, size: Size, vocab: Sequence[str]):
    """Makes an encoder with random weights; `vocab` is BERT's, [PAD] first."""
    super().__init__()
    self.cls_id, self.sep_id = vocab.index('[CLS]'), vocab.index('[SEP]')
    self.tokenizer = tf_text.FastBertTokenizer(list(vocab), token_out_type=tf.int32, lower_case_nfd_strip_accents=True)
    self.encoder = networks.BertEncoderV2(
      len(vocab),
      hidden_size=size.hidden_size,
      num_layers=size.num_layers,
      num_attention_heads=size.num_heads,
      inner_dim=size.inner_dim,
      type_vocab_size=2,
      inner_activation=lambda x: tf_keras.activations.gelu(x, approximate=False),
    )
    self.head = tf_keras.layers.Dense(1)
    zeros = tf.zeros([1, 3], tf.int32)
    self.logit(zeros, zeros, zeros)

  def logit(self, ids, types, mask):
    """Returns logits, float [batch], of int32 [batch, length] inputs."""
    outputs = self.encoder({'input_word_ids': ids, 'input_type_ids': types, 'input_mask': mask})
    return tf.squeeze(self.head(outputs['pooled_output']), -1)

  def pack(self, texts, max_tokens: int):
    """Packs [CLS] a [SEP] (b [SEP]); returns ids, types, mask: int32 [batch, max_tokens]."""
    pieces = [self.tokenizer.tokenize(text) for text in texts]
    trimmer = tf_text.RoundRobinTrimmer(max_tokens - len(texts) - 1)
    ids, types = tf_text.combine_segments(trimmer.trim(pieces), self.cls_id, self.sep_id)
    ids, mask = tf_text.pad_model_inputs(ids, max_tokens)
    types, _ = tf_text.pad_model_inputs(types, max_tokens)
    return ids, types, tf.cast(mask, tf.int32)

  def signature(self, inputs: Sequence[str], max_tokens: int):
    """Returns the tf.function {inputs: string [N]} → {probability, logit: float [N]}."""

    def score(*texts):
      logit = self.logit(*self.pack(texts, max_tokens))
      return {'probability': tf.sigmoid(logit), 'logit': logit}

    specs = [tf.TensorSpec([None], tf.string, name=name) for name in inputs]
    return tf.function(score).get_concrete_function(*specs)


def build(name: str, vocab_file: str, inputs: Sequence[str], lengths: Sequence[int], folder: str) -> None:
  """Writes one encoder for both runtimes, unless it is there.

  Args:
    name: one of `SIZES`.
    vocab_file: a BERT vocab.txt.
    inputs: the signature's inputs: `text`, or `query` and `title`.
    lengths: tokens that a request is padded to; a signature each.
    folder: where to; `saved_model` and `onnx` in it.

  Raises:
    ValueError: there is no such encoder.
  """
  if name not in SIZES:
    raise ValueError(f'--encoders: expected some of {", ".join(SIZES)}, found {name}')
  if os.path.exists(folder):
    return
  logging.info('building %s', name)
  with open(vocab_file, encoding='utf-8') as file:
    encoder = Encoder(SIZES[name], file.read().splitlines())
  signatures = {f'tokens_{length}': encoder.signature(inputs, length) for length in lengths}
  unfinished = f'{folder}.unfinished'
  tf.saved_model.save(encoder, f'{unfinished}/saved_model', signatures=signatures)
  build_onnx(encoder, SIZES[name], vocab_file, f'{unfinished}/onnx')
  os.rename(unfinished, folder)


def build_onnx(encoder: Encoder, size: Size, vocab_file: str, onnx_dir: str) -> None:
  """Writes `encoder` quantised to int8 as `onnx_dir`/model.onnx, beside its vocabulary."""
  os.makedirs(onnx_dir, exist_ok=True)
  shutil.copy(vocab_file, os.path.join(onnx_dir, 'vocab.txt'))
  unquantised = os.path.join(onnx_dir, 'float.onnx')
  onnx.save(onnx_graph(encoder, size), unquantised)
  quantization.quantize_dynamic(
    unquantised,
    os.path.join(onnx_dir, 'model.onnx'),
    weight_type=quantization.QuantType.QInt8,
    extra_options={'DefaultTensorType': onnx.TensorProto.FLOAT},
  )
  os.remove(unquantised)


def onnx_graph(encoder: Encoder, size: Size) -> onnx.ModelProto:
  """Returns the float ONNX model: ids, types, mask: int32 [batch, length] → logit [batch, 1]."""
  weights = iter(encoder.encoder.get_weights() + encoder.head.get_weights())
  nodes: list[onnx.NodeProto] = []
  initializers: list[onnx.TensorProto] = []

  def constant(array):
    initializers.append(numpy_helper.from_array(array, f'w{len(initializers)}'))
    return initializers[-1].name

  def take(*shape):
    return constant(next(weights).reshape(shape))

  def node(op, inputs, outputs=1, domain='com.microsoft', **attributes):
    names = [f'{op}_{len(nodes)}_{i}' for i in range(outputs)]
    nodes.append(helper.make_node(op, inputs, names, name=names[0], domain=domain, **attributes))
    return names

  width = size.hidden_size
  word, position, token_type = take(-1, width), take(-1, width), take(-1, width)
  hidden, lengths = node(
    'EmbedLayerNormalization',
    ['ids', 'types', word, position, token_type, take(-1), take(-1), 'mask'],
    2,
    epsilon=1e-12,
  )
  for _ in range(size.num_layers):
    kernels, biases = zip(*((next(weights).reshape(width, width), next(weights).reshape(-1)) for _ in 'qkv'))
    attended = node(
      'Attention',
      [hidden, constant(np.concatenate(kernels, 1)), constant(np.concatenate(biases)), lengths],
      num_heads=size.num_heads,
    )[0]
    for inner in (False, True):
      if inner:
        up = node('MatMul', [hidden, take(width, -1)], domain='')[0]
        attended = node('BiasGelu', [up, take(-1)])[0]
      down, bias = node('MatMul', [attended, take(-1, width)], domain='')[0], take(-1)
      hidden = node('SkipLayerNormalization', [down, hidden, take(-1), take(-1), bias], epsilon=1e-12)[0]
  first = node('Gather', [hidden, constant(np.array(0))], domain='', axis=1)[0]
  pooled = node('Tanh', node('Gemm', [first, take(width, width), take(-1)], domain=''), domain='')
  nodes.append(helper.make_node('Gemm', [*pooled, take(width, 1), take(-1)], ['logit']))
  inputs = [
    helper.make_tensor_value_info(name, onnx.TensorProto.INT32, ['batch', 'length'])
    for name in ('ids', 'types', 'mask')
  ]
  output = helper.make_tensor_value_info('logit', onnx.TensorProto.FLOAT, ['batch', 1])
  graph = helper.make_graph(nodes, 'bert', inputs, [output], initializers)
  return helper.make_model(
    graph, ir_version=9, opset_imports=[helper.make_opsetid('', 17), helper.make_opsetid('com.microsoft', 1)]
  )
