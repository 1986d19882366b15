"""The settings that say how the columns of a file become texts and labels, and what of them a step takes over."""

import dataclasses
from typing import Any
from typing import ClassVar

from b2d.config import base

TSV_QUOTINGS = ('check', 'none', 'csv')
NULL_TEXTS = ('error', 'empty')
# What a schema takes over from the folder of a model or of soft labels, where it is not given.
_REMEMBERED = ('text_columns', 'label_column', 'num_classes', 'classes', 'label_range', 'grades', 'relevant_from')


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
