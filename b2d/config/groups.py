"""The groups of settings that several steps share: the training loop, teacher and student; of the data: `columns`."""

import dataclasses
import math

from b2d.config import base

TOKENIZERS = ('whitespace', 'words', 'unicode_script', 'wordpiece', 'characters')
NORMALIZATIONS = ('none', 'lower_ascii', 'lower', 'casefold_nfkc')
POOLINGS = ('cls', 'mean')
RULES = ('paper', 'hinton')
SCORES = ('probability', 'logit')
PRECISIONS = ('float32', 'bfloat16')
PRECISIONS_OR_AUTO = ('auto', *PRECISIONS)
COMBINATIONS = ('logits', 'probabilities', 'weights')
OPTIMIZERS = ('lazy_adam', 'adagrad')
TABLE_DTYPES = ('bfloat16', 'float16', 'float32')

_EPOCHS, _STEPS = 3, 2000  # Where they follow the number of rows.


def _power_of_two(wanted: float, smallest: int, largest: int) -> int:
  """The largest power of two that is not above `wanted`, from `smallest` to `largest`."""
  return min(largest, max(smallest, 1 << max(0, math.floor(math.log2(wanted)))))


@dataclasses.dataclass(frozen=True)
class Training(base.Config):
  """The training loop, for teacher and student alike."""

  train_batch_size: int = base.option(
    0, 'Rows a step; 0: by the number of rows, up to 32 for a teacher and 1,024 for a student.'
  )
  learning_rate: float = base.option(5e-5, 'Peak learning rate.')
  num_train_epochs: float = base.option(0.0, 'Passes over the training rows; 0: 3 over many, up to 10 over few.')
  warmup_proportion: float = base.option(0.1, 'Share of the steps in which the learning rate rises.')
  weight_decay: float = base.option(0.0, 'Decoupled weight decay; biases and normalisations are spared.')
  eval_every: int = base.option(0, 'Steps between evaluations on the held-out rows; 0: ten times a run.')
  best_metric: str = base.option(
    'auc', 'Held-out metric by which the best weights are kept.', ('auc', 'accuracy', 'log_loss')
  )
  shuffle_rows: int = base.option(131072, 'Rows held in memory to shuffle.')
  seed: int = base.option(1, 'Seed of the initial weights, the shuffling and dropout.')

  def validate(self) -> None:
    base.require(self.train_batch_size >= 0, '--train_batch_size must not be negative')
    base.require(self.learning_rate > 0, '--learning_rate must be positive')
    base.require(self.num_train_epochs >= 0, '--num_train_epochs must not be negative')
    base.require(0 <= self.warmup_proportion < 1, '--warmup_proportion must be in [0, 1)')
    base.require(self.shuffle_rows >= self.train_batch_size, '--shuffle_rows must be at least --train_batch_size')

  def settled(self, num_rows: int, *, many_rows: int, most_epochs: int, batch_sizes: tuple[int, int]) -> 'Training':
    """These settings, with batch size and epochs that were not given chosen by the number of rows.

    Many rows are seen three times. Fewer are seen more often, and in smaller batches: so that there are steps enough.

    Args:
      num_rows: rows of an epoch.
      many_rows: how many are many.
      most_epochs: passes over few rows.
      batch_sizes: smallest and largest, powers of two.
    """
    epochs = self.num_train_epochs or float(round(min(most_epochs, max(_EPOCHS, _EPOCHS * many_rows / num_rows))))
    batch_size = self.train_batch_size or _power_of_two(num_rows * epochs / _STEPS, *batch_sizes)
    return dataclasses.replace(self, num_train_epochs=epochs, train_batch_size=batch_size)


@dataclasses.dataclass(frozen=True)
class Teacher(base.Config):
  """A BERT encoder with a classification head."""

  init_checkpoint: str = base.option(
    '',
    'Folder of a Hugging Face BERT or MPNet (config.json, model.safetensors, vocab.txt), prefix of a TF1 or '
    'TF2 BERT checkpoint beside its bert_config.json and vocab.txt, or run folder of a teacher, whose head is taken '
    'over too. Empty: from scratch.',
    role='input',
  )
  vocab_file: str = base.option('', 'WordPiece vocabulary; empty: vocab.txt beside the checkpoint.', role='input')
  max_seq_length: int = base.option(128, 'Word pieces a row, [CLS] and [SEP] included.')
  pooling: str = base.option(
    'mean',
    'What the head reads: the mean of all positions, or the pooled first one (cls), which is a little faster.',
    POOLINGS,
  )
  num_layers: int = base.option(0, 'Transformer layers; 0: all of the checkpoint (12 from scratch).')
  hidden_size: int = base.option(256, 'Width, from scratch only.')
  num_attention_heads: int = base.option(4, 'Attention heads, from scratch only.')
  intermediate_size: int = base.option(1024, 'Inner width of the feed-forward part, from scratch only.')
  dropout: float = base.option(0.1, 'Dropout of encoder and head.')

  def validate(self) -> None:
    base.require(self.max_seq_length >= 8, '--max_seq_length must be at least 8')


@dataclasses.dataclass(frozen=True)
class Student(base.Config):
  """Hashed n-gram embeddings, pooled, and a feed-forward network."""

  normalization: str = base.option(
    'lower',
    "What is done to a text first: 'lower_ascii' A to Z alone, three times as fast as 'lower' for Unicode; "
    "'casefold_nfkc' Unicode case folding and NFKC (TF Text).",
    NORMALIZATIONS,
  )
  tokenizer: str = base.option(
    'whitespace',
    "What a token is: 'whitespace' what stands between Unicode's white space; 'words' the same, and where a script has "
    "no spaces (Han, Kana, Thai, Lao, Khmer, Myanmar) each sign of it; 'unicode_script' what is of one script.",
    TOKENIZERS,
  )
  delimiters: str = base.option(
    '', 'Characters that part the tokens of --tokenizer=whitespace and words, besides white space.'
  )
  part_numbers: bool = base.option(
    False, "Whether a number is a token of its own where letters touch it, as in '12ft'; with the same tokenizers."
  )
  strip_suffix: str = base.option(
    '', r"RE2 expression dropped from the end of a token, e.g. '\Bs|\.' to join plural and singular."
  )
  tokenizer_vocab: str = base.option('', 'Vocabulary of --tokenizer=wordpiece.', role='input')
  ngram_orders: tuple[int, ...] = base.option((1, 2), 'Orders of the n-grams.')
  num_buckets: int = base.option(
    0,
    'Table rows that n-grams are hashed to; --match adds half as many. 0: by the number of rows, 65,536 to 1,048,576.',
  )
  match: bool = base.option(True, 'Pairs: whether a bag tells which query tokens the title has and which it lacks.')
  match_prefix: int = base.option(
    0, "Pairs: first bytes in which a query token and one of the title's must agree to match, at most 8; 0: all."
  )
  product: bool = base.option(True, 'Pairs: whether the product of the pooled fields is a feature.')
  soft_match: bool = base.option(
    False,
    'Pairs: whether the matches are also pooled by how near the title comes to each query token, the highest cosine of '
    'their vectors: more accurate, and slower.',
  )
  embedding_dim: int = base.option(32, 'Width of a table row.')
  weighted_pooling: bool = base.option(
    False,
    "Whether a table row's first column is a learnt weight with which the row counts in its bag: better on "
    'single texts, not on pairs.',
  )
  convolution_filters: int = base.option(
    0,
    'Single texts: filters of a convolution over neighbouring n-grams of the first of --ngram_orders, whose '
    'maximum over the text stands beside the pooled bag: it sees their order; 0: none. With 128 a call takes about '
    '2 kB of memory a token.',
  )
  convolution_width: int = base.option(5, 'Neighbouring n-grams that a filter sees, at most 8.')
  hidden_layers: tuple[int, ...] = base.option((256, 64), 'Widths of the hidden layers.')

  def validate(self) -> None:
    base.require(
      all(1 <= n <= 8 for n in self.ngram_orders) and bool(self.ngram_orders),
      f'--ngram_orders={self.ngram_orders}: expected orders from 1 to 8',
    )
    base.require(self.num_buckets >= 0 and self.num_buckets != 1, '--num_buckets must be at least 2, or 0')
    base.require(0 <= self.match_prefix <= 8, f'--match_prefix={self.match_prefix}: expected 0 to 8 bytes')
    base.require(
      not self.match_prefix or self.tokenizer != 'wordpiece',
      '--match_prefix compares letters; take another --tokenizer than wordpiece',
    )
    base.require(self.match or not self.soft_match, '--soft_match weighs the matches; leave --nomatch out')
    base.require(
      self.vector_dim > 0, f'--embedding_dim={self.embedding_dim}: expected at least 1, and 2 with --weighted_pooling'
    )
    base.require(self.convolution_filters >= 0, '--convolution_filters must not be negative')
    base.require(0 < self.convolution_width <= 8, f'--convolution_width={self.convolution_width}: expected 1 to 8')
    base.require(
      all(width > 0 for width in self.hidden_layers), f'--hidden_layers={self.hidden_layers}: expected positive widths'
    )
    base.require(
      self.delimiters.isascii(),
      f'--delimiters={self.delimiters!r}: expected ASCII characters; --tokenizer=unicode_script parts at others',
    )
    base.require(
      not self.part_numbers or self.tokenizer in ('whitespace', 'words'),
      f'--part_numbers goes with --tokenizer=whitespace and words; --tokenizer={self.tokenizer} has its own way',
    )
    base.require(
      self.tokenizer != 'wordpiece' or bool(self.tokenizer_vocab), '--tokenizer=wordpiece needs --tokenizer_vocab'
    )

  def settled(self, num_rows: int) -> 'Student':
    """These settings, with a table, unless its size was given, that has room for the n-grams of so many rows."""
    return dataclasses.replace(self, num_buckets=self.num_buckets or _power_of_two(16 * num_rows, 1 << 16, 1 << 20))

  @property
  def vector_dim(self) -> int:
    """Width of a pooled bag: that of a table row without its weight."""
    return self.embedding_dim - self.weighted_pooling
