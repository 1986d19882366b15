"""b2d.drift fires on other texts and on other scores, not on a fresh sample of the same shop."""

import os
import tempfile

from absl import app
from absl.testing import absltest
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import drift
from b2d import runs
from b2d.data import synthetic
from b2d.measures import drifting
from b2d.models import student
from tests import command_line

_STUDENT = config.Student(num_buckets=1 << 14, embedding_dim=4, hidden_layers=(4,))
_COLUMNS = ('query', 'title')


class DriftTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.folder = tempfile.mkdtemp(dir=absltest.TEST_TMPDIR.value)
    cls.addClassCleanup(tf.io.gfile.rmtree, cls.folder)
    shop = synthetic.ShopConfig(num_products=400, num_valid_queries=60, num_test_queries=60, num_log_queries=300)
    cls.shop = synthetic.write_shop(os.path.join(cls.folder, 'shop'), shop)
    cls.other = os.path.join(cls.folder, 'other.tsv')  # The same rows in words that nobody has trained on.
    with open(cls.shop['test'], encoding='utf-8') as file, open(cls.other, 'w', encoding='utf-8') as other:
      head, *lines = file
      # Every other row: of two samples of 60 queries a random student's scores may differ.
      cls.halves = [os.path.join(cls.folder, name) for name in ('reference.tsv', 'fresh.tsv')]
      for i, path in enumerate(cls.halves):
        with open(path, 'w', encoding='utf-8') as half:
          half.writelines([head, *lines[i::2]])
      cells = [line.split('\t') for line in lines]
      other.write(head + ''.join(f'{i}\t{query[::-1]}\t{title[::-1]}\t{grade}' for i, query, title, grade in cells))
    cls.student = cls._write_student('student')

  @classmethod
  def _write_student(cls, name):
    """A run of b2d.distill that has moved the table's rows of the shop's log."""
    run = config.Distill(
      soft_labels=('s',),
      output_dir=os.path.join(cls.folder, name),
      schema=config.Schema(text_columns=_COLUMNS),
      student=_STUDENT,
      training=config.Training(seed=7),
    )
    runs.start(run)
    model = student.StudentModel(_STUDENT, _COLUMNS, 2, 7)
    with open(cls.shop['unlabeled'], encoding='utf-8') as file:
      texts = np.array([line.rstrip('\n').split('\t') for line in list(file)[1:]])
    ids = np.unique(model.featurize({field: tf.constant(texts[:, i]) for i, field in enumerate(_COLUMNS)}).ids)
    moves = np.random.default_rng(1).normal(1, 1, [len(ids), 4]).astype(np.float32)
    model.table.scatter_add(tf.IndexedSlices(moves, ids))
    tf.train.Checkpoint(model=model).save(os.path.join(run.output_dir, 'best', 'ckpt'))
    runs.write_metrics(run.output_dir, {})
    return run.output_dir

  def _drift(self, live, **changes):
    """What is said, and metrics.json."""
    output = os.path.join(self.create_tempdir().full_path, 'drift')
    values = {'model': self.student, 'reference': [self.halves[0]], 'live': [live], 'output_dir': output} | changes
    said = command_line.run(config.Drift, drift.show, **values)
    return said, runs.read_json(os.path.join(values['output_dir'], 'metrics.json'))

  def test_silent_on_a_fresh_sample(self):
    said, result = self._drift(self.halves[1], teacher=self.student, teacher_rows=50)
    self.assertIn('no drift', said)
    self.assertEqual((result['exceeded'], drift.exit_code(result)), ([], 0))
    self.assertEqual((result['rows_live'], result['agreement_live']), (239, 1))
    self.assertLess(result['unseen_ngrams_live'], 0.4)  # A few pairs of words are always new.

  def test_fires_on_other_texts(self):
    said, result = self._drift(self.other)
    self.assertRegex(said, r'DRIFT: \d\.\d+ is above --max_psi=0\.2')
    self.assertEqual(result['exceeded'], ['max_psi', 'max_ks', 'max_unseen_rise'])
    self.assertGreater(result['unseen_ngrams_live'], 0.8)
    self.assertEqual(drift.exit_code(result), 3)

  def test_scores_made_before(self):
    rng = np.random.default_rng(0)
    paths = {}
    for name, shift in (('before', 0), ('today', 0), ('wrong', 1.5)):
      paths[name] = os.path.join(self.folder, f'{name}.tsv')
      with open(paths[name], 'w', encoding='utf-8') as file:
        file.write('id\tprobability\n' + ''.join(f'x\t{value}\n' for value in rng.normal(shift, 1, 500)))
    for name, exceeded in (('today', []), ('wrong', ['max_psi', 'max_ks'])):
      changes = {'model': '', 'scores_column': 'probability', 'reference': [paths['before']]}
      self.assertEqual(self._drift(paths[name], **changes)[1]['exceeded'], exceeded)

  def _write_scores(self, name, scores):
    """A TSV as pandas writes it: with a quoted title beside the score."""
    path = os.path.join(self.create_tempdir().full_path, name)
    with open(path, 'w', encoding='utf-8') as file:
      file.write('title\tprobability\n' + ''.join(f'"27"" monitor"\t{score}\n' for score in scores))
    return path

  def test_scores_that_are_no_numbers(self):
    """One of them among the scores once turned the alarm off."""
    before = self._write_scores('before.tsv', np.linspace(0, 0.4, 200))
    today = self._write_scores('today.tsv', [*np.linspace(0.6, 1, 200), 'nan', ''])
    column = {'model': '', 'scores_column': 'probability', 'reference': [before], 'tsv_quoting': 'csv'}
    with self.assertRaisesRegex(ValueError, "today.tsv:202: expected a number in 'probability', found 'nan'"):
      self._drift(today, **column)
    output = os.path.join(self.create_tempdir().full_path, 'drift')
    result = self._drift(today, **column, max_bad_rows=2, output_dir=output)[1]
    self.assertEqual((result['exceeded'], result['rows_live'], result['bad_rows']), (['max_psi', 'max_ks'], 200, 2))
    with open(os.path.join(output, 'rejected.jsonl'), encoding='utf-8') as file:
      self.assertLen(list(file), 2)
    with self.assertRaisesRegex(ValueError, 'before.tsv:2: expected cells without quoting'):
      self._drift(today, **column | {'tsv_quoting': 'check'})

  def test_scores_evenly_sampled(self):
    before, today = (self._write_scores(name, np.linspace(0, 1, 1000)) for name in ('before.tsv', 'today.tsv'))
    column = {'model': '', 'scores_column': 'probability', 'reference': [before], 'tsv_quoting': 'csv'}
    result = self._drift(today, **column, max_rows=100)[1]
    self.assertEqual((result['rows_reference'], result['rows_live'], result['psi']), (100, 100, 0))

  def test_bad_rows_of_a_model_are_listed(self):
    with open(self.halves[1], encoding='utf-8') as file:
      lines = file.readlines()
    live = os.path.join(self.create_tempdir().full_path, 'live.tsv')
    with open(live, 'w', encoding='utf-8') as file:
      file.writelines([*lines, 'a line without tabs\n'])
    output = os.path.join(self.create_tempdir().full_path, 'drift')
    result = self._drift(live, max_bad_rows=1, output_dir=output)[1]
    self.assertEqual((result['bad_rows'], result['rows_live']), (1, len(lines) - 1))
    with open(os.path.join(output, 'rejected.jsonl'), encoding='utf-8') as file:
      self.assertIn(f'live.tsv:{len(lines) + 1}', file.read())

  def test_evenly_sampled(self):
    result = self._drift(self.shop['test'], max_rows=100)[1]
    self.assertEqual(result['rows_live'], 96)  # Every fifth of 479.

  def test_stability_index(self):
    self.assertEqual(drifting.population_stability_index(np.array([5, 5]), np.array([50, 50])), 0)
    found = drifting.population_stability_index(np.array([5e6, 5e6]), np.array([2e6, 8e6]))
    self.assertAlmostEqual(found, 0.3 * np.log(0.8 / 0.5) - 0.3 * np.log(0.2 / 0.5), places=5)

  def test_refused(self):
    with self.assertRaisesRegex(app.UsageError, 'set --model, or --scores_column'):
      self._drift(self.shop['test'], scores_column='probability')
    with self.assertRaisesRegex(app.UsageError, '--teacher: set --model'):
      self._drift(self.shop['test'], scores_column='probability', model='', teacher='x')


if __name__ == '__main__':
  absltest.main()
