"""The groups of settings that several steps share: the columns of the data, the training loop, teacher and student."""

import dataclasses
import math
from typing import Any
from typing import ClassVar

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
TSV_QUOTINGS = ('check', 'none', 'csv')
NULL_TEXTS = ('error', 'empty')
TABLE_DTYPES = ('bfloat16', 'float16', 'float32')

# What a schema takes over from the folder of a model or of soft labels, where it is not given.
_EPOCHS, _STEPS = 3, 2000  # Where they follow the number of rows.
_REMEMBERED = ('text_columns', 'label_column', 'num_classes', 'classes', 'label_range', 'grades', 'relevant_from')


def _power_of_two(wanted: float, smallest: int, largest: int) -> int:
  """The largest power of two that is not above `wanted`, from `smallest` to `largest`."""
  return min(largest, max(smallest, 1 << max(0, math.floor(math.log2(wanted)))))


@dataclasses.dataclass(frozen=True)
class Schema(base.Config):
  """How the columns of a file become texts and labels."""

  text_columns: tuple[str, ...] = base.option(
    (),
    "Names of the text columns in the files: one for single texts, two for pairs (the first is taken as 'query', the "
    "second as 'title'). Unset: those that the teacher was trained on, else 'text'. Files of plain lines (.txt) need "
    'none.',
  )
  id_column: str = base.option('', 'Column that identifies a row; empty: file name and line number.')
  label_column: str = base.option('', 'Column of the hard label; empty: the files have none.')
  num_classes: int = base.option(0, 'Number of classes; 0: that of --classes, else 2. A graded target uses 2.')
  classes: tuple[str, ...] = base.option(
    (),
    'Names of the classes in the label column, in the order of their indices, e.g. negative,positive; @FILE: one a '
    'line. Empty: the labels are indices from 0, or True and False.',
    from_file=True,
  )
  label_range: tuple[float, ...] = base.option(
    (),
    'Lowest and highest grade, e.g. 1,3: the label is a grade, rescaled to a target in [0, 1]. '
    'Empty: the range of --grades, and without them the label is a class.',
  )
  grades: tuple[str, ...] = base.option(
    (),
    'Names of the grades in the label column, e.g. Irrelevant:1,Partial:2,Exact:3; @FILE: one a line.',
    from_file=True,
  )
  relevant_from: float = base.option(
    None,
    'Grade, in the scale of the file, from which a row counts as relevant in the evaluation; unset: the middle '
    'of the range.',
  )
  tsv_quoting: str = base.option(
    'check',
    "Quotes in .tsv files: 'none' takes them as text; 'csv' as in CSV, which is how csv.writer, pandas and R write; "
    "'check' as text, and a cell that looks quoted is an error.",
    TSV_QUOTINGS,
  )
  null_text: str = base.option('error', "What a null in a text column is: an error, or an 'empty' text.", NULL_TEXTS)
  max_bad_rows: int = base.option(
    0, 'Rows that cannot be read and are left out, at most; rejected.jsonl in the output names them and says why.'
  )

  _given: ClassVar[frozenset[str]] = frozenset()  # Of each schema its own; not a field: no part of a run's record.

  def __post_init__(self):
    super().__post_init__()
    given = frozenset(name for name in _REMEMBERED if getattr(self, name) not in ((), 0, '', None))
    object.__setattr__(self, '_given', given)
    # What follows from other settings is filled in, so that a run's record has it.
    if not self.text_columns:
      object.__setattr__(self, 'text_columns', ('text',))
    if not self.num_classes:
      object.__setattr__(self, 'num_classes', len(self.classes) or 2)
    if self.grades and not self.label_range:
      grades = list(self.label_values.values())
      object.__setattr__(self, 'label_range', (min(grades), max(grades)))
    if self.relevant_from is None:
      object.__setattr__(self, 'relevant_from', sum(self.label_range or (0.0, 1.0)) / 2)

  def validate(self) -> None:
    base.require(
      len(self.text_columns) <= 2, f'--text_columns={",".join(self.text_columns)}: expected one or two names'
    )
    names = len(self.classes)
    base.require(names != 1, f'--classes={",".join(self.classes)}: expected two names or more, or @FILE')
    base.require(
      self.num_classes in (0, names) if names else self.num_classes != 1 and self.num_classes >= 0,
      f'--num_classes={self.num_classes}: expected {f"{names} as --classes has" if names else "at least 2"}',
    )
    base.require(self.max_bad_rows >= 0, f'--max_bad_rows={self.max_bad_rows}: expected 0 or more')
    base.require(not (self.classes and self.grades), 'set --classes or --grades, not both')
    self._validate_grades()

  def _validate_grades(self) -> None:
    named = self.classes or self.grades
    base.require(
      len(self.label_values) == len(named),
      f'--{"classes" if self.classes else "grades"}={",".join(named)}: expected different names, case apart',
    )
    if self.label_range:
      base.require(
        len(self.label_range) == 2 and self.label_range[0] < self.label_range[1],
        f'--label_range={self.label_range}: expected lowest,highest',
      )
    base.require(
      not self.grades or len(set(self.label_values.values())) > 1,
      f'--grades={",".join(self.grades)}: expected two different grades at least',
    )
    # Expected grades do not reach the highest; of grades by name it is known which one lies below.
    if self.label_range and not self.grades and self.relevant_from is not None:
      base.require(
        self.relevant_from < self.label_range[1],
        f'--relevant_from={self.relevant_from:g}: expected a grade below the highest, {self.label_range[1]:g}, such as '
        'the one halfway to the next; or name the grades, --grades',
      )
    if self.label_range or self.grades:
      base.require(self.num_classes in (0, 2) and not self.classes, '--label_range goes with --num_classes=2')

  def is_given(self, name: str) -> bool:
    """Whether a setting was given, rather than filled in."""
    return name in self._given

  def check(self, known: 'Schema', source: str) -> None:
    """Holds what was given against what a model or soft labels were made with.

    Column names and the scale of grades belong to the files, and may differ; how many texts there are, and the classes,
    may not. Names of classes may be given to a model that knows none.

    Args:
      known: what it was made with.
      source: its folder, for the message.

    Raises:
      ValueError: they contradict each other.
    """
    for name, given, agree in (
      ('text_columns', self.is_given('text_columns'), self.fields == known.fields),
      ('classes', self.is_given('classes'), self.classes == known.classes or not known.classes),
      ('num_classes', self.is_given('num_classes') or self.is_given('classes'), self.num_classes == known.num_classes),
    ):
      if given and not agree:
        found, expected = (
          ','.join(value) if isinstance(value, tuple) else value
          for value in (getattr(self, name), getattr(known, name))
        )
        raise ValueError(f'--{name}={found}: expected {expected}, as {source} has; leave --{name} out, or correct it')

  def completed(self, known: 'Schema', *, labelled: bool) -> 'Schema':
    """This schema, with what it was not given taken from `known`, which `check` has found to agree.

    Args:
      known: what a model or soft labels were made with.
      labelled: whether the files have labels, so that label_column is taken too.
    """
    names = {'text_columns', 'num_classes'} | ({'label_column'} if labelled else set())
    if not any(map(self.is_given, ('classes', 'grades', 'label_range'))):
      names |= {'classes', 'grades', 'label_range', 'relevant_from'}
    elif self.label_range == known.label_range:  # Else it is another scale.
      names |= {'relevant_from'}
    return dataclasses.replace(self._as_given(), **{name: getattr(known, name) for name in names - self._given})

  def _as_given(self) -> 'Schema':
    """This schema before anything was filled in."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(self)}
    return dataclasses.replace(self, **{name: defaults[name] for name in _REMEMBERED if name not in self._given})

  @property
  def fields(self) -> tuple[str, ...]:
    """Names of the texts inside b2d: ('text',) or ('query', 'title')."""
    return ('text',) if len(self.text_columns) == 1 else ('query', 'title')

  @property
  def event(self) -> str:
    """What a model's probability is the probability of, everywhere: to be read behind 'the probability of'."""
    if self.num_classes > 2:
      return 'each class'
    return f'a grade from {self.relevant_from:g} up' if self.label_range else f'the label {(self.classes or "01")[1]}'

  @property
  def label_values(self) -> dict[str, float]:
    """What the names of labels stand for: class index or grade, by the name in lower case; empty without names."""
    if self.classes:
      return {name.strip().casefold(): float(index) for index, name in enumerate(self.classes)}
    values = {}
    for item in self.grades:
      name, _, grade = item.rpartition(':')
      try:
        values[name.strip().casefold()] = float(grade)
      except ValueError as error:
        raise ValueError(f'--grades={",".join(self.grades)}: expected name:number, found {item!r}') from error
    return values

  @property
  def relevant_target(self) -> float:
    """The target in [0, 1] at which labels and predictions are cut: that of `relevant_from`.

    Of grades by name it is halfway to the next one below. Labels have no grade between, but expected grades have: cut
    at the lowest relevant grade itself, half of its rows would fall below.
    """
    grades = self.label_values.values() if self.grades else ()
    below = [grade for grade in grades if grade < self.relevant_from]
    lowest = min((grade for grade in grades if grade >= self.relevant_from), default=self.relevant_from)
    cut = (max(below) + lowest) / 2 if below else self.relevant_from
    low, high = self.label_range or (0.0, 1.0)
    return (cut - low) / (high - low)


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
