"""Pairs are lexical where they say so, unique, and the same after any interruption."""

import collections
import json
import os
import random

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from b2d import config
from b2d.data import pairing
from b2d.data import rows
from tests import command_line

_NOUNS = ('drill', 'saw', 'faucet', 'toilet', 'lamp', 'rug', 'mower', 'bucket')
_BRANDS = ('Acme', 'Bolt', 'Corax', 'Delta', 'Edison')
_SIZES = ('3/4 in.', '20v', '#8', '1.5 gal.', '12 ft.')


def _titles(count=120):
  generator = random.Random(7)
  return [
    f'{generator.choice(_BRANDS)} {generator.choice(_SIZES)} {generator.choice(_NOUNS)} No{i}' for i in range(count)
  ]


def _settings(**changes):
  defaults = dict(
    num_neighbors=4, num_lower=3, lower_rank=20, num_random=2, num_pseudo_queries=30, rows_per_shard=40, seed=3
  )
  return config.PairUp(**(defaults | changes))


def _shares_a_token(query, title):
  def fold(text):
    return {word.strip('.').rstrip('s') for word in text.lower().split()}

  return bool(fold(query) & fold(title))


class TitleIndexTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.titles = ['Bolt Drill 3/4 in.', 'Hammer', '---', 'bolt cutters', 'Glass lamp', 'Drill drill bit']
    self.index = pairing.TitleIndex(self.titles)

  @parameterized.parameters(
    ('hammers', [1]),
    ('BOLT cutter', [3, 0]),
    ('3/4', [0]),
    ('3', []),
    ('glass', [4]),
    ('zeppelin', []),
    ('', []),
    ('---', []),
    ('zeppelin lamp', [4]),
  )
  def test_ranks_titles_that_share_a_token(self, query, expected):
    self.assertEqual(self.index.rank(query, 10).tolist(), expected)

  @parameterized.parameters(
    ('हिन्दी', 'हिन्दी किताब'),
    ('cafe\u0301', 'cafe\u0301 mug'),
    ('手机', '苹果手机15'),
    ('iphone', '红色iPhone'),
    ('，', None),
  )
  def test_marks_stay_and_signs_are_words(self, query, expected):
    titles = ['हिन्दी किताब', 'हाथी की दवा हरी', 'cafe\u0301 mug', 'cafe stool', '苹果手机15', '红色iPhone']
    ranked = pairing.TitleIndex(titles).rank(query, 10).tolist()
    self.assertEqual([titles[index] for index in ranked], [expected] if expected else [])

  def test_agrees_with_bm25s_and_breaks_ties_by_position(self):
    titles = _titles() + ['rug'] * 5
    index = pairing.TitleIndex(titles)
    for query in ('acme rug', 'delta 20v drill', 'rug'):
      scores = index._bm25.get_scores_from_ids(
        index._tokenizer.tokenize([query], update_vocab=False, show_progress=False)[0]
      )
      expected = np.argsort(-scores, kind='stable')
      expected = expected[scores[expected] > 0]
      for depth in (0, 1, 3, 50):
        np.testing.assert_array_equal(index.rank(query, depth), expected[:depth])


class PseudoQueriesTest(absltest.TestCase):
  def test_are_cut_from_their_titles_and_unique(self):
    titles = _titles()
    settings = _settings(num_pseudo_queries=100, max_pseudo_words=3)
    cut = pairing.cut_pseudo_queries(titles, ['acme', 'lamp'], settings)
    self.assertLen(cut, 100)
    texts = [query.text for query in cut]
    self.assertLen(set(texts), 100)
    self.assertNoCommonElements(texts, ['acme', 'lamp'])
    self.assertEqual({len(text.split()) for text in texts}, {1, 2, 3})
    for query in cut:
      words = [word.strip('.') for word in titles[query.own_title].lower().split()]
      places = [words.index(word) for word in query.text.split()]
      self.assertEqual(places, sorted(places))

  def test_fewer_where_titles_hold_no_more(self):
    cut = pairing.cut_pseudo_queries(['Red Saw', '- -'], ['red'], _settings(num_pseudo_queries=50))
    self.assertCountEqual([query.text for query in cut], ['saw', 'red saw'])

  def test_of_scripts_without_spaces(self):
    cut = pairing.cut_pseudo_queries(['红色 iPhone，壳'], [], _settings(num_pseudo_queries=50, max_pseudo_words=2))
    texts = {query.text for query in cut}
    self.assertContainsSubset({'红', '红色', '色 iphone', 'iphone壳'}, texts)


class PairTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.titles = _titles()
    self.index = pairing.TitleIndex(self.titles)

  def _pair(self, query, **changes):
    chosen = pairing.pair(query, self.index, len(self.titles), _settings(**changes), np.random.default_rng(0))
    return chosen, collections.Counter(chosen.values())

  def test_logged_query(self):
    chosen, counts = self._pair(pairing.Query('acme drills'))
    self.assertEqual(counts, {'neighbor': 4, 'lower': 3, 'random': 2})
    ranked = self.index.rank('acme drills', 20).tolist()
    self.assertEqual([t for t, source in chosen.items() if source == 'neighbor'], ranked[:4])
    self.assertContainsSubset([t for t, source in chosen.items() if source == 'lower'], ranked[4:])

  def test_pseudo_query_keeps_its_own_title_once(self):
    best = int(self.index.rank('acme drill', 1)[0])
    chosen, counts = self._pair(pairing.Query('acme drill', best))
    self.assertEqual(counts, {'pseudo_self': 1, 'pseudo_neighbor': 2, 'pseudo_random': 1})
    self.assertEqual(chosen[best], 'pseudo_self')

  def test_query_without_a_match_has_random_titles_alone(self):
    _, counts = self._pair(pairing.Query('zeppelin'))
    self.assertEqual(counts, {'random': 2})

  def test_small_catalogue_is_used_up(self):
    chosen, _ = self._pair(pairing.Query('acme'), num_random=1000)
    self.assertCountEqual(chosen, range(len(self.titles)))

  def test_rank_goes_no_deeper_than_asked(self):
    _, counts = self._pair(pairing.Query('drill'), num_lower=0, num_random=0)
    self.assertEqual(counts, {'neighbor': 4})


class WriteTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.titles = self._file('titles.txt', _titles() + ['', _titles()[0].upper()])
    queries = ['acme drill', 'Acme  Drill', 'lamps', 'zeppelin', 'délta rug 20v', ' ', *_NOUNS]
    lines = ['id\tquery'] + [f'{i}\t{query}' for i, query in enumerate(queries)]
    self.queries = self._file('queries.tsv', lines)

  def _file(self, name, lines):
    path = os.path.join(self.folder, name)
    with open(path, 'w', encoding='utf-8') as file:
      file.write('\n'.join(lines) + '\n')
    return path

  def _run(self, name, **changes):
    settings = _settings(
      queries=(self.queries,), titles=(self.titles,), output_dir=os.path.join(self.folder, name), **changes
    )
    return pairing.pair_up(settings), settings.output_dir

  def _shards(self, folder):
    shards = {}
    for name in sorted(os.listdir(folder)):
      if name.endswith('.parquet'):
        with open(os.path.join(folder, name), 'rb') as file:
          shards[name] = file.read()
    return shards

  def _rows(self, folder):
    paths = rows.expand([os.path.join(folder, 'part-*.parquet')])
    return list(zip(*(rows.read_column(paths, name) for name in ('query', 'title', 'source'))))

  def test_rows(self):
    result, folder = self._run('pairs')
    found = self._rows(folder)
    self.assertLen(found, result['num_rows'])
    self.assertLen({(q.casefold(), t.casefold()) for q, t, _ in found}, len(found))
    counts = collections.Counter(source for _, _, source in found)
    self.assertEqual(counts, {source: result[source] for source in pairing.SOURCES})
    self.assertEqual(counts['random'], 2 * 12)  # 12 different queries that are not empty.
    self.assertEqual(counts['pseudo_self'], 30)
    self.assertNotIn('Acme Drill', {q for q, _, _ in found})
    for query, title, source in found:
      if 'random' not in source:
        self.assertTrue(_shares_a_token(query, title), (query, title, source))
    runs_of_queries = 1 + sum(a[0] != b[0] for a, b in zip(found, found[1:]))
    self.assertLen({q for q, _, _ in found}, runs_of_queries)

  def test_manifest_and_run_folder(self):
    result, folder = self._run('pairs')
    with open(os.path.join(folder, 'manifest.json'), encoding='utf-8') as file:
      manifest = json.load(file)
    self.assertEqual(sum(manifest['shards'].values()), result['num_rows'])
    self.assertEqual(list(manifest['shards']), list(self._shards(folder)))
    self.assertGreater(len(manifest['shards']), 3)
    counts = [manifest[f'num_{what}'] for what in ('titles', 'queries', 'pseudo_queries')]
    self.assertEqual(counts, [120, 12, 30])
    self.assertContainsSubset(['config.json', 'run.flags', 'metrics.json'], os.listdir(folder))

  def test_resumed_run_equals_an_uninterrupted_one(self):
    _, folder = self._run('pairs')
    before = self._shards(folder)
    kept = os.path.join(folder, 'part-00000.parquet')
    kept_at = os.stat(kept).st_mtime_ns
    for name in ('part-00001.parquet', 'part-00003.parquet', 'manifest.json', 'metrics.json'):
      os.remove(os.path.join(folder, name))
    self._run('pairs')
    self.assertEqual(self._shards(folder), before)
    self.assertEqual(os.stat(kept).st_mtime_ns, kept_at)
    _, other = self._run('other')
    self.assertEqual(self._shards(other), before)
    _, other_seed = self._run('other_seed', seed=4)
    self.assertNotEqual(self._shards(other_seed), before)

  def test_resume_refuses_other_titles_and_other_settings(self):
    self._run('pairs')
    with self.assertRaisesRegex(ValueError, '--num_random'):
      self._run('pairs', num_random=1)
    self._file('titles.txt', _titles(50))
    with self.assertRaisesRegex(ValueError, 'titles.txt: has changed since'):
      self._run('pairs')

  def test_pseudo_queries_alone(self):
    self.queries = self._file('empty.txt', [''])
    result, _ = self._run('pairs')
    self.assertEqual(result['pseudo_self'], 30)
    self.assertEqual(result['neighbor'], 0)
    with self.assertRaisesRegex(ValueError, 'expected queries, found none'):
      self._run('none', num_pseudo_queries=0)

  def test_bad_rows_are_left_out_and_named(self):
    self.titles = os.path.join(self.folder, 'titles.tsv')
    with open(self.titles, 'wb') as file:
      file.write(b'title\tprice\nred "drill"\t1\nsaw\nred caf\xe9\t2\nlamp\0\t3\n"red 3"" lamp"\t4\n')
    with self.assertRaisesRegex(ValueError, 'titles.tsv:6: expected cells without quoting, .*; set --tsv_quoting=csv'):
      self._run('pairs', max_bad_rows=1)
    result, folder = self._run('pairs', max_bad_rows=4)
    self.assertEqual({title for _, title, _ in self._rows(folder)}, {'red "drill"'})
    self.assertEqual(result['bad_rows'], 4)
    with open(os.path.join(folder, 'rejected.jsonl'), encoding='utf-8') as file:
      self.assertEqual(sorted(json.loads(line)['number'] for line in file), [3, 4, 5, 6])
    with open(self.titles, 'w', encoding='utf-8') as file:
      file.write('title\tprice\n"red 3"" lamp"\t4\n')
    _, folder = self._run('quoted', tsv_quoting='csv')
    self.assertEqual({title for _, title, _ in self._rows(folder)}, {'red 3" lamp'})

  def test_no_titles(self):
    self.titles = self._file('titles.txt', ['', ' '])
    with self.assertRaisesRegex(ValueError, 'expected titles, found none'):
      self._run('pairs')
    self.assertFalse(os.path.exists(os.path.join(self.folder, 'pairs')))

  def test_titles_without_a_word(self):
    self.titles = self._file('titles.txt', ['--', '##'])
    result, _ = self._run('pairs')
    self.assertEqual(result['random'], result['num_rows'])

  def test_binary(self):
    output_dir = os.path.join(self.folder, 'binary')
    command_line.run(
      config.PairUp,
      queries=[self.queries],
      titles=[self.titles],
      output_dir=output_dir,
      num_pseudo_queries=5,
      rows_per_shard=1000,
      seed=1,
    )
    self.assertLen(self._shards(output_dir), 1)


class SettingsTest(parameterized.TestCase):
  @parameterized.parameters(
    (dict(num_neighbors=-1), 'num_neighbors=-1: expected at least 0'),
    (dict(max_pseudo_words=0), 'max_pseudo_words=0: expected at least 1'),
    (dict(lower_rank=6), 'lower_rank=6: expected at least'),
    (dict(num_neighbors=0, num_lower=0, num_random=0, num_pseudo_queries=0), 'are all 0'),
  )
  def test_refused(self, changes, message):
    with self.assertRaisesRegex(ValueError, message):
      _settings(**changes)


if __name__ == '__main__':
  absltest.main()
