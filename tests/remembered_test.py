"""What is taken over from folders of runs and soft labels."""

import dataclasses
import json
import os

from absl.testing import absltest

from b2d import config
from b2d import remembered
from b2d import runs
from b2d.data import soft_labels
from tests import soft_label_folders

_GRADED = config.Schema(
  text_columns=('review',), label_column='stars', grades=('Bad:1', 'Fair:2', 'Good:5'), relevant_from=4.5
)
_NAMED = config.Schema(label_column='label', classes=('bad', 'so-so', 'good'))


class RememberedTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path

  def _run(self, name, schema) -> str:
    folder = os.path.join(self.folder, name)
    runs.start(
      config.Finetune(
        train_files=('t',), output_dir=folder, schema=schema, teacher=config.Teacher(vocab_file='vocab.txt')
      )
    )
    return folder

  def _soft_labels(self, teacher, **changes) -> str:
    folder = soft_label_folders.write(os.path.join(self.folder, 'soft_labels'), range(3), 1)
    manifest = soft_labels.read_manifest(folder)
    soft_labels.write_manifest(folder, dataclasses.replace(manifest, teachers=(teacher,), **changes))
    return folder

  def test_a_run(self):
    run = self._run('teacher', _GRADED)
    self.assertEqual(remembered.complete(config.Schema(), [run], labelled=True), _GRADED)
    unlabelled = remembered.complete(config.Schema(text_columns=('t',)), [run], labelled=False)
    self.assertEqual(unlabelled, dataclasses.replace(_GRADED, text_columns=('t',), label_column=''))

  def test_a_saved_model_knows_the_run_that_it_was_exported_from(self):
    folder = os.path.join(self.folder, 'export')
    runs_schema = json.loads(_GRADED.to_json())
    os.makedirs(os.path.join(folder, '2', 'assets.extra'))
    for name, content in (
      ('saved_model.pb', ''),
      ('assets.extra/export.json', json.dumps({'run': {'schema': runs_schema}})),
    ):
      runs.write_text(os.path.join(folder, '2', name), content)
    self.assertEqual(remembered.complete(config.Schema(), [folder], labelled=True), _GRADED)
    os.remove(os.path.join(folder, '2', 'assets.extra', 'export.json'))
    self.assertEqual(remembered.complete(config.Schema(), [folder], labelled=False), config.Schema())

  def test_the_first_run_that_knows(self):
    folders = [self.folder, self._run('graded', _GRADED), self._run('plain', config.Schema(label_column='label'))]
    self.assertEqual(remembered.complete(config.Schema(), folders, labelled=True), _GRADED)

  def test_every_run_is_held_against_what_is_given(self):
    turned = dataclasses.replace(_NAMED, classes=_NAMED.classes[::-1])
    folders = [self._run('named', _NAMED), self._run('turned', turned)]
    with self.assertRaisesRegex(ValueError, 'expected good,so-so,bad, as .*turned has'):
      remembered.complete(config.Schema(classes=_NAMED.classes), folders, labelled=True)
    with self.assertRaisesRegex(ValueError, 'expected good,so-so,bad, as .*turned has'):
      remembered.complete(config.Schema(), folders, labelled=True)

  def test_soft_labels_and_the_teacher_behind_them(self):
    graded = {name: getattr(_GRADED, name) for name in ('label_range', 'grades', 'relevant_from')}
    folder = self._soft_labels(self._run('teacher', _GRADED), **graded)
    self.assertEqual(remembered.complete(config.Schema(), [folder], labelled=True), _GRADED)

  def test_soft_labels_that_are_not_there(self):
    with self.assertRaisesRegex(ValueError, 'set --label_column: the labelled files need one; none, which may know it'):
      remembered.complete(config.Schema(), ['none'], labelled=True)

  def test_soft_labels_alone(self):
    folder = self._soft_labels('import:p', label_range=(1.0, 5.0), relevant_from=4.5)
    found = remembered.complete(config.Schema(label_column='l'), [folder], labelled=True)
    self.assertEqual((found.label_range, found.relevant_from, found.label_column), ((1, 5), 4.5, 'l'))
    with self.assertRaisesRegex(ValueError, 'set --label_column'):
      remembered.complete(config.Schema(), [folder], labelled=True)


if __name__ == '__main__':
  absltest.main()
