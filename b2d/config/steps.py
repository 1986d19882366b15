"""The configurations of the steps that train, label, measure and export."""

import dataclasses
from typing import ClassVar
from typing import Self

from b2d.config import base
from b2d.config import columns
from b2d.config import groups
from b2d.config import scaling_out


@dataclasses.dataclass(frozen=True)
class Learning(base.Config):
  """What `finetune` and `distill` learn from: hard labels or soft ones."""

  soft_labels: tuple[str, ...] = base.option(
    (), 'Folders that b2d.label, b2d.stack or an import wrote, to learn from. Empty: --train_files.', role='input'
  )
  train_files: tuple[str, ...] = base.option(
    (), 'Labelled rows, to learn from hard labels alone: file patterns.', role='input'
  )
  valid_files: tuple[str, ...] = base.option((), 'Held-out labelled rows: file patterns.', role='input')
  output_dir: str = base.option('', 'Run folder of the model.', role='free', required=True)
  temperature: float | str = base.option(1.0, 'Temperature T of the soft labels.')
  rule: str = base.option(
    'paper', "'paper': T softens the soft labels alone; 'hinton': both sides, loss times T².", groups.RULES
  )
  hard_label_share: float = base.option(0.0, 'Weight of the hard label in the loss where a soft-labelled row has one.')
  max_rows: int = base.option(0, 'Use only so many of the soft labels, spread evenly (0: all).')
  schema: columns.Schema = columns.Schema()

  def validate(self) -> None:
    base.require(
      bool(self.soft_labels) != bool(self.train_files),
      'set --train_files, which have labels, or --soft_labels to learn from, and not both',
    )
    base.require(
      bool(self.schema.label_column or self.soft_labels),
      'set --label_column: the rows of --train_files, --valid_files and --calibration_files need labels',
    )
    base.require(
      self.temperature == 'auto' or not isinstance(self.temperature, str) and self.temperature > 0,
      f'--temperature={self.temperature}: expected a positive number',
    )
    base.require(0 <= self.hard_label_share <= 1, '--hard_label_share must be in [0, 1]')
    base.require(self.max_rows >= 0, '--max_rows must not be negative')


@dataclasses.dataclass(frozen=True)
class Finetune(Learning):
  """`python -m b2d.finetune`: labelled rows, or soft labels of another teacher → teacher."""

  step: ClassVar[str] = 'finetune'
  teacher: groups.Teacher = groups.Teacher()
  precision: str = base.option(
    'auto',
    'Arithmetic of the matrix products in training; weights stay float32. auto: whichever is faster on this processor.',
    groups.PRECISIONS_OR_AUTO,
  )
  training: groups.Training = groups.Training(weight_decay=0.01)

  def validate(self) -> None:
    super().validate()
    base.require(self.temperature != 'auto', '--temperature=auto: expected a positive number; b2d.distill can search')
    base.require(
      bool(self.teacher.init_checkpoint or self.teacher.vocab_file),
      'set --init_checkpoint, or --vocab_file for a teacher from scratch',
    )

  def settled(self, num_rows: int) -> Self:
    """With what follows from the number of rows filled in, where it was not given."""
    training = self.training.settled(num_rows, many_rows=10_000, most_epochs=5, batch_sizes=(16, 32))
    return dataclasses.replace(self, training=training)


@dataclasses.dataclass(frozen=True)
class Label(scaling_out.Sharded):
  """`python -m b2d.label`: a teacher's logits for every row of any number of files."""

  step: ClassVar[str] = 'label'
  input_files: tuple[str, ...] = base.option((), 'Rows to label: file patterns.', role='input', required=True)
  teacher_dir: str = base.option(
    '', 'Run folder of the teacher, or of a student to be one: as a member of a stack.', role='input'
  )
  scores_columns: tuple[str, ...] = base.option(
    (),
    'Import instead of a teacher: columns that hold the scores made elsewhere, one for each class, or '
    'one for the positive class of two.',
  )
  scores_kind: str = base.option('probability', 'What --scores_columns hold.', groups.SCORES)
  output_dir: str = base.option('', 'Folder of the soft labels.', role='free', required=True)
  rows_per_shard: int = base.option(8192, 'Rows a shard: what a killed worker loses at most.')
  label_batch_tokens: int = base.option(4096, 'Word pieces a batch; rows are batched by length.')
  phrases_per_row: int = base.option(
    0, 'Phrases cut from every single text (2 to 12 words, seeded by the row) and labelled too: cheap transfer rows.'
  )
  frequent_ngrams: int = base.option(
    0,
    'Words, and pairs of adjacent words, that the single texts hold at least so often are labelled too, once '
    'each; 0: none. When 3 million different ones are counted, the rarest are forgotten.',
  )
  dry_run: bool = base.option(
    False,
    'Label nothing, write nothing: count the rows, time the teacher on some of them, and say how many shards and how '
    'many hours of a machine like this one they are.',
    role='free',
  )
  price_per_hour: float = base.option(0.0, 'What an hour of such a machine costs, for --dry_run.', role='free')

  def validate(self) -> None:
    super().validate()
    if self.verify:
      return
    base.require(
      bool(self.teacher_dir) != bool(self.scores_columns),
      'set --teacher_dir, or --scores_columns to import, and not both',
    )
    base.require(
      not self.scores_columns
      or len(self.scores_columns) == self.schema.num_classes
      or len(self.scores_columns) + 1 == self.schema.num_classes == 2,
      f'--scores_columns={",".join(self.scores_columns)}: expected one for each of '
      f'--num_classes={self.schema.num_classes}, or one for the positive class of two',
    )
    base.require(
      not (self.scaling.append and self.frequent_ngrams),
      '--append does not go with --frequent_ngrams, which are counted over all files',
    )
    for name in ('phrases_per_row', 'frequent_ngrams'):
      wanted = getattr(self, name)
      base.require(wanted >= 0, f'--{name} must not be negative')
      base.require(
        not (self.scores_columns and wanted), f'--{name} needs a teacher: a phrase has not the score of its row'
      )
      base.require(not wanted or len(self.schema.text_columns) == 1, f'--{name} works on single texts')
    base.require(self.rows_per_shard > 0, '--rows_per_shard must be positive')
    base.require(self.label_batch_tokens > 0, '--label_batch_tokens must be positive')
    base.require(
      not self.dry_run or bool(self.teacher_dir) and not self.frequent_ngrams,
      '--dry_run times a --teacher_dir, and cannot know how many --frequent_ngrams there are',
    )
    base.require(self.price_per_hour >= 0, '--price_per_hour must not be negative')


@dataclasses.dataclass(frozen=True)
class Stack(base.Config):
  """`python -m b2d.stack`: soft labels of several teachers over the same rows → one soft label a row."""

  step: ClassVar[str] = 'stack'
  soft_labels: tuple[str, ...] = base.option(
    (), 'Folders of soft labels, one a teacher. Texts and hard labels come from the first.', role='input', required=True
  )
  valid_soft_labels: tuple[str, ...] = base.option(
    (),
    'Folders of soft labels of a labelled split that no teacher was trained on, in the same order: to fit '
    'the weights, and to measure the stack against its members.',
    role='input',
  )
  output_dir: str = base.option('', 'Folder of the stacked soft labels.', role='free', required=True)
  combination: str = base.option(
    'logits',
    "Mean of the teachers' 'logits' or 'probabilities', or 'weights' fitted by a logistic regression.",
    groups.COMBINATIONS,
  )

  def validate(self) -> None:
    base.require(len(self.soft_labels) > 1, 'set --soft_labels: expected at least two folders, comma-separated')
    base.require(
      not self.valid_soft_labels or len(self.valid_soft_labels) == len(self.soft_labels),
      f'--valid_soft_labels: expected {len(self.soft_labels)} folders as --soft_labels has, found '
      f'{len(self.valid_soft_labels)}',
    )
    base.require(
      self.combination != 'weights' or bool(self.valid_soft_labels), '--combination=weights needs --valid_soft_labels'
    )


@dataclasses.dataclass(frozen=True)
class Distill(Learning):
  """`python -m b2d.distill`: soft labels (or hard ones: the baseline) → student."""

  step: ClassVar[str] = 'distill'
  calibration_files: tuple[str, ...] = base.option(
    (),
    'Labelled rows to calibrate the probability (of label 1, or of a grade from --relevant_from up) on: file '
    'patterns. Empty: --valid_files, which choose the '
    'weights too; the calibration error is then cross-fitted.',
    role='input',
  )
  temperature: float | str = base.option(
    1.0,
    "Temperature T of the soft labels; 'auto': the best of 1, 2, 4 and 8 by --best_metric on --valid_files, each "
    'tried for an epoch on at most 200,000 of them.',
  )
  margin_weight: float = base.option(
    0.0, "Weight of the margin loss: for rows of one query the student's differences follow the teacher's."
  )
  init_embeddings: str = base.option(
    '',
    'Sentence encoder, given as --init_checkpoint of b2d.finetune, whose vectors of single words start the rows '
    'of the unigrams.',
    role='input',
  )
  student: groups.Student = groups.Student()
  optimizer: str = base.option('lazy_adam', 'Optimiser of the student.', groups.OPTIMIZERS)
  training: groups.Training = groups.Training(learning_rate=2e-3, warmup_proportion=0.02)

  def validate(self) -> None:
    super().validate()
    base.require(
      not self.calibration_files or self.schema.num_classes == 2, '--calibration_files go with --num_classes=2'
    )
    if self.temperature == 'auto':
      base.require(
        bool(self.soft_labels and self.valid_files),
        '--temperature=auto needs --soft_labels, and --valid_files to choose by',
      )
    base.require(
      not self.student.convolution_filters or len(self.schema.text_columns) == 1,
      '--convolution_filters work on single texts',
    )
    base.require(not self.training.weight_decay, '--weight_decay must be 0: the student has none')
    base.require(self.margin_weight >= 0, '--margin_weight must not be negative')
    base.require(
      not self.margin_weight
      or bool(self.soft_labels)
      and self.schema.num_classes == 2
      and (len(self.schema.text_columns) == 2 or not self.schema.is_given('text_columns')),
      '--margin_weight needs --soft_labels of pairs and two classes',
    )
    base.require(
      not self.init_embeddings or self.student.tokenizer != 'wordpiece',
      '--init_embeddings starts whole words; take another --tokenizer than wordpiece',
    )

  def settled(self, num_rows: int) -> Self:
    """With what follows from the number of rows filled in, where it was not given."""
    training = self.training.settled(num_rows, many_rows=200_000, most_epochs=10, batch_sizes=(32, 1024))
    return dataclasses.replace(self, training=training, student=self.student.settled(num_rows))


@dataclasses.dataclass(frozen=True)
class Evaluate(base.Config):
  """`python -m b2d.evaluate`: several models side by side on the same labelled rows."""

  step: ClassVar[str] = 'evaluate'
  models: tuple[str, ...] = base.option(
    (), 'name=folder of teacher or student runs, or exported SavedModels.', role='named_input', required=True
  )
  reference: str = base.option('', 'Name of the teacher that agreement and recovered ratio refer to.')
  files: tuple[str, ...] = base.option((), 'Labelled rows: file patterns.', role='input', required=True)
  output_dir: str = base.option('', 'Folder of metrics.json and the table.', role='free', required=True)
  schema: columns.Schema = columns.Schema()
  bootstrap: int = base.option(0, 'Bootstrap repeats over queries (or rows) for the intervals; 0: none.')
  report: bool = base.option(
    False,
    'Also write report.html, one file that needs no network: curves, slices, thresholds, and the rows and queries on '
    'which student and teacher (--reference) part most. The texts of all rows are then held in memory.',
  )
  train_files: tuple[str, ...] = base.option(
    (),
    'Rows that the student was trained on, of the same --text_columns: the report then tells rows apart that have '
    'words which none of these has. File patterns.',
    role='input',
  )
  slice_columns: tuple[str, ...] = base.option(
    (), 'Columns of the files, such as a category or a language, by whose values the report slices the rows, too.'
  )
  predictions: bool = base.option(
    False, "Also write predictions.parquet: every row's id, texts, label and each model's probability and logit."
  )

  def validate(self) -> None:
    base.require(bool(self.models), 'set --models=name=folder,...')
    base.require(
      self.report or not (self.train_files or self.slice_columns),
      '--train_files and --slice_columns make slices of --report; set that too',
    )


@dataclasses.dataclass(frozen=True)
class Export(base.Config):
  """`python -m export`: a student or a teacher → a SavedModel and the server's configuration."""

  step: ClassVar[str] = 'export'
  model: str = base.option('', 'Run folder of the student or of the teacher.', role='input', required=True)
  output_dir: str = base.option(
    '', 'Folder of the versions; a new one gets the next number.', role='free', required=True
  )
  model_name: str = base.option('student', 'Name under which the server shall serve it.')
  table_dtype: str = base.option(
    'bfloat16',
    "Type of the student's table in the SavedModel. bfloat16 is half as large as the trained float32; "
    'its logits are typically off by a few thousandths.',
    groups.TABLE_DTYPES,
  )
  valid_files: tuple[str, ...] = base.option(
    (), "Held-out labelled rows with the run's columns, to measure the SavedModel on: file patterns.", role='input'
  )

  def validate(self) -> None:
    base.require(bool(self.model), 'set --model: the run folder of a student or of a teacher')
    base.require(bool(self.output_dir), 'set --output_dir')
    base.require(
      self.model_name.replace('-', '').replace('_', '').isalnum(),
      f'--model_name={self.model_name!r}: expected letters, digits, - and _',
    )
