"""Every configuration survives JSON; every contradiction is refused with the flag's name."""

import dataclasses
import json
import re

from absl.testing import absltest
from absl.testing import parameterized

from b2d import config

_PAIR = config.Schema(text_columns=('q', 't'), label_column='grade', label_range=(1.0, 3.0), relevant_from=2.5)
_EXAMPLES = (
  config.Finetune(
    train_files=('a.tsv', 'b.tsv'),
    schema=_PAIR,
    teacher=config.Teacher(init_checkpoint='bert'),
    training=config.Training(learning_rate=1e-4),
  ),
  config.Label(teacher_dir='teacher', precision='float32'),
  config.Score(model='student', keep_columns=('price',)),
  config.Stack(soft_labels=('a', 'b'), combination='probabilities'),
  config.Distill(soft_labels=('a',), student=config.Student(ngram_orders=(1, 3), product=False)),
  config.Distill(soft_labels=('a',), valid_files=('b',), temperature='auto', schema=config.Schema(label_column='c')),
  config.Evaluate(models=('a=b',), schema=_PAIR),
  config.Export(model='student', output_dir='export', table_dtype='float16'),
  config.PairUp(max_pseudo_words=3),
)
_SINGLE = config.Schema(label_column='label')


def _wrong(config_class, message, **values):
  return config_class.__name__, config_class, message, values


class JsonTest(parameterized.TestCase):
  @parameterized.parameters(*_EXAMPLES)
  def test_round_trip(self, *example):
    example = example[0]
    again = type(example).from_dict(json.loads(example.to_json()))
    self.assertEqual(again, example)
    self.assertEqual(again.to_json(), example.to_json())
    hash(again)  # Lists have become tuples again.

  def test_unknown_settings(self):
    with self.assertRaisesRegex(ValueError, r"Training: unknown settings \['momentum'\]; "):
      config.Finetune.from_dict({'training': {'momentum': 1}})

  @parameterized.parameters(*_EXAMPLES)
  def test_flat_names_are_unique_and_explained(self, *example):
    names = []

    def walk(part):
      for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
          walk(value)
        else:
          names.append(field.name)
          self.assertRegex(field.metadata['help'], r'\w.*[.)]$', field.name)

    walk(example[0])
    self.assertLen(set(names), len(names))
    self.assertEqual(list(config.to_flat(example[0])), names)


class RowsTest(absltest.TestCase):
  def test_fields_and_relevant_target(self):
    self.assertEqual((_SINGLE.fields, _SINGLE.relevant_target), (('text',), 0.5))
    self.assertEqual((_PAIR.fields, _PAIR.relevant_target), (('query', 'title'), 0.75))
    for relevant_from, target in ((None, 0.25), (2.0, 0.25), (2.4, 0.75), (3.0, 0.75), (1.0, 0.0)):
      named = config.Schema(grades=('No:1', 'Partly:2', 'Yes:3'), relevant_from=relevant_from)
      self.assertEqual(named.relevant_target, target, relevant_from)

  def test_what_follows_from_names_and_ranges_is_filled_in(self):
    named = config.Schema(classes=('a', 'b', 'c'))
    self.assertEqual((named.num_classes, named.label_values), (3, {'a': 0, 'b': 1, 'c': 2}))
    graded = config.Schema(grades=('No: maybe:1', 'Yes:4'))
    self.assertEqual(graded.label_values, {'no: maybe': 1, 'yes': 4})
    self.assertEqual((graded.num_classes, graded.label_range, graded.relevant_from), (2, (1, 4), 2.5))
    self.assertEqual(graded.relevant_target, 0.5)
    self.assertEqual(config.Schema.from_dict(json.loads(graded.to_json())), graded)


class RememberedSchemaTest(parameterized.TestCase):
  @parameterized.parameters(
    ({}, _PAIR, dataclasses.replace(_PAIR, label_column='')),
    ({'label_column': 'l', 'text_columns': ('a', 'b')}, _PAIR, {'text_columns': ('a', 'b'), 'label_column': 'l'}),
    ({'relevant_from': 2.0}, _PAIR, {'relevant_from': 2.0, 'label_column': ''}),
    # The same range said again; another one, which has its own middle.
    ({'label_range': (1.0, 3.0)}, _PAIR, {'label_column': ''}),
    ({'label_range': (1.0, 4.0)}, _PAIR, {'label_range': (1.0, 4.0), 'relevant_from': 2.5, 'label_column': ''}),
    ({'label_range': (0.0, 1.0)}, _PAIR, {'label_range': (0.0, 1.0), 'relevant_from': 0.5, 'label_column': ''}),
  )
  def test_what_is_not_given_is_taken(self, given, known, expected):
    expected = expected if isinstance(expected, config.Schema) else dataclasses.replace(known, **expected)
    schema = config.Schema(**given)
    schema.check(known, 'folder')
    self.assertEqual(schema.completed(known, labelled=False), expected)

  def test_the_label_column_of_labelled_files(self):
    self.assertEqual(config.Schema().completed(_PAIR, labelled=True), _PAIR)

  def test_names_for_the_classes_of_a_model_that_knows_none(self):
    given, known = config.Schema(classes=('a', 'b', 'c')), config.Schema(num_classes=3)
    given.check(known, 'folder')
    self.assertEqual(given.completed(known, labelled=True).classes, ('a', 'b', 'c'))

  @parameterized.parameters(
    ({'text_columns': ('t',)}, _PAIR, '--text_columns=t: expected q,t, as runs/x has; leave --text_columns out'),
    ({'num_classes': 3}, _PAIR, '--num_classes=3: expected 2, as runs/x has'),
    ({'classes': ('a', 'b')}, config.Schema(classes=('b', 'a')), '--classes=a,b: expected b,a, as runs/x has'),
    ({'classes': ('a', 'b', 'c')}, _SINGLE, '--num_classes=3: expected 2, as runs/x has'),
  )
  def test_contradictions(self, given, known, message):
    with self.assertRaisesRegex(ValueError, re.escape(message)):
      config.Schema(**given).check(known, 'runs/x')


class SweepTest(absltest.TestCase):
  def test_runs(self):
    sweep = config.Sweep(
      soft_labels_sets=('one=a', 'both=a', 'both=b'),
      valid_files=('v',),
      schema=_SINGLE,
      output_dir='sweep',
      temperatures=(1.0, 2.5),
      seeds=(1, 7),
      training=config.Training(learning_rate=0.5),
    )
    runs = sweep.runs()
    # At temperature 1 both rules are the first.
    self.assertEqual(
      list(runs)[:6],
      [f'one-{rule}-seed{seed}' for rule in ('paper-T1', 'paper-T2.5', 'hinton-T2.5') for seed in (1, 7)],
    )
    self.assertLen(runs, 12)
    self.assertEqual(
      runs['both-hinton-T2.5-seed7'],
      config.Distill(
        soft_labels=('a', 'b'),
        valid_files=('v',),
        schema=_SINGLE,
        output_dir='sweep/both-hinton-T2.5-seed7',
        temperature=2.5,
        rule='hinton',
        training=config.Training(learning_rate=0.5, seed=7),
      ),
    )

  def test_one_set_without_a_name(self):
    sweep = config.Sweep(
      soft_labels=('a', 'b'), valid_files=('v',), schema=_SINGLE, seeds=(1,), rules=('hinton',), temperatures=(1.0,)
    )
    self.assertEqual(
      {name: run.soft_labels for name, run in sweep.runs().items()}, {'soft_labels-hinton-T1-seed1': ('a', 'b')}
    )


class ValidationTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (f'{i}_{name}', *rest)
    for i, (name, *rest) in enumerate(
      (
        _wrong(config.Schema, '--text_columns=a,b,c: expected one or', text_columns=('a', 'b', 'c')),
        _wrong(config.Schema, '--num_classes=1: expected at least 2', num_classes=1),
        _wrong(config.Schema, '--num_classes=2: expected 3 as --classes has', num_classes=2, classes=('a', 'b', 'c')),
        _wrong(config.Schema, '--classes=a: expected two names or more', classes=('a',)),
        _wrong(config.Schema, '--classes=a,A: expected different names', classes=('a', 'A')),
        _wrong(config.Schema, 'set --classes or --grades', classes=('a', 'b'), grades=('a:1', 'b:2')),
        _wrong(config.Schema, "--grades=a:1,b: expected name:number, found 'b'", grades=('a:1', 'b')),
        _wrong(config.Schema, '--grades=a:1,b:1: expected two different grades', grades=('a:1', 'b:1')),
        _wrong(config.Schema, '--max_bad_rows=-1: expected 0 or more', max_bad_rows=-1),
        _wrong(config.PairUp, '--output_dir=a[1]: expected a path without [', output_dir='a[1]'),
        _wrong(config.Schema, '--label_range=(3, 1): expected lowest,highest', label_range=(3, 1)),
        _wrong(config.Schema, '--label_range=(3,): expected lowest,highest', label_range=(3,)),
        _wrong(
          config.Schema,
          '--relevant_from=3: expected a grade below the highest, 3',
          label_range=(1.0, 3.0),
          relevant_from=3.0,
        ),
        _wrong(config.Schema, 'goes with --num_classes=2', label_range=(1, 3), num_classes=3),
        _wrong(config.Training, '--train_batch_size must not be negative', train_batch_size=-1),
        _wrong(config.Training, '--learning_rate must be positive', learning_rate=0.0),
        _wrong(config.Training, '--num_train_epochs must not be negative', num_train_epochs=-1.0),
        _wrong(config.Training, '--warmup_proportion must be in [0, 1)', warmup_proportion=1.0),
        _wrong(config.Training, '--shuffle_rows must be at least', train_batch_size=32, shuffle_rows=31),
        _wrong(config.Training, "--best_metric='f1': expected one of auc, ", best_metric='f1'),
        _wrong(config.Teacher, '--max_seq_length must be at least 8', max_seq_length=7),
        _wrong(config.Teacher, "--pooling='max': expected one of cls, mean", pooling='max'),
        _wrong(config.Finetune, 'set --train_files, which have labels, or --soft', schema=_SINGLE),
        _wrong(config.Finetune, 'set --label_column', train_files=('b',), teacher=config.Teacher(vocab_file='v')),
        _wrong(config.Finetune, 'set --init_checkpoint, or --vocab_file', train_files=('b',), schema=_SINGLE),
        _wrong(config.Score, 'set --model'),
        _wrong(config.Score, '--keep_columns=id: expected different', model='m', keep_columns=('id',)),
        _wrong(config.Label, 'set --teacher_dir, or --scores_columns'),
        _wrong(config.Label, 'and not both', teacher_dir='t', scores_columns=('p',)),
        _wrong(
          config.Label,
          '--scores_columns=p: expected one for each of --num_classes=3',
          scores_columns=('p',),
          schema=config.Schema(num_classes=3),
        ),
        _wrong(config.Label, '--phrases_per_row needs', scores_columns=('p',), phrases_per_row=1),
        _wrong(config.Label, 'works on single texts', teacher_dir='t', phrases_per_row=1, schema=_PAIR),
        _wrong(config.Label, '--frequent_ngrams works on', teacher_dir='t', frequent_ngrams=1, schema=_PAIR),
        _wrong(config.Label, '--frequent_ngrams must not', teacher_dir='t', frequent_ngrams=-1),
        _wrong(config.Label, '--rows_per_shard must', teacher_dir='t', rows_per_shard=0),
        _wrong(config.Label, '--label_batch_tokens must', teacher_dir='t', label_batch_tokens=0),
        _wrong(config.Label, '--num_workers must not', teacher_dir='t', num_workers=-1),
        _wrong(config.Stack, 'expected at least two folders', soft_labels=('a',)),
        _wrong(
          config.Stack,
          '--valid_soft_labels: expected 2 folders as --soft_labels has, found 1',
          soft_labels=('a', 'b'),
          valid_soft_labels=('c',),
        ),
        _wrong(config.Stack, 'needs --valid_soft_labels', soft_labels=('a', 'b'), combination='weights'),
        _wrong(config.Student, '--ngram_orders=(): expected orders from 1 to 8', ngram_orders=()),
        _wrong(config.Student, '--ngram_orders=(0,): expected orders', ngram_orders=(0,)),
        _wrong(config.Student, '--num_buckets must be at least 2', num_buckets=1),
        _wrong(config.Student, '--match_prefix=9: expected 0 to 8 bytes', match_prefix=9),
        _wrong(config.Student, '--embedding_dim=0: expected', embedding_dim=0),
        _wrong(config.Student, '--convolution_filters must not', convolution_filters=-1),
        _wrong(config.Student, '--convolution_width=0: expected 1 to 8', convolution_width=0),
        _wrong(config.Student, '--convolution_width=9: expected 1 to 8', convolution_width=9),
        _wrong(config.Student, '--soft_match weighs the matches', match=False, soft_match=True),
        _wrong(config.Student, '--embedding_dim=1: expected', embedding_dim=1, weighted_pooling=True),
        _wrong(config.Student, '--hidden_layers=(8, 0): expected positive', hidden_layers=(8, 0)),
        _wrong(config.Student, "--delimiters='、': expected ASCII characters", delimiters='、'),
        _wrong(config.Student, '--part_numbers goes with', tokenizer='unicode_script', part_numbers=True),
        _wrong(config.Student, 'needs --tokenizer_vocab', tokenizer='wordpiece'),
        _wrong(config.Student, "--tokenizer='bpe': expected one of whitespace, ", tokenizer='bpe'),
        _wrong(config.Distill, 'set --train_files, which have labels, or --soft'),
        _wrong(config.Distill, 'not both', soft_labels=('a',), train_files=('b',), schema=_SINGLE),
        _wrong(config.Distill, 'set --label_column', train_files=('b',)),
        _wrong(config.Distill, '--temperature=0.0: expected a positive', soft_labels=('a',), temperature=0.0),
        _wrong(
          config.Distill, '--temperature=cold: expected a positive number', soft_labels=('a',), temperature='cold'
        ),
        _wrong(config.Distill, '--temperature=auto needs', soft_labels=('a',), temperature='auto'),
        _wrong(
          config.Distill,
          '--convolution_filters work on single texts',
          soft_labels=('a',),
          schema=_PAIR,
          student=config.Student(convolution_filters=8),
        ),
        _wrong(
          config.Distill,
          '--calibration_files go with --num_classes=2',
          soft_labels=('a',),
          calibration_files=('b',),
          schema=config.Schema(num_classes=3, label_column='c'),
        ),
        _wrong(config.Distill, '--hard_label_share must be in [0, 1]', soft_labels=('a',), hard_label_share=1.5),
        _wrong(config.Distill, '--max_rows must not', soft_labels=('a',), max_rows=-1),
        _wrong(config.Distill, '--margin_weight must not', soft_labels=('a',), margin_weight=-0.1),
        _wrong(
          config.Distill,
          '--margin_weight needs',
          soft_labels=('a',),
          margin_weight=0.1,
          schema=config.Schema(text_columns=('t',)),
        ),
        _wrong(config.Distill, '--margin_weight needs', train_files=('a',), margin_weight=0.1, schema=_PAIR),
        _wrong(
          config.Distill,
          '--init_embeddings starts whole words',
          soft_labels=('a',),
          init_embeddings='t',
          student=config.Student(tokenizer='wordpiece', tokenizer_vocab='v'),
        ),
        _wrong(config.Evaluate, 'set --models=name=folder', schema=_SINGLE),
        _wrong(config.Export, 'set --model', output_dir='o'),
        _wrong(config.Export, 'set --output_dir', model='m'),
        _wrong(config.Export, "--model_name='a b': expected letters", model='m', output_dir='o', model_name='a b'),
        _wrong(config.Sweep, 'set --valid_files', soft_labels=('a',)),
        _wrong(config.Sweep, 'set --soft_labels, or --soft_labels_sets', valid_files=('b',), schema=_SINGLE),
        _wrong(
          config.Sweep,
          "--soft_labels_sets: expected name=folder, found 'a/b=c'",
          valid_files=('b',),
          schema=_SINGLE,
          soft_labels_sets=('a/b=c',),
        ),
        _wrong(
          config.Sweep,
          'set --seeds: expected at least one',
          valid_files=('b',),
          schema=_SINGLE,
          soft_labels=('a',),
          seeds=(),
        ),
        _wrong(
          config.Sweep,
          "--rule='best': expected one of",
          valid_files=('b',),
          schema=_SINGLE,
          soft_labels=('a',),
          rules=('best',),
        ),
        *(
          _wrong(config.Sweep, message, valid_files=('b',), schema=_SINGLE, soft_labels=('a',), over=(over,))
          for over, message in (
            ('batch_size=1,2', 'found no such setting; these vary: best_metric, '),
            ('seed=1,2', 'set --seeds for this one'),
            ('train_batch_size=one', 'invalid literal'),
            ('train_batch_size=-1', '--train_batch_size must not be negative'),
            ('product=maybe', "expected true or false, found 'maybe'"),
            ('match', "found 'none'"),
          )
        ),
        _wrong(config.Growth, 'set --soft_labels, and --valid_files', train_files=('a',), schema=_SINGLE),
        _wrong(
          config.Growth, '--sizes=8: expected two', soft_labels=('a',), valid_files=('b',), schema=_SINGLE, sizes=(8,)
        ),
        _wrong(config.PairUp, '--num_random=-1: expected at least 0', num_random=-1),
        _wrong(config.PairUp, '--max_pseudo_words=0: expected at least 1', max_pseudo_words=0),
        _wrong(config.PairUp, '--lower_rank=20: expected at least', lower_rank=20),
        _wrong(config.PairUp, 'are all 0', num_neighbors=0, num_lower=0, num_random=0, num_pseudo_queries=0),
      )
    )
  )
  def test_refused(self, config_class, message, values):
    with self.assertRaisesRegex(ValueError, re.escape(message)):
      config_class(**values)


class SettledTest(parameterized.TestCase):
  @parameterized.parameters((200, 16, 5), (1_500, 16, 5), (8_000, 16, 4), (10_000, 16, 3), (67_000, 32, 3))
  def test_teacher(self, num_rows, batch_size, epochs):
    run_config = config.Finetune(train_files=('t',), schema=_SINGLE, teacher=config.Teacher(vocab_file='v'))
    training = run_config.settled(num_rows).training
    self.assertEqual((training.train_batch_size, training.num_train_epochs), (batch_size, epochs))

  @parameterized.parameters(
    (3, 32, 10, 1 << 16), (5_000, 32, 10, 1 << 16), (100_000, 256, 6, 1 << 20), (10_000_000, 1024, 3, 1 << 20)
  )
  def test_student(self, num_rows, batch_size, epochs, num_buckets):
    settled = config.Distill(soft_labels=('s',)).settled(num_rows)
    training = settled.training
    self.assertEqual((training.train_batch_size, training.num_train_epochs), (batch_size, epochs))
    self.assertEqual(settled.student.num_buckets, num_buckets)

  def test_what_is_given_stays(self):
    given = config.Distill(
      soft_labels=('s',),
      student=config.Student(num_buckets=300),
      training=config.Training(train_batch_size=7, num_train_epochs=0.5),
    )
    self.assertEqual(given.settled(5_000), given)


if __name__ == '__main__':
  absltest.main()
