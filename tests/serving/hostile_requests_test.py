"""No request ends the server: an error status or finite scores, whatever the bytes.

A child process plays the server: one session over one SavedModel that has a signature for every tokenizer and
every normalization of the student, and for pairs, convolved texts and five classes. It tells each case before it
tries it, so that a crash has a name.
"""

import itertools
import multiprocessing
import os
import re

from absl.testing import absltest
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from b2d import config
from b2d.models import student
from export import modules
from export import signatures
from export import warmup
from tests import tiny_bert

_PAIR = ('query', 'title')
_BY_EXAMPLE = ('classify_', 'regress_')
_RANDOM_STRINGS = 100_000
_BATCH = 1000
_TEXTS = {
  'empty strings': [b'', b' ', b'\t\n'],
  'invalid UTF-8': [b'\xff\xfe', b'\xc3(', b'drill \xe2\x82', b'\xed\xa0\x80', b'\xf4\x90\x80\x80', b'\x80' * 100],
  'NULs': [b'\x00', b'a\x00b', b'\x00' * 1000, b'\x00 drill'],
  'marks and controls': [b'\x02', b'\x02 \x02', bytes(range(32)), b'\x7f\xc2\x85\xe2\x80\xa8'],
  'Unicode': [
    'ＴＶ ß İ ﬁ e\u0301'.encode(),
    '電動ドリル'.encode(),
    '\u0301'.encode() * 1000,
    '👨‍👩‍👧'.encode() * 50,
    '\ufdfa'.encode() * 1000,
    '\u202e'.encode(),
  ],
  'long': [b'drill \xff ' * 60_000 + '界'.encode() * (1 << 17), b'x' * (1 << 20)],  # 1 MB each.
}
_REFUSED = {
  'scalar': (b'a', b'b'),
  'rank 2': ([[b'a', b'b']], [[b'a', b'b']]),
  'unequal lengths': ([b'a', b'b'], [b'a', b'b', b'c']),
  'one for many': ([b'a'], [b'a', b'b', b'c']),
}
_REFUSED_BY_RANK = {
  'scalar': (b'a', b'b'),
  'scalar query': (b'a', [b'b']),
  'scalar title': ([b'a'], b'b'),
  'rank 2': ([[b'a']], [[b'a'], [b'b']]),
  'no query': ([], [b'a', b'b', b'c']),
  'two queries': ([b'a', b'b'], [b'a', b'b']),
}


def _save(folder: str) -> list[str]:
  """A SavedModel with a signature for every kind of student; returns their names."""
  vocab = tiny_bert.write_vocab(folder)
  module, made = tf.Module(), {}

  def add(name, fields, settings, num_classes=2, by_example=False):
    scorer = modules.StudentModule(student.StudentModel(settings, fields, num_classes), 'bfloat16')
    setattr(module, name, scorer)
    exported = signatures.make(scorer)
    made[name] = exported['serving_default']
    if by_example:
      made.update({f'{kind}_{name}': exported[kind] for kind in ('classify', 'regress') if kind in exported})
    if fields == _PAIR:
      made[f'rank_{name}'] = exported['rank']

  tiny = {'num_buckets': 64, 'embedding_dim': 4, 'hidden_layers': (4,), 'tokenizer_vocab': vocab}
  # Without normalization, each tokenizer sees the bytes as they came.
  kinds = [(tokenizer, 'none') for tokenizer in config.groups.TOKENIZERS]
  kinds += [('whitespace', form) for form in config.groups.NORMALIZATIONS[1:]]
  for tokenizer, form in kinds:
    settings = config.Student(tokenizer=tokenizer, normalization=form, strip_suffix='s', **tiny)
    add(f'{tokenizer}_{form}', _PAIR, settings)
  add('no_matches', _PAIR, config.Student(match=False, product=False, ngram_orders=(1,), **tiny))
  add('beginnings', _PAIR, config.Student(match_prefix=3, **tiny))
  add('soft_match', _PAIR, config.Student(soft_match=True, **tiny))
  add('one_text', ('text',), config.Student(**tiny))
  add('one_text_convolved', ('text',), config.Student(convolution_filters=4, **tiny), by_example=True)
  add('one_text_five_classes', ('text',), config.Student(**tiny), num_classes=5, by_example=True)
  add('pair', _PAIR, config.Student(**tiny), by_example=True)
  tf.saved_model.save(module, os.path.join(folder, 'model'), signatures=made)
  return list(made)


def _resident_mb() -> float:
  with open('/proc/self/status', encoding='utf-8') as file:
    return int(re.search(r'VmRSS:\s+(\d+)', file.read())[1]) / 1024


class _Child:
  """The process that runs the requests."""

  def __init__(self, connection, folder: str):
    self._connection = connection
    session_config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=-1)
    session_config.experimental.executor_type = 'SINGLE_THREADED_EXECUTOR'
    self._session = tf.compat.v1.Session(graph=tf.Graph(), config=session_config)
    with self._session.graph.as_default():
      loaded = tf.compat.v1.saved_model.loader.load(self._session, ['serve'], folder)
    self._signatures = loaded.signature_def
    self._callables = {}

  def _call(self, name: str, inputs):
    if name not in self._callables:
      signature = self._signatures[name]
      feed = [signature.inputs[key].name for key in sorted(signature.inputs)]
      fetch = [info.name for key, info in sorted(signature.outputs.items()) if key != 'classes']
      # Not Session.run: in Python it checks shapes, which the C++ server does not.
      make = self._session._make_callable_from_options
      self._callables[name] = make(config_pb2.CallableOptions(feed=feed, fetch=fetch))
    return self._callables[name](*(np.array(value, dtype=object) for value in inputs))

  def attempt(self, name: str, case: str, *inputs) -> None:
    self._connection.send((name, case, 'crashed'))
    try:
      outputs = self._call(name, inputs)
      sizes = {len(output) for output in outputs}
      finite = all(np.isfinite(output).all() for output in outputs)
      outcome = 'finite' if finite and sizes == {len(inputs[-1])} else f'{outputs}'[:200]
    except UnicodeDecodeError:  # An error status that quotes the bytes; Python cannot read it.
      outcome = 'InvalidArgumentError'
    except tf.errors.OpError as error:
      outcome = type(error).__name__
    self._connection.send((name, case, outcome))


def _random_strings(seed: int, count: int) -> list[bytes]:
  """Other strings for each seed."""
  rng = np.random.default_rng(seed)
  lengths = rng.integers(0, 40, count)
  cuts = np.concatenate([[0], np.cumsum(lengths)])
  content = rng.bytes(int(cuts[-1]))
  return [content[start:end] for start, end in zip(cuts, cuts[1:])]


def _run(connection, folder, names) -> None:
  """All cases, in the child."""
  child = _Child(connection, folder)
  seeds = itertools.count()
  ranking = [name for name in names if name.startswith('rank_')]
  for name in ranking:
    for case, inputs in _REFUSED_BY_RANK.items():
      child.attempt(name, case, *inputs)
    child.attempt(name, 'empty batch', [b'drill'], [])
    for case, texts in _TEXTS.items():
      child.attempt(name, case, texts[-1:] if case != 'long' else [b''], texts)
    for number in range(5):
      child.attempt(name, f'random bytes {number}', *(_random_strings(next(seeds), n) for n in (1, _BATCH)))
    child.attempt(name, 'long queries', *[_TEXTS['long'][:1]] * 2)
  by_text = [name for name in names if not name.startswith((*_BY_EXAMPLE, 'rank_'))]
  for name in by_text:
    count = 1 if name.startswith('one_text') else 2
    for case, inputs in _REFUSED.items():
      if count == 2 or 'lengths' not in case and 'many' not in case:
        child.attempt(name, case, *inputs[:count])
    child.attempt(name, 'empty batch', *[[]] * count)
    for case, texts in _TEXTS.items():
      child.attempt(name, case, *[texts, texts[::-1]][:count])
    for start in range(0, _RANDOM_STRINGS // len(by_text), _BATCH):
      texts = [_random_strings(next(seeds), _BATCH) for _ in range(count)]
      child.attempt(name, f'random bytes {start}', *texts)
  for name in set(names) - {*by_text, *ranking}:
    child.attempt(name, 'scalar', b'')
    child.attempt(name, 'rank 2', [[b'']])
    child.attempt(name, 'no tf.Example', [b'no example'])
    child.attempt(name, 'bytes', _random_strings(0, 8))
    child.attempt(name, 'missing feature', [b''])
    child.attempt(name, 'empty batch', [])
    fields = ('text',) if 'one_text' in name else _PAIR
    texts = zip(*(_random_strings(seed, 99) for seed, _ in enumerate(fields, 1)))
    child.attempt(name, 'hostile texts', [_example(dict(zip(fields, row))) for row in texts])
  connection.send(('', 'memory', _memory_growth_mb(child)))


def _memory_growth_mb(child: _Child) -> float:
  """Growth over 20 rounds of long texts, after the allocator has seen a few."""

  def rounds(number):
    for _ in range(number):
      child.attempt('whitespace_lower', 'again', _TEXTS['long'], _TEXTS['long'])
      child.attempt('whitespace_lower', 'refused again', [b'a'], [b'b', b'c'])
    return _resident_mb()

  return -rounds(5) + rounds(20)


def _example(texts: dict[str, bytes]) -> bytes:
  features = {field: np.array([text], dtype=object) for field, text in texts.items()}
  return next(warmup.examples(features)).SerializeToString()


class HostileRequestsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = absltest.TEST_TMPDIR.value
    os.makedirs(folder, exist_ok=True)
    cls.names = _save(folder)
    context = multiprocessing.get_context('spawn')
    connection, childs_end = context.Pipe()
    process = context.Process(target=_run, args=(childs_end, os.path.join(folder, 'model'), cls.names))
    process.start()
    childs_end.close()
    cls.outcomes = {}
    try:
      while True:
        name, case, outcome = connection.recv()
        cls.outcomes[name, case] = outcome
    except EOFError:
      process.join()

  def _check(self, expected, cases):
    found = {key: outcome for key, outcome in self.outcomes.items() if key[1] in cases}
    self.assertNotEmpty(found)
    self.assertEmpty({key: outcome for key, outcome in found.items() if outcome != expected})

  def test_lives_to_the_end(self):
    self.assertIn(('', 'memory'), self.outcomes)

  def test_wrong_ranks_and_unequal_lengths_are_refused(self):
    self._check('InvalidArgumentError', [*_REFUSED, *_REFUSED_BY_RANK, 'refused again'])

  def test_long_queries_are_refused_by_rank_where_it_compares_them(self):
    refused = {
      name
      for (name, case), outcome in self.outcomes.items()
      if outcome == 'InvalidArgumentError' and case == 'long queries'
    }
    self.assertContainsSubset({'rank_whitespace_lower', 'rank_characters_none'}, refused)
    self.assertEqual(self.outcomes['rank_no_matches', 'long queries'], 'finite')

  def test_an_empty_batch_has_no_scores(self):
    self._check('finite', ['empty batch'])

  def test_any_bytes_get_finite_scores(self):
    self._check('finite', [*_TEXTS, 'hostile texts', 'again'])
    random = [case for _, case in self.outcomes if case.startswith('random bytes')]
    self._check('finite', random)
    self.assertGreaterEqual(len(random) * _BATCH, _RANDOM_STRINGS)

  def test_what_is_no_example_is_refused(self):
    self._check('InvalidArgumentError', ['no tf.Example', 'bytes', 'missing feature'])

  def test_memory_stays_flat(self):
    self.assertLess(self.outcomes['', 'memory'], 50)


if __name__ == '__main__':
  absltest.main()
