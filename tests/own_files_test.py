"""A new user's three files, graded CSV, JSON-lines log and Parquet catalogue, through every step of the README."""

import csv
import gzip
import json
import os

from absl.testing import absltest
import pyarrow as pa
import pyarrow.parquet as pq

from b2d import config
from b2d import evaluate
from b2d import runs
from b2d.data import soft_labels
from export import __main__ as export
from tests import command_line
from tests import tiny_bert

_COLOURS, _THINGS = ('red', 'blue', 'new', 'old'), ('drill', 'saw', 'shoe', 'box')
_TITLES = [f'{colour} {thing}' for colour in _COLOURS for thing in _THINGS]
_GRADES = 'Irrelevant', 'Partial', 'Exact'  # By the words that query and title share.


class OwnFilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    for split, colours in (('train', _COLOURS), ('valid', _COLOURS[:2])):
      with open(self._path(f'{split}.csv'), 'w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        writer.writerow(['search', 'product', 'note', 'judgement'])
        for query in (f'{colour} {thing}' for colour in colours for thing in _THINGS):
          for title in _TITLES:
            shared = len(set(query.split()) & set(title.split()))
            writer.writerow([query, title, 'a "note", quoted', _GRADES[shared]])
    with gzip.open(self._path('log.jsonl.gz'), 'wt', encoding='utf-8') as file:
      for index, title in enumerate(_TITLES):
        file.write(json.dumps({'search': {'text': 'old saw'}, 'shown': {'title': title, 'price': index / 4}}) + '\n')
      file.write('{"search": {"text": "cut o\n')
    pq.write_table(
      pa.table({'sku': pa.array(range(len(_TITLES)), pa.int64()), 'title': _TITLES}), self._path('catalogue.parquet')
    )

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _run(self, config_class, *show, **values) -> str:
    return command_line.run(config_class, *show, output_dir=self._path(config_class.step), **values)

  def test_columns_and_grades_are_said_once(self):
    log = {'input_files': [self._path('log.jsonl.gz')], 'text_columns': ['search.text', 'shown.title'],
           'max_bad_rows': 1, 'num_workers': 1}  # fmt: skip
    held_out = [self._path('valid.csv')]
    self._run(
      config.Finetune,
      vocab_file=tiny_bert.write_vocab(self.folder),
      num_layers=1,
      hidden_size=16,
      num_attention_heads=2,
      intermediate_size=16,
      max_seq_length=16,
      num_train_epochs=1.0,
      text_columns=['search', 'product'],
      label_column='judgement',
      grades=['Irrelevant:1', 'Partial:2', 'Exact:3'],
      train_files=[self._path('train.csv')],
      valid_files=held_out,
    )
    self._run(config.PairUp, queries=[self._path('log.jsonl.gz')], query_column='search.text', max_bad_rows=1,
              titles=[self._path('catalogue.parquet')], num_pseudo_queries=5)  # fmt: skip
    said = self._run(config.Label, teacher_dir=self._path('finetune'), **log)
    self.assertIn('rows 16', said)
    self.assertIn('bad_rows 1', said)
    self._run(
      config.Distill,
      soft_labels=[self._path('label')],
      valid_files=held_out,
      num_buckets=256,
      embedding_dim=4,
      hidden_layers=['4'],
      num_train_epochs=1.0,
    )
    self._run(config.Export, export.show, model=self._path('distill'))
    models = [f'{name}={self._path(name)}' for name in ('finetune', 'distill', 'export')]
    said = self._run(config.Evaluate, evaluate.show, models=models, reference='finetune', files=held_out)
    self.assertIn('export', said)
    self._run(config.Score, model=self._path('export'), keep_columns=['shown.price'], **log)
    found = pq.read_table(self._path('score/part-00000.parquet')).to_pydict()
    self.assertEqual(found['shown.price'][:2], ['0.0', '0.25'])
    self.assertEqual(found['id'][0], 'log.jsonl.gz:1')
    self.assertLen(found['probability'], 16)
    # What was said once arrived everywhere.
    manifest = soft_labels.read_manifest(self._path('label'))
    self.assertEqual((manifest.label_range, manifest.relevant_from), ((1, 3), 2))
    evaluated = runs.load_config(self._path('evaluate'), config.Evaluate).schema
    self.assertEqual(evaluated.text_columns, ('search', 'product'))
    self.assertEqual(evaluated.grades, ('Irrelevant:1', 'Partial:2', 'Exact:3'))
    with open(self._path('label/rejected.jsonl'), encoding='utf-8') as file:
      self.assertEqual(json.loads(file.read())['number'], 17)


if __name__ == '__main__':
  absltest.main()
