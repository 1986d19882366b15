"""Paths of another file system than the local one: `ram://` stands for any that TensorFlow knows.

With REMOTE_PATHS=gs://bucket/folder it runs there; `python -m tests.object_store` has a bucket on this machine.
"""

import os

from absl.testing import absltest
import tensorflow as tf

import b2d
from b2d import config

_ROWS = [('good' if number % 2 else 'bad', number) for number in range(64)]
_ALL = os.environ.get('REMOTE_PATHS', 'ram://remote')


def _write(name: str, header: str, lines: list[str]) -> str:
  path = f'{_ALL}/{name}'
  with tf.io.gfile.GFile(path, 'w') as file:
    file.write('\n'.join([header, *lines]) + '\n')
  return path


class RemotePathsTest(absltest.TestCase):
  def test_inputs_and_run_folders(self):
    tf.io.gfile.makedirs(_ALL)
    _write('log-1.csv', 'text,p', [f'{word} film {number},{0.9 if word == "good" else 0.1}' for word, number in _ROWS])
    valid = _write('valid.tsv', 'text\tlabel', [f'{word} film\t{int(word == "good")}' for word, _ in _ROWS])
    names = ('labels', 'both', 'student', 'scores', 'exported', 'evaluation')
    labels, both, student, scores, exported, evaluation = (f'{_ALL}/{name}' for name in names)
    label = config.Label(
      input_files=(f'{_ALL}/log-*.csv',), scores_columns=('p',), rows_per_shard=16, output_dir=labels
    )
    for _ in range(2):  # The second time it is finished.
      self.assertEqual(b2d.run(label)['rows'], 64)
    self.assertEqual(b2d.run(config.Label(verify=True, output_dir=labels))['verified_shards'], 4)
    self.assertEqual(b2d.run(config.Stack(soft_labels=(labels, labels), output_dir=both))['rows'], 64)
    labelled = config.Schema(label_column='label')
    distill = config.Distill(
      soft_labels=(both,),
      valid_files=(valid,),
      schema=labelled,
      student=config.Student(num_buckets=256, embedding_dim=4, hidden_layers=(8,)),
      training=config.Training(learning_rate=0.2),
      output_dir=student,
    )
    self.assertGreater(b2d.run(distill)['auc'], 0.9)
    score = config.Score(model=student, input_files=(valid,), output_dir=scores)
    self.assertEqual(b2d.run(score)['rows'], 64)
    models = (f'student={student}',)
    if not _ALL.startswith('ram:'):  # Which cannot rename folders.
      for _ in range(2):
        self.assertEqual(b2d.run(config.Export(model=student, output_dir=exported))[0], f'{exported}/1')
      models += (f'export={exported}',)
    b2d.run(config.Evaluate(models=models, files=(valid,), schema=labelled, report=True, output_dir=evaluation))
    self.assertTrue(tf.io.gfile.exists(f'{evaluation}/report.html'))
    left = {name for folder in (labels, both, scores) for name in tf.io.gfile.listdir(folder)}
    self.assertEmpty([name for name in left if 'tmp' in name or name.startswith(('inputs', 'lease'))])
    shard = f'{labels}/part-00000.parquet'
    tf.io.gfile.copy(f'{labels}/part-00001.parquet', shard, overwrite=True)
    with self.assertRaisesRegex(ValueError, f'remove {shard} and repeat the command'):
      b2d.run(config.Label(verify=True, output_dir=labels))

  def test_what_another_process_changes_is_seen_at_once(self):
    self.assertEqual(os.environ['GCS_STAT_CACHE_MAX_AGE'], '0')


if __name__ == '__main__':
  absltest.main()
