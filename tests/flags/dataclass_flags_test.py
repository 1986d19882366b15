"""Flags follow the configurations: defaults, types, one line for a user's slip."""

import dataclasses
import re

from absl import app
from absl import flags
from absl.testing import absltest
from absl.testing import parameterized

from b2d import config
from flags import dataclass_flags


@dataclasses.dataclass(frozen=True)
class _Inner(config.Config):
  width: int = config.option(3, 'Width.')
  rates: tuple[float, ...] = config.option((0.5,), 'Rates.')


@dataclasses.dataclass(frozen=True)
class _Outer(config.Config):
  names: tuple[str, ...] = config.option((), 'Names.')
  mode: str = config.option('a', 'Mode.', ('a', 'b'))
  fast: bool = config.option(False, 'Fast.')
  share: float = config.option(0.25, 'Share.')
  heat: float | str = config.option(1.0, "A number or 'auto'.")
  inner: _Inner = _Inner(width=7)

  def validate(self):
    if self.share > 1:
      raise ValueError('--share must be at most 1')


def _parse(*arguments):
  parse = dataclass_flags.Parser(_Outer)
  parse.flag_values(['binary', *arguments])
  return parse()


class DataclassFlagsTest(parameterized.TestCase):
  def test_defaults_are_the_configurations(self):
    self.assertEqual(_parse(), _Outer())  # With the outer one's default for the inner one.

  def test_schema(self):
    parse = dataclass_flags.Parser(config.Finetune)
    names = self.create_tempfile('names.txt', '\ufeffgood\n\nvery, very bad\n').full_path  # With Windows' mark.
    given = ['--train_files=t', '--vocab_file=v', '--label_column=l']
    parse.flag_values(['binary', *given, f'--classes=@{names}'])
    self.assertEqual(parse().schema.classes, ('good', 'very, very bad'))
    self.assertEqual((parse().schema.num_classes, parse().schema.relevant_from), (2, 0.5))
    parse.flag_values(['binary', *given, '--classes=a,b,c'])
    self.assertEqual(parse().schema.num_classes, 3)
    parse.flag_values(['binary', *given, '--classes=', '--grades=a:0,b:3'])
    self.assertEqual(parse().schema.relevant_from, 1.5)
    parse.flag_values(['binary', '--grades=', '--classes=@none.txt'])
    with self.assertRaisesRegex(app.UsageError, '--classes=@none.txt: expected a file of names'):
      parse()

  def test_every_type(self):
    self.assertEqual(
      _parse('--names=x, y', '--mode=b', '--fast', '--share=1', '--width=9', '--rates=1,2.5'),
      _Outer(names=('x', 'y'), mode='b', fast=True, share=1.0, inner=_Inner(9, (1.0, 2.5))),
    )
    self.assertEqual(_parse('--nofast', '--rates=').inner.rates, ())
    self.assertEqual([_parse(f'--heat={heat}').heat for heat in ('2', '0.5', 'auto')], [2.0, 0.5, 'auto'])

  def test_flags_of_one_definition_are_not_anothers(self):
    first, second = dataclass_flags.Parser(_Outer), dataclass_flags.Parser(_Outer)
    first.flag_values(['binary', '--width=1'])
    second.flag_values(['binary', '--width=2'])
    self.assertEqual((first().inner.width, second().inner.width), (1, 2))

  @parameterized.parameters('--mode=c', '--width=2.5', '--share=much', '--wide=1', '--fast=maybe')
  def test_wrong_values_are_refused_with_the_flags_name(self, argument):
    with self.assertRaisesRegex(flags.Error, argument[2:6]):
      _parse(argument)

  @parameterized.parameters(
    ('--share=2', '^--share must be at most 1$'),
    ('--rates=1,fast', '^--rates=1,fast: expected floats, comma-separated$'),
  )
  def test_slips_are_usage_errors(self, argument, message):
    with self.assertRaisesRegex(app.UsageError, message):
      _parse(argument)

  def test_help_groups_the_flags(self):
    found = dataclass_flags.Parser(config.Distill).help()
    titles = re.findall(r'^(\w+):$', found, re.M)
    self.assertEqual(titles, ['required', 'data', 'distill', 'student', 'training'])
    self.assertIn('--[no]match\n', found)
    self.assertIn('--rule=paper|hinton\n', found)
    self.assertRegex(found, r'--embedding_dim\n .*\(default: 32\)')
    flags_shown = re.findall(r'^  --(?:\[no\])?(\w+)', found, re.M)
    self.assertCountEqual(flags_shown, dataclass_flags.Parser(config.Distill).flag_values)


class StepsTest(parameterized.TestCase):
  @parameterized.parameters(
    (config.Distill, ['--soft_labels=a'], {'soft_labels': ('a',)}),
    (
      config.Evaluate,
      ['--models=a=b', '--label_column=c'],
      {'models': ('a=b',), 'schema': config.Schema(label_column='c')},
    ),
    (config.Export, ['--model=a', '--output_dir=b'], {'model': 'a', 'output_dir': 'b'}),
    (
      config.Finetune,
      ['--train_files=c', '--vocab_file=a', '--label_column=b'],
      {'train_files': ('c',), 'teacher': config.Teacher(vocab_file='a'), 'schema': config.Schema(label_column='b')},
    ),
    (config.Label, ['--teacher_dir=a'], {'teacher_dir': 'a'}),
    (config.PairUp, [], {}),
    (config.Recipe, ['--name=a', '--data_dir=b', '--output_dir=c'], {'name': 'a', 'data_dir': 'b', 'output_dir': 'c'}),
    (config.Stack, ['--soft_labels=a,b'], {'soft_labels': ('a', 'b')}),
    (
      config.Sweep,
      ['--soft_labels=a', '--valid_files=b', '--label_column=c', '--seeds=4'],
      {'soft_labels': ('a',), 'valid_files': ('b',), 'schema': config.Schema(label_column='c'), 'seeds': (4,)},
    ),
  )
  def test_flags_of_a_step(self, config_class, needed, made_from):
    parse = dataclass_flags.Parser(config_class)
    self.assertCountEqual(parse.flag_values, config.to_flat(config_class(**made_from)))
    parse.flag_values(['binary', *needed])
    self.assertEqual(parse(), config_class(**made_from))


if __name__ == '__main__':
  absltest.main()
