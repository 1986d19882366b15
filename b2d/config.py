"""The configurations of the steps: frozen dataclasses, validated when made, to and from JSON.

Each field carries its own help, so the absl flags (`flags/dataclass_flags.py`), `config.json` in a run
folder and this file can never disagree. No TensorFlow and no I/O here. Steps that share no group with
another, or build on one, have theirs in `config_pair_up`, `config_sweep` and `config_measure_speed`.
"""

import dataclasses

from b2d import config_base as base

TOKENIZERS = ('whitespace', 'unicode_script', 'wordpiece', 'characters')
NORMALIZATIONS = ('none', 'lower_ascii', 'lower', 'casefold_nfkc')
POOLINGS = ('cls', 'mean')
RULES = ('paper', 'hinton')
SCORES = ('probability', 'logit')
PRECISIONS = ('float32', 'bfloat16')
COMBINATIONS = ('logits', 'probabilities', 'weights')
OPTIMIZERS = ('lazy_adam', 'adagrad')
TABLE_DTYPES = ('bfloat16', 'float16', 'float32')


@dataclasses.dataclass(frozen=True)
class Rows(base.Config):
  """How the columns of a file become texts and labels."""
  text_columns: tuple[str, ...] = base.option(
      ('text',), "Names of the text columns in the files: one for single texts ('text'), two for "
      "pairs (the first is taken as 'query', the second as 'title'). Files of plain lines (.txt) need none.")
  id_column: str = base.option('', 'Column that identifies a row; empty: file name and line number.')
  label_column: str = base.option('', 'Column of the hard label; empty: the files have none.')
  num_classes: int = base.option(2, 'Number of classes. A graded target uses 2.')
  label_range: tuple[float, ...] = base.option(
      (), 'Lowest and highest grade, e.g. 1,3: the label is a grade, rescaled to a target in [0, 1]. '
      'Empty: the label is an integer class.')
  relevant_from: float = base.option(
      0.0, 'Grade, in the scale of the file, from which a row counts as relevant in the evaluation.')

  def validate(self) -> None:
    base.require(len(self.text_columns) in (1, 2),
                 f'--text_columns={",".join(self.text_columns)}: expected one or two names')
    base.require(self.num_classes >= 2, f'--num_classes={self.num_classes}: expected at least 2')
    if self.label_range:
      base.require(len(self.label_range) == 2 and self.label_range[0] < self.label_range[1],
                   f'--label_range={self.label_range}: expected lowest,highest')
      base.require(self.num_classes == 2, '--label_range goes with --num_classes=2')

  @property
  def fields(self) -> tuple[str, ...]:
    """Names of the texts inside b2d: ('text',) or ('query', 'title')."""
    return ('text',) if len(self.text_columns) == 1 else ('query', 'title')

  @property
  def relevant_target(self) -> float:
    """`relevant_from` in the scale of the target, [0, 1]."""
    if not self.label_range:
      return 0.5
    low, high = self.label_range
    return (self.relevant_from - low) / (high - low)


@dataclasses.dataclass(frozen=True)
class Training(base.Config):
  """The training loop, for teacher and student alike."""
  train_batch_size: int = base.option(32, 'Rows a step.')
  learning_rate: float = base.option(5e-5, 'Peak learning rate.')
  num_train_epochs: float = base.option(3.0, 'Passes over the training rows.')
  warmup_proportion: float = base.option(0.1, 'Share of the steps in which the learning rate rises.')
  weight_decay: float = base.option(0.0, 'Decoupled weight decay; biases and normalisations are spared.')
  eval_every: int = base.option(0, 'Steps between evaluations on the held-out rows; 0: ten times a run.')
  best_metric: str = base.option('auc', 'Held-out metric by which the best weights are kept.',
                                 ('auc', 'accuracy', 'log_loss'))
  shuffle_rows: int = base.option(131072, 'Rows held in memory to shuffle.')
  seed: int = base.option(1, 'Seed of the initial weights, the shuffling and dropout.')

  def validate(self) -> None:
    base.require(self.train_batch_size > 0, '--train_batch_size must be positive')
    base.require(self.learning_rate > 0, '--learning_rate must be positive')
    base.require(self.num_train_epochs > 0, '--num_train_epochs must be positive')
    base.require(0 <= self.warmup_proportion < 1, '--warmup_proportion must be in [0, 1)')
    base.require(self.shuffle_rows >= self.train_batch_size,
                 '--shuffle_rows must be at least --train_batch_size')


@dataclasses.dataclass(frozen=True)
class Teacher(base.Config):
  """A BERT encoder with a classification head."""
  init_checkpoint: str = base.option(
      '', 'Folder of a Hugging Face BERT (config.json, model.safetensors, vocab.txt), or prefix of a TF1 or '
      'TF2 BERT checkpoint beside its bert_config.json and vocab.txt. Empty: from scratch.')
  vocab_file: str = base.option('', 'WordPiece vocabulary; empty: vocab.txt beside the checkpoint.')
  max_seq_length: int = base.option(128, 'Word pieces a row, [CLS] and [SEP] included.')
  pooling: str = base.option('cls', 'What the head reads: the pooled first position or the mean.', POOLINGS)
  num_layers: int = base.option(0, 'Transformer layers; 0: all of the checkpoint (12 from scratch).')
  hidden_size: int = base.option(256, 'Width, from scratch only.')
  num_attention_heads: int = base.option(4, 'Attention heads, from scratch only.')
  intermediate_size: int = base.option(1024, 'Inner width of the feed-forward part, from scratch only.')
  dropout: float = base.option(0.1, 'Dropout of encoder and head.')

  def validate(self) -> None:
    base.require(self.max_seq_length >= 8, '--max_seq_length must be at least 8')


@dataclasses.dataclass(frozen=True)
class Finetune(base.Config):
  """`python -m b2d.finetune`: labelled rows → teacher."""
  train_files: tuple[str, ...] = base.option((), 'Labelled rows to train on: file patterns.')
  valid_files: tuple[str, ...] = base.option((), 'Held-out labelled rows: file patterns.')
  output_dir: str = base.option('', 'Run folder of the teacher.')
  rows: Rows = Rows()
  teacher: Teacher = Teacher()
  precision: str = base.option('float32', 'Arithmetic of the matrix products in training; weights stay float32.',
                               PRECISIONS)
  training: Training = Training(weight_decay=0.01)

  def validate(self) -> None:
    base.require(bool(self.rows.label_column), 'set --label_column: fine-tuning needs labels')
    base.require(bool(self.teacher.init_checkpoint or self.teacher.vocab_file),
                 'set --init_checkpoint, or --vocab_file for a teacher from scratch')


@dataclasses.dataclass(frozen=True)
class Label(base.Config):
  """`python -m b2d.label`: a teacher's logits for every row of any number of files."""
  input_files: tuple[str, ...] = base.option((), 'Rows to label: file patterns.')
  teacher_dir: str = base.option('', 'Run folder of the teacher, or of a student to be one: as a member of a stack.')
  scores_columns: tuple[str, ...] = base.option(
      (), 'Import instead of a teacher: columns that hold the scores made elsewhere, one for each class, or '
      'one for the positive class of two.')
  scores_kind: str = base.option('probability', 'What --scores_columns hold.', SCORES)
  output_dir: str = base.option('', 'Folder of the soft labels.')
  rows: Rows = Rows()
  rows_per_shard: int = base.option(8192, 'Rows a shard: what a killed worker loses at most.')
  label_batch_tokens: int = base.option(4096, 'Word pieces a batch; rows are batched by length.')
  num_workers: int = base.option(0, 'Local worker processes; 0: one for each core.')
  precision: str = base.option('bfloat16', 'Arithmetic of the matrix products.', PRECISIONS)
  phrases_per_row: int = base.option(
      0, 'Phrases cut from every single text (2 to 12 words, seeded by the row) and labelled too: cheap '
      'transfer rows.')
  frequent_ngrams: int = base.option(
      0, 'Words, and pairs of adjacent words, that the single texts hold at least so often are labelled too, once '
      'each; 0: none. When 3 million different ones are counted, the rarest are forgotten.')

  def validate(self) -> None:
    base.require(bool(self.teacher_dir) != bool(self.scores_columns),
                 'set --teacher_dir, or --scores_columns to import, and not both')
    base.require(not self.scores_columns or len(self.scores_columns) == self.rows.num_classes
                 or len(self.scores_columns) + 1 == self.rows.num_classes == 2,
                 f'--scores_columns={",".join(self.scores_columns)}: expected one for each of '
                 f'--num_classes={self.rows.num_classes}, or one for the positive class of two')
    for name in ('phrases_per_row', 'frequent_ngrams'):
      wanted = getattr(self, name)
      base.require(wanted >= 0, f'--{name} must not be negative')
      base.require(not (self.scores_columns and wanted),
                   f'--{name} needs a teacher: a phrase has not the score of its row')
      base.require(not wanted or len(self.rows.text_columns) == 1, f'--{name} works on single texts')
    base.require(self.rows_per_shard > 0, '--rows_per_shard must be positive')
    base.require(self.label_batch_tokens > 0, '--label_batch_tokens must be positive')
    base.require(self.num_workers >= 0, '--num_workers must not be negative')


@dataclasses.dataclass(frozen=True)
class Stack(base.Config):
  """`python -m b2d.stack`: soft labels of several teachers over the same rows → one soft label a row."""
  soft_labels: tuple[str, ...] = base.option(
      (), 'Folders of soft labels, one a teacher. Texts and hard labels come from the first.')
  valid_soft_labels: tuple[str, ...] = base.option(
      (), 'Folders of soft labels of a labelled split that no teacher was trained on, in the same order: to fit '
      'the weights, and to measure the stack against its members.')
  output_dir: str = base.option('', 'Folder of the stacked soft labels.')
  combination: str = base.option(
      'logits', "Mean of the teachers' 'logits' or 'probabilities', or 'weights' fitted by a logistic regression.",
      COMBINATIONS)
  relevant_target: float = base.option(
      0.5, 'Target in [0, 1] from which a graded row counts as relevant when measured.')

  def validate(self) -> None:
    base.require(len(self.soft_labels) > 1, 'set --soft_labels: expected at least two folders, comma-separated')
    base.require(not self.valid_soft_labels or len(self.valid_soft_labels) == len(self.soft_labels),
                 f'--valid_soft_labels: expected {len(self.soft_labels)} folders as --soft_labels has, found '
                 f'{len(self.valid_soft_labels)}')
    base.require(self.combination != 'weights' or bool(self.valid_soft_labels),
                 '--combination=weights needs --valid_soft_labels')


@dataclasses.dataclass(frozen=True)
class Student(base.Config):
  """Hashed n-gram embeddings, pooled, and a feed-forward network."""
  normalization: str = base.option(
      'lower', "What is done to a text first: 'lower_ascii' A to Z alone, three times as fast as 'lower' for Unicode; "
      "'casefold_nfkc' Unicode case folding and NFKC (TF Text).", NORMALIZATIONS)
  tokenizer: str = base.option('whitespace', 'What a token is.', TOKENIZERS)
  delimiters: str = base.option(
      '', 'Characters that part the tokens of --tokenizer=whitespace, besides white space.')
  strip_suffix: str = base.option(
      '', r"RE2 expression dropped from the end of a token, e.g. '\Bs|\.' to join plural and singular.")
  tokenizer_vocab: str = base.option('', 'Vocabulary of --tokenizer=wordpiece.')
  ngram_orders: tuple[int, ...] = base.option((1, 2), 'Orders of the n-grams.')
  num_buckets: int = base.option(1 << 20, 'Table rows that n-grams are hashed to; --match adds half as many.')
  hash_seed: int = base.option(0, 'Seed of the hash.')
  match: bool = base.option(
      True, 'Pairs: whether a bag tells which query tokens the title has and which it lacks.')
  match_prefix: int = base.option(
      0, "Pairs: first bytes in which a query token and one of the title's must agree to match, at most 8; 0: all.")
  product: bool = base.option(True, 'Pairs: whether the product of the pooled fields is a feature.')
  embedding_dim: int = base.option(32, 'Width of a table row.')
  weighted_pooling: bool = base.option(
      False, "Whether a table row's first column is a learnt weight with which the row counts in its bag: better on "
      'single texts, not on pairs.')
  convolution_filters: int = base.option(
      0, 'Single texts: filters of a convolution over neighbouring n-grams of the first of --ngram_orders, whose '
      'maximum over the text stands beside the pooled bag: it sees their order; 0: none. With 128 a call takes about '
      '2 kB of memory a token.')
  convolution_width: int = base.option(5, 'Neighbouring n-grams that a filter sees, at most 8.')
  hidden_layers: tuple[int, ...] = base.option((256, 64), 'Widths of the hidden layers.')

  def validate(self) -> None:
    base.require(all(1 <= n <= 8 for n in self.ngram_orders) and bool(self.ngram_orders),
                 f'--ngram_orders={self.ngram_orders}: expected orders from 1 to 8')
    base.require(self.num_buckets > 1, '--num_buckets must be at least 2')
    base.require(0 <= self.match_prefix <= 8, f'--match_prefix={self.match_prefix}: expected 0 to 8 bytes')
    base.require(not self.match_prefix or self.tokenizer != 'wordpiece',
                 '--match_prefix compares letters; take another --tokenizer than wordpiece')
    base.require(self.vector_dim > 0, f'--embedding_dim={self.embedding_dim}: expected at least 1, and 2 with '
                 '--weighted_pooling')
    base.require(self.convolution_filters >= 0, '--convolution_filters must not be negative')
    base.require(0 < self.convolution_width <= 8, f'--convolution_width={self.convolution_width}: expected 1 to 8')
    base.require(all(width > 0 for width in self.hidden_layers),
                 f'--hidden_layers={self.hidden_layers}: expected positive widths')
    base.require(self.delimiters.isascii(),
                 f'--delimiters={self.delimiters!r}: expected ASCII characters; '
                 '--tokenizer=unicode_script parts at others')
    base.require(self.tokenizer != 'wordpiece' or bool(self.tokenizer_vocab),
                 '--tokenizer=wordpiece needs --tokenizer_vocab')

  @property
  def vector_dim(self) -> int:
    """Width of a pooled bag: that of a table row without its weight."""
    return self.embedding_dim - self.weighted_pooling


@dataclasses.dataclass(frozen=True)
class Distill(base.Config):
  """`python -m b2d.distill`: soft labels (or hard ones) → student."""
  soft_labels: tuple[str, ...] = base.option(
      (), 'Folders that b2d.label, b2d.stack or an import wrote. Empty: hard labels alone (the baseline).')
  train_files: tuple[str, ...] = base.option((), 'Labelled rows, for hard labels: file patterns.')
  valid_files: tuple[str, ...] = base.option((), 'Held-out labelled rows: file patterns.')
  output_dir: str = base.option('', 'Run folder of the student.')
  calibration_files: tuple[str, ...] = base.option(
      (), 'Labelled rows to calibrate the probability on: file patterns. Empty: --valid_files, which choose the '
      'weights too; the calibration error is then cross-fitted.')
  temperature: float | str = base.option(
      1.0, "Temperature T of the teacher; 'auto': the best of 1, 2, 4 and 8 by --best_metric on --valid_files, each "
      'tried for an epoch on at most 200,000 of the soft labels.')
  rule: str = base.option('paper', "'paper': T softens the teacher alone; 'hinton': both sides, loss times T².", RULES)
  hard_label_share: float = base.option(
      0.0, 'Weight of the hard label in the loss where a soft-labelled row has one.')
  margin_weight: float = base.option(
      0.0, "Weight of the margin loss: for rows of one query the student's differences follow the teacher's.")
  max_rows: int = base.option(0, 'Use only so many of the soft labels, spread evenly (0: all), to measure growth.')
  init_embeddings: str = base.option(
      '', 'Sentence encoder, given as --init_checkpoint of b2d.finetune, whose vectors of single words start the rows '
      'of the unigrams.')
  rows: Rows = Rows()
  student: Student = Student()
  optimizer: str = base.option('lazy_adam', 'Optimiser of the student.', OPTIMIZERS)
  training: Training = Training(train_batch_size=1024, learning_rate=2e-3, warmup_proportion=0.02)

  def validate(self) -> None:
    base.require(bool(self.soft_labels) != bool(self.train_files),
                 'set --soft_labels, or --train_files for hard labels alone, and not both')
    base.require(bool(self.rows.label_column or self.soft_labels and not self.valid_files + self.calibration_files),
                 'set --label_column: the rows of --train_files, --valid_files and --calibration_files need labels')
    base.require(not self.calibration_files or self.rows.num_classes == 2,
                 '--calibration_files go with --num_classes=2')
    if self.temperature == 'auto':
      base.require(bool(self.soft_labels and self.valid_files),
                   '--temperature=auto needs --soft_labels, and --valid_files to choose by')
    else:
      base.require(not isinstance(self.temperature, str) and self.temperature > 0,
                   f"--temperature={self.temperature}: expected a positive number or 'auto'")
    base.require(not self.student.convolution_filters or len(self.rows.text_columns) == 1,
                 '--convolution_filters work on single texts')
    base.require(not self.training.weight_decay, '--weight_decay must be 0: the student has none')
    base.require(0 <= self.hard_label_share <= 1, '--hard_label_share must be in [0, 1]')
    base.require(self.max_rows >= 0, '--max_rows must not be negative')
    base.require(self.margin_weight >= 0, '--margin_weight must not be negative')
    base.require(not self.margin_weight or bool(self.soft_labels) and self.rows.num_classes == 2
                 and len(self.rows.text_columns) == 2,
                 '--margin_weight needs --soft_labels of pairs and two classes')
    base.require(not self.init_embeddings or self.student.tokenizer != 'wordpiece',
                 '--init_embeddings starts whole words; take another --tokenizer than wordpiece')


@dataclasses.dataclass(frozen=True)
class Evaluate(base.Config):
  """`python -m b2d.evaluate`: several models side by side on the same labelled rows."""
  models: tuple[str, ...] = base.option((), 'name=folder of teacher or student runs, or exported SavedModels.')
  reference: str = base.option('', 'Name of the teacher that agreement and recovered ratio refer to.')
  files: tuple[str, ...] = base.option((), 'Labelled rows: file patterns.')
  output_dir: str = base.option('', 'Folder of metrics.json and the table.')
  rows: Rows = Rows()
  bootstrap: int = base.option(0, 'Bootstrap repeats over queries (or rows) for the intervals; 0: none.')

  def validate(self) -> None:
    base.require(bool(self.models), 'set --models=name=folder,...')
    base.require(bool(self.rows.label_column), 'set --label_column: an evaluation needs labels')


@dataclasses.dataclass(frozen=True)
class Export(base.Config):
  """`python -m export`: a student or a teacher → a SavedModel and the server's configuration."""
  model: str = base.option('', 'Run folder of the student or of the teacher.')
  output_dir: str = base.option('', 'Folder of the versions; a new one gets the next number.')
  model_name: str = base.option('student', 'Name under which the server shall serve it.')
  table_dtype: str = base.option(
      'bfloat16', "Type of the student's table in the SavedModel. bfloat16 is half as large as the trained float32; "
      'its logits are typically off by a few thousandths.', TABLE_DTYPES)
  valid_files: tuple[str, ...] = base.option(
      (), "Held-out labelled rows with the run's columns, to measure the SavedModel on: file patterns.")

  def validate(self) -> None:
    base.require(bool(self.model), 'set --model: the run folder of a student or of a teacher')
    base.require(bool(self.output_dir), 'set --output_dir')
    base.require(self.model_name.replace('-', '').replace('_', '').isalnum(),
                 f'--model_name={self.model_name!r}: expected letters, digits, - and _')
