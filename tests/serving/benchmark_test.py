"""Tests of serving.benchmark on a tiny SavedModel; rivals need the extra bench."""

import gzip
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np
import tensorflow as tf

from serving.benchmark import harness
from serving.benchmark import picture
from serving.benchmark import plot
from serving.benchmark import report
from serving.benchmark import timing

_ROOT = pathlib.Path(__file__).parents[2]
_TEXTS = {'query': ['red shoe', 'oak floor', 'lamp'], 'title': ['a red shoe', 'oak "floor" tile', 'desk lamp']}
_HAS_RIVALS = bool(importlib.util.find_spec('onnxruntime'))


def _result(name, tokens, median_us):
  cell = {'workload': '1', 'rows': 1, 'threads': 1, 'median_us': median_us, 'p99_us': 2 * median_us}
  return {
    'name': name,
    'runtime': 'C++',
    'tokens': tokens,
    'cells': [cell],
    'load_secs': 0.5,
    'first_call_secs': 0.25,
    'resident_mb': 300,
    'disk_mb': 20,
    'others_cores': 0.0,
  }


class _Overlap(tf.Module):
  """A stand-in for a student: core string ops, a hash of each field, two outputs."""

  @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name=name) for name in _TEXTS])
  def __call__(self, query, title):
    ids = [tf.strings.to_hash_bucket_fast(text, 1000) for text in (query, title)]
    logit = tf.cast(ids[0] - ids[1], tf.float32) / 1000
    return {'logit': logit, 'probability': tf.sigmoid(logit)}

  @tf.function(
    input_signature=[tf.TensorSpec([1], tf.string, name='query'), tf.TensorSpec([None], tf.string, name='title')]
  )
  def rank(self, query, title):
    return self(tf.broadcast_to(tf.ensure_shape(query, [1]), tf.shape(title)), title)


class BenchmarkTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
    cls.texts = str(cls.folder / 'texts.tsv.gz')
    lines = ['\t'.join(row) for row in [tuple(_TEXTS), *zip(*_TEXTS.values())]]
    with gzip.open(cls.texts, 'wt', encoding='utf-8') as file:
      file.write('\n'.join(lines) + '\n')
    cls.plain_texts = str(cls.folder / 'texts.tsv')
    pathlib.Path(cls.plain_texts).write_text('\n'.join(lines) + '\n')
    cls.model = str(cls.folder / 'model')
    module = _Overlap()
    cls.first_logit = module(*(texts[:1] for texts in _TEXTS.values()))['logit'].numpy()[0]
    tf.saved_model.save(module, cls.model, signatures={'serving_default': module.__call__, 'rank': module.rank})

  def test_read_texts_maps_columns_and_keeps_quotes(self):
    self.assertEqual(timing.read_texts(self.texts), _TEXTS)
    swapped = timing.read_texts(self.texts, ['title', 'query'])
    self.assertEqual(swapped, {'query': _TEXTS['title'], 'title': _TEXTS['query']})
    drawn = timing.read_texts(self.texts, ['title'], max_rows=2)
    self.assertContainsSubset(drawn['text'], _TEXTS['title'])
    self.assertLen(drawn['text'], 2)

  @parameterized.parameters(
    ('query\ttitle\nonly\n', None, r'tsv:2: expected 2 columns, found 1'),
    ('query\ttitle\n', None, 'found 0'),
    ('a\tb\tc\n1\t2\t3\n', None, 'text_columns'),
    ('a\tb\n1\t2\n', ['missing'], 'text_columns'),
  )
  def test_read_texts_says_what_is_wrong(self, content, names, message):
    path = self.create_tempfile('bad.tsv', content).full_path
    with self.assertRaisesRegex(ValueError, message):
      timing.read_texts(path, names)

  def test_requests_take_other_rows_each_call(self):
    stream = timing.requests(_TEXTS, '2')
    self.assertEqual([next(stream)['query'] for _ in range(2)], [['red shoe', 'oak floor'], ['lamp', 'red shoe']])
    ranking = next(timing.requests(_TEXTS, '1x4'))
    self.assertEqual(ranking['query'], ['red shoe'] * 4)
    self.assertEqual(ranking['title'], [*_TEXTS['title'], _TEXTS['title'][0]])

  def test_profile_measures_each_workload_and_leaves_out_slow_ones(self):
    sizes = set()
    found = timing.profile(
      lambda: lambda request: sizes.add(len(request['title'])),
      _TEXTS,
      ['3', '1', '1x2'],
      [1, 2],
      seconds=0.01,
      max_call_secs=10,
    )
    self.assertEqual(
      [(cell['workload'], cell['threads']) for cell in found['cells']],
      [(name, threads) for threads in (1, 2) for name in ('1', '1x2', '3')],
    )
    self.assertEqual(sizes, {1, 2, 3})
    for cell in found['cells']:
      self.assertLessEqual(cell['min_us'], cell['median_us'])
      self.assertLessEqual(cell['median_us'], cell['p99_us'])
    slow = timing.profile(
      lambda: lambda request: sum(range(20_000)), _TEXTS, ['1', '1000000'], [1], seconds=0.01, max_call_secs=1
    )
    self.assertLen(slow['cells'], 1)

  def test_a_failing_call_is_not_hidden_by_its_thread(self):
    with self.assertRaises(ZeroDivisionError):
      timing.measure(lambda request: 1 / 0, _TEXTS, '1', 2, 0.01)

  def test_table_divides_by_the_references(self):
    results = [
      _result('student', None, 30),
      _result('BERT-Base', 32, 45000),
      _result('BERT-Base', 64, 90000),
      _result('TinyBERT-4L-312', 32, 2700),
    ]
    row = report.table(results).splitlines()[2].split(' | ')
    self.assertEqual(row[:7], ['| student', 'C++', 'all', '30', '60', '–', '1,500'])
    self.assertEqual(row[7], '90')
    self.assertEqual(row[8:14], ['–'] * 6)
    self.assertIsNone(report.ratio(results[:1], results[0], 'BERT-Base'))

  def test_busy_machine_is_said(self):
    results = [_result('student', None, 30)]
    self.assertEmpty(report.busy(results))
    results[0]['others_cores'] = 0.9
    self.assertIn('quote none of this', report.busy(results))

  def test_plot_draws_one_row_of_each_model(self):
    results = [_result('student', None, 30), _result('BERT-Base', 64, 90000), _result('BERT-Base', 32, 45000)]
    timings = report.timings(results)
    found = plot.read_table(f'Some text.\n\n{report.table(results)}\nAnd more.\n', 'report.md')
    self.assertEqual(found, timings)
    self.assertEqual([timing.median_us for timing in picture.one_of_each(timings).values()], [30, 45000])
    path = str(self.folder / 'accuracy.svg')
    picture.draw(timings, plot.qualities(['student=0.7=ours', 'student=0.6']), path)
    drawn = pathlib.Path(path).read_text(encoding='utf-8')
    for text in ('ours', '0.600, 30 µs', 'BERT-Base, 45,000 µs'):
      self.assertIn(f'<!-- {text} -->', drawn)
    with self.assertRaisesRegex(ValueError, 'expected the AUC of some of student, BERT-Base, found other'):
      picture.draw(timings, plot.qualities(['other=0.7']), path)
    with self.assertRaisesRegex(ValueError, 'expected name=AUC or name=AUC=label, found student'):
      plot.qualities(['student'])
    with self.assertRaisesRegex(ValueError, 'empty.md: expected a table'):
      plot.read_table('nothing', 'empty.md')

  @absltest.skipUnless(shutil.which('g++'), 'no g++ to build the harness with')
  def test_harness_runs_a_saved_model(self):
    binary = harness.build()  # half a minute once, then kept in the cache
    found = harness.run(
      binary, self.model, self.plain_texts, {}, workloads='1,2,1x3,rank3', threads='1,2', seconds=0.01
    )
    self.assertAlmostEqual(found['first_outputs']['logit'], self.first_logit, places=6)
    self.assertEqual(
      [(cell['workload'], cell['threads']) for cell in found['cells']],
      [(name, threads) for threads in (1, 2) for name in ('1', '2', '1x3', 'rank3')],
    )
    self.assertEqual(['spin_p99_us' in cell for cell in found['cells']], [True] + [False] * 7)
    self.assertGreaterEqual(found['cells'][0]['spin_p99_us'], found['cells'][0]['median_us'] * 0.5)
    self.assertGreaterEqual(found['peak_resident_mb'], found['resident_mb'])
    with self.assertRaisesRegex(ValueError, 'no signature absent'):
      harness.run(binary, self.model, self.plain_texts, {}, signature='absent')
    with self.assertRaisesRegex(ValueError, 'No such file|Could not find'):
      harness.run_json([binary, '--model=/absent', f'--texts={self.plain_texts}'], {})

  def test_ops_prints_nodes_and_time(self):
    command = [sys.executable, '-m', 'serving.benchmark.ops', f'--texts={self.texts}', '--calls=10']
    done = subprocess.run([*command, f'--model={self.model}'], cwd=_ROOT, capture_output=True, text=True, check=True)
    nodes = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()[1:]}
    self.assertEqual(nodes['StringToHashBucketFast'], 2)
    self.assertEqual(nodes.pop('all'), sum(nodes.values()))


@absltest.skipUnless(_HAS_RIVALS, 'the extra bench is not installed')
class RivalsTest(absltest.TestCase):
  def test_onnx_graph_is_the_same_encoder(self):
    import onnxruntime

    from serving.benchmark import encoders

    size = encoders.Size(num_layers=2, hidden_size=16, num_heads=2, inner_dim=32)
    vocab = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'red', 'shoe', '##s', 'a']
    encoder = encoders.Encoder(size, vocab)
    rng = np.random.default_rng(1)
    encoder.encoder.set_weights(
      [weight + 0.2 * rng.standard_normal(weight.shape, np.float32) for weight in encoder.encoder.get_weights()]
    )
    texts = [tf.constant(['red shoes', 'a']), tf.constant(['a red shoe', 'red'])]
    ids, types, mask = encoder.pack(texts, 12)
    self.assertEqual(ids[0].numpy().tolist(), [2, 4, 5, 6, 3, 7, 4, 5, 3, 0, 0, 0])
    session = onnxruntime.InferenceSession(encoders.onnx_graph(encoder, size).SerializeToString())
    feed = {'ids': ids.numpy(), 'types': types.numpy(), 'mask': mask.numpy()}
    np.testing.assert_allclose(session.run(None, feed)[0][:, 0], encoder.logit(ids, types, mask), atol=1e-5)

  def test_bench_writes_a_report(self):
    folder = self.create_tempdir()
    texts = folder.create_file('texts.tsv', 'text\n' + 'red shoe\na lamp\n' * 20).full_path
    broken = os.path.join(folder.full_path, 'broken')
    tf.saved_model.save(tf.Module(), broken)  # Without a signature: it is left out, the others are not.
    subprocess.run(
      [
        sys.executable,
        '-m',
        'serving.benchmark.bench',
        f'--texts={texts}',
        f'--students=broken={broken}',
        '--encoders=',
        '--baselines=hashing',
        '--seconds=0.01',
        '--workloads=1,512',
        '--auc=hashing=0.6',
        f'--output={folder.full_path}/out',
        f'--models={folder.full_path}/models',
      ],
      cwd=_ROOT,
      check=True,
      capture_output=True,
    )
    out = pathlib.Path(folder.full_path, 'out')
    report_text = (out / 'report.md').read_text()
    self.assertIn('| hashing | Python | all |', report_text)
    self.assertIn('Left out, as they failed: broken, C++, tokens all; broken, Python', report_text)
    cells = json.loads((out / 'results.json').read_text())['results'][0]['cells']
    self.assertLessEqual({('1', 1), ('1', 2)}, {(cell['workload'], cell['threads']) for cell in cells})
    self.assertTrue((out / 'accuracy.png').exists())


if __name__ == '__main__':
  absltest.main()
