"""Tests of b2d.data.synthetic and of its words."""

import collections
import dataclasses
import os

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from b2d.data import shop_words
from b2d.data import synthetic

_SMALL = synthetic.ShopConfig(
  num_products=2_000,
  num_labeled_queries=60,
  num_valid_queries=20,
  num_test_queries=30,
  num_log_queries=200,
  titles_per_query=8,
  seed=3,
)
_LABELED = ('train', 'valid', 'test')


def _read(path):
  with open(path, encoding='utf-8') as file:
    return [line.rstrip('\n').split('\t') for line in file]


def _bytes(paths):
  contents = {}
  for name, path in paths.items():
    with open(path, 'rb') as file:
      contents[name] = file.read()
  return contents


class WriteShopTest(parameterized.TestCase):
  def test_files_have_the_promised_columns_and_rows(self):
    paths = synthetic.write_shop(self.create_tempdir().full_path, _SMALL)
    self.assertCountEqual(paths, [*_LABELED, 'unlabeled', 'titles'])
    titles = {title for (title,) in _read(paths['titles'])}
    for split, num_queries in zip(_LABELED, (60, 20, 30)):
      header, *rows = _read(paths[split])
      self.assertEqual(header, ['id', 'query', 'title', 'grade'])
      self.assertLen({row[0] for row in rows}, len(rows))
      self.assertBetween(len(rows), 6 * num_queries, 8 * num_queries)
      self.assertContainsSubset([row[2] for row in rows], titles)
      grades = np.array([float(row[3]) for row in rows])
      self.assertBetween(grades.min(), 1.0, 3.0)
      self.assertBetween(grades.max(), 1.0, 3.0)
      self.assertBetween(np.mean(grades >= 2.5), 0.2, 0.6)
    header, *rows = _read(paths['unlabeled'])
    self.assertEqual(header, ['query', 'title'])
    self.assertBetween(len(rows), 6 * 200, 8 * 200)

  def test_no_query_is_in_two_splits_in_any_word_order(self):
    paths = synthetic.write_shop(self.create_tempdir().full_path, _SMALL)
    seen = collections.defaultdict(set)
    for split in (*_LABELED, 'unlabeled'):
      header, *rows = _read(paths[split])
      for row in rows:
        seen[tuple(sorted(row[header.index('query')].split()))].add(split)
    self.assertEmpty([query for query, splits in seen.items() if len(splits) > 1])

  def test_the_seed_decides_everything(self):
    first = _bytes(synthetic.write_shop(self.create_tempdir().full_path, _SMALL))
    again = _bytes(synthetic.write_shop(self.create_tempdir().full_path, _SMALL))
    other = _bytes(synthetic.write_shop(self.create_tempdir().full_path, dataclasses.replace(_SMALL, seed=4)))
    self.assertEqual(first, again)
    for name in first:
      self.assertNotEqual(first[name], other[name])

  def test_more_labels_or_log_leave_the_test_split_alone(self):
    more = dataclasses.replace(_SMALL, num_labeled_queries=90, num_log_queries=20)
    first = _bytes(synthetic.write_shop(self.create_tempdir().full_path, _SMALL))
    second = _bytes(synthetic.write_shop(self.create_tempdir().full_path, more))
    self.assertEqual(first['test'], second['test'])
    self.assertTrue(second['train'].startswith(first['train']))

  def test_a_finished_folder_is_reused_and_an_unfinished_one_written_anew(self):
    folder = self.create_tempdir().full_path
    paths = synthetic.write_shop(folder, _SMALL)
    contents = _bytes(paths)
    with open(paths['train'], 'w', encoding='utf-8') as file:
      file.write('mine\n')
    synthetic.write_shop(folder, _SMALL)
    self.assertEqual(_read(paths['train']), [['mine']])
    os.remove(os.path.join(folder, 'manifest.json'))
    self.assertEqual(_bytes(synthetic.write_shop(folder, _SMALL)), contents)
    self.assertEmpty([name for name in os.listdir(folder) if '.tmp' in name])

  def test_a_folder_of_another_shop_is_refused(self):
    folder = self.create_tempdir().full_path
    synthetic.write_shop(folder, _SMALL)
    with self.assertRaisesRegex(ValueError, 'manifest.json: expected .* found .*another folder'):
      synthetic.write_shop(folder, dataclasses.replace(_SMALL, seed=4))

  def test_too_small_a_catalogue_is_refused(self):
    config = dataclasses.replace(_SMALL, num_products=2, num_log_queries=2_000)
    with self.assertRaisesRegex(ValueError, 'raise num_products'):
      synthetic.write_shop(self.create_tempdir().full_path, config)

  @parameterized.parameters({'num_products': 0}, {'titles_per_query': 0}, {'seed': -1}, {'num_log_queries': 1.5})
  def test_config_refuses(self, **field):
    with self.assertRaisesRegex(ValueError, f'ShopConfig.{next(iter(field))}: expected'):
      synthetic.ShopConfig(**field)


class ShopWordsTest(absltest.TestCase):
  def test_a_name_means_one_product_type_and_a_value_one_thing(self):
    names = [name for t in synthetic._product_types() for name in t.names]
    self.assertLen(set(names), len(names))
    for values in synthetic._attribute_values().values():
      forms = [form for value in values for form in value]
      self.assertLen(set(forms), len(forms))

  def test_every_department_has_brands_and_known_attribute_kinds(self):
    self.assertEqual(shop_words.BRANDS.keys(), shop_words.PRODUCT_TYPES.keys())
    for product_type in synthetic._product_types():
      self.assertNotEmpty(product_type.attribute_kinds)
      self.assertContainsSubset(product_type.attribute_kinds, shop_words.ATTRIBUTES)


if __name__ == '__main__':
  absltest.main()
