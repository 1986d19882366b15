"""Models called from Python: SavedModel, ONNX Runtime, fastText, model2vec, hashed n-grams.

`build` writes fastText, model2vec and hashing + logistic regression in common sizes, fitted to
made-up labels: only their time is wanted. `bench` runs this module in a process of its own for
each model, with what to measure as JSON, and reads the JSON of `harness.run`. A library is imported
only when its model is loaded: none counts in another's memory.
"""

import json
import os
import pickle
import sys

import numpy as np

from serving.benchmark import timing

NUM_BUCKETS = 2**20
EMBEDDING_DIM = 64  # With NUM_BUCKETS: 256 MB.
STATIC_DIM = 256  # that of model2vec's potion-base-8M
MAX_FITTED_ROWS = 5000


def joined(columns: timing.Columns) -> list[str]:
  """Returns one text a row: the columns, a space between."""
  return [' '.join(row) for row in zip(*columns.values())]


def build(kind: str, folder: str, texts: timing.Columns, vocab_file: str) -> None:
  """Writes a model of `kind` to `folder`, unless it is there.

  Args:
    kind: 'fasttext', 'model2vec' or 'hashing'.
    folder: where to.
    texts: what to fit to; labels alternate, they mean nothing.
    vocab_file: a BERT vocab.txt, model2vec's tokens.

  Raises:
    ValueError: there is no such kind.
  """
  if os.path.exists(folder):
    return
  unfinished, examples = f'{folder}.unfinished', joined(texts)[:MAX_FITTED_ROWS]
  os.makedirs(unfinished, exist_ok=True)
  if kind == 'fasttext':
    _build_fasttext(unfinished, examples)
  elif kind == 'hashing':
    _build_hashing(unfinished, examples)
  elif kind == 'model2vec':
    _build_model2vec(unfinished, vocab_file)
  else:
    raise ValueError(f'--baselines: expected some of fasttext, hashing, model2vec, found {kind}')
  os.rename(unfinished, folder)


def _build_fasttext(folder, texts):
  import fasttext

  examples = os.path.join(folder, 'examples.txt')
  with open(examples, 'w', encoding='utf-8') as file:
    file.writelines(f'__label__{i % 2} {text}\n' for i, text in enumerate(texts))
  model = fasttext.train_supervised(
    examples, dim=EMBEDDING_DIM, bucket=NUM_BUCKETS, wordNgrams=2, epoch=1, thread=1, verbose=0
  )
  model.save_model(os.path.join(folder, 'model.bin'))
  os.remove(examples)


def _build_model2vec(folder, vocab_file):
  import model2vec
  import tokenizers

  tokenizer = tokenizers.BertWordPieceTokenizer(vocab_file, lowercase=True)
  shape = [tokenizer.get_vocab_size(), STATIC_DIM]
  vectors = np.random.default_rng(1).standard_normal(shape, np.float32)
  model = model2vec.StaticModel(vectors, tokenizers.Tokenizer.from_str(tokenizer.to_str()))
  model.save_pretrained(folder)


def _build_hashing(folder, texts):
  from sklearn import feature_extraction
  from sklearn import linear_model
  from sklearn import pipeline

  model = pipeline.make_pipeline(
    feature_extraction.text.HashingVectorizer(n_features=NUM_BUCKETS, ngram_range=(1, 2)),
    linear_model.LogisticRegression(),
  )
  model.fit(texts, np.arange(len(texts)) % 2)
  with open(os.path.join(folder, 'model.pkl'), 'wb') as file:
    pickle.dump(model, file)


def load(kind: str, folder: str, tokens: int | None) -> timing.Call:
  """Returns a function of text columns to scores; `tokens` is for 'onnx' alone."""
  if kind == 'onnx':
    return _load_onnx(folder, tokens)
  return {
    'tensorflow': _load_tensorflow,
    'fasttext': _load_fasttext,
    'model2vec': _load_model2vec,
    'hashing': _load_hashing,
  }[kind](folder)


def _load_tensorflow(folder):
  import tensorflow as tf
  import tensorflow_text  # noqa: F401  # registers its ops

  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  model = tf.saved_model.load(folder)

  def call(columns):
    inputs = {name: tf.constant(texts) for name, texts in columns.items()}
    return model.signatures['serving_default'](**inputs)

  return call


def _load_onnx(folder, tokens):
  import onnxruntime
  import tokenizers

  tokenizer = tokenizers.BertWordPieceTokenizer(os.path.join(folder, 'vocab.txt'), lowercase=True)
  tokenizer.enable_truncation(tokens)
  tokenizer.enable_padding(length=tokens)
  options = onnxruntime.SessionOptions()
  options.intra_op_num_threads = options.inter_op_num_threads = 1
  session = onnxruntime.InferenceSession(
    os.path.join(folder, 'model.onnx'), options, providers=['CPUExecutionProvider']
  )

  def call(columns):
    rows = list(zip(*columns.values())) if len(columns) > 1 else next(iter(columns.values()))
    packed = tokenizer.encode_batch(rows)
    return session.run(
      None,
      {
        'ids': np.array([row.ids for row in packed], np.int32),
        'types': np.array([row.type_ids for row in packed], np.int32),
        'mask': np.array([row.attention_mask for row in packed], np.int32),
      },
    )

  return call


def _load_fasttext(folder):
  import fasttext

  model = fasttext.load_model(os.path.join(folder, 'model.bin'))
  return lambda columns: model.predict(joined(columns))


def _load_model2vec(folder):
  import model2vec

  model = model2vec.StaticModel.from_pretrained(folder)

  def call(columns):
    fields = [model.encode(texts) for texts in columns.values()]
    return np.sum(fields[0] * fields[-1], -1)

  return call


def _load_hashing(folder):
  with open(os.path.join(folder, 'model.pkl'), 'rb') as file:
    model = pickle.load(file)
  return lambda columns: model.predict_proba(joined(columns))


def main(
  kind: str,
  folder: str,
  tokens: int | None,
  texts: str,
  workloads: list[str],
  threads: list[int],
  seconds: float,
  max_call_secs: float,
) -> None:
  """Prints the figures of one model."""
  print(
    json.dumps(
      timing.profile(
        lambda: load(kind, folder, tokens), timing.read_texts(texts), workloads, threads, seconds, max_call_secs
      )
    )
  )


if __name__ == '__main__':
  main(**json.loads(sys.argv[1]))
