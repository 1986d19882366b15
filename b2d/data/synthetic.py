"""A generated shop: catalogue, queries, a few graded pairs, a large unlabelled log.

It stands in for a real shop in the quickstart and the tests, shaped like the paper's setting:
relevance is a matter of knowing English ('couch' asks for a sofa, '20V lithium-ion' is cordless, 72
inches are 6 ft.), labels are few, and the log of unlabelled query-title pairs names every product
and attribute in many more ways than the labelled rows do. All splits come from one procedure, and
no query of one split occurs in another, in any word order; only the number of rows differs. So
nothing but the number of its labels handicaps a student on hard labels, and what a distilled
student gains comes from the log.

Grades follow a rule over product type, attributes and brand, then three noisy raters. The words are
in `b2d.data.shop_words`; reading the files is left to `b2d.data.rows`. No TensorFlow here.
"""

from collections.abc import Iterator
import dataclasses
import json
import os
import re

import numpy as np

from b2d.data import shop_words

_GENERATOR_VERSION = 1  # Raise it when another shop comes out of the same configuration.
_SPLITS = ('test', 'valid', 'train', 'unlabeled')  # In the order in which they claim queries.
_RATER_STDDEV = 0.25


@dataclasses.dataclass(frozen=True)
class ShopConfig:
  """How large a shop, and which one.

  Attributes:
    num_products: products of the catalogue, each with one title.
    num_labeled_queries: queries of train.tsv.
    num_valid_queries: queries of valid.tsv.
    num_test_queries: queries of test.tsv, which depends on none of the other splits' sizes.
    num_log_queries: queries of unlabeled.tsv.
    titles_per_query: pairs of each query, in every split.
    seed: of everything random.
  """

  num_products: int = 12_000
  num_labeled_queries: int = 375
  num_valid_queries: int = 125
  num_test_queries: int = 250
  num_log_queries: int = 10_000
  titles_per_query: int = 8
  seed: int = 1

  def __post_init__(self):
    at_least = {'num_products': 1, 'titles_per_query': 1}
    for name, value in dataclasses.asdict(self).items():
      least = at_least.get(name, 0)
      if not isinstance(value, int) or value < least:
        raise ValueError(f'ShopConfig.{name}: expected an integer from {least} up, got {value!r}')


@dataclasses.dataclass(frozen=True)
class _ProductType:
  department: str
  family: int
  names: tuple[str, ...]
  attribute_kinds: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Item:
  """A product; or a query's wish, whose brand and attributes are those that the query names."""

  type_id: int
  brand: str
  attributes: dict[str, int]


def _split(text: str, separator: str) -> tuple[str, ...]:
  return tuple(' '.join(part.split()) for part in text.split(separator))


def _product_types() -> list[_ProductType]:
  types, num_families = [], 0
  for department, families in shop_words.PRODUCT_TYPES.items():
    for family in families.split(';'):
      kinds, members = family.split(':')
      types += [
        _ProductType(department, num_families, _split(names, ','), tuple(kinds.split())) for names in members.split('|')
      ]
      num_families += 1
  return types


def _attribute_values() -> dict[str, list[tuple[str, ...]]]:
  return {kind: [_split(names, ',') for names in values.split('|')] for kind, values in shop_words.ATTRIBUTES.items()}


class _Shop:
  """The catalogue, and the procedure that draws queries and their titles from it."""

  def __init__(self, num_products: int, seed: int):
    rng = np.random.default_rng([seed, len(_SPLITS)])
    self._types = _product_types()
    self._values = _attribute_values()
    self._products = [self._draw_product(rng) for _ in range(num_products)]
    self.titles = [self._write_title(rng, product) for product in self._products]
    type_ids = np.array([product.type_id for product in self._products])
    families = np.array([t.family for t in self._types])
    departments = np.array([t.department for t in self._types])
    # Of each type, product indices: of itself, its family's others, its department's others, all.
    self._pools = []
    for type_id, product_type in enumerate(self._types):
      same_type = type_ids == type_id
      same_family = (families == product_type.family)[type_ids]
      same_department = (departments == product_type.department)[type_ids]
      masks = (same_type, same_family & ~same_type, same_department & ~same_family, type_ids >= 0)
      self._pools.append([np.flatnonzero(mask) for mask in masks])

  def _draw_product(self, rng: np.random.Generator) -> _Item:
    type_id = int(rng.integers(len(self._types)))
    product_type = self._types[type_id]
    attributes = {kind: int(rng.integers(len(self._values[kind]))) for kind in product_type.attribute_kinds}
    brands = shop_words.BRANDS[product_type.department].split()
    return _Item(type_id, str(rng.choice(brands)), attributes)

  def _write_title(self, rng: np.random.Generator, product: _Item) -> str:
    """E.g. 'Torvik Pro 20V Lithium-Ion 1/2 in. Drill' or 'Torvik Drill, 1/2 in., Cordless'."""

    def name(names):
      return _capitalize(names[0] if rng.random() < 0.8 else str(rng.choice(names)))

    attributes = [name(self._values[kind][value]) for kind, value in product.attributes.items()]
    head = ' '.join(filter(None, [product.brand, str(rng.choice(shop_words.SERIES))]))
    noun = name(self._types[product.type_id].names)
    if rng.random() < 0.3:
      return ', '.join([f'{head} {noun}', *rng.permutation(attributes)])
    return ' '.join([head, *attributes, noun])

  def draw_query(self, rng: np.random.Generator) -> tuple[str, tuple[str, ...], _Item]:
    """Returns text, wish, and between them the sorted words without plural and typo."""
    product = self._products[rng.integers(len(self._products))]
    wish = _Item(
      product.type_id,
      product.brand if rng.random() < 0.1 else '',
      {kind: v for kind, v in product.attributes.items() if rng.random() < 0.35},
    )
    words = [str(rng.choice(self._values[kind][v])) for kind, v in wish.attributes.items()]
    words = [word.lower().rstrip('.') for word in [wish.brand, *words] if word]
    noun = str(rng.choice(self._types[wish.type_id].names))
    key = tuple(sorted(' '.join([*words, noun]).split()))
    if rng.random() < 0.2:
      noun = _plural(noun)
    text = ' '.join([noun, *words] if rng.random() < 0.2 else [*words, noun])
    return (_typo(rng, text) if rng.random() < 0.03 else text), key, wish

  def draw_pairs(self, rng: np.random.Generator, wish: _Item, num_titles: int) -> list[tuple[str, float]]:
    """Returns up to `num_titles` different (title, relevance): hits, near misses, random ones."""
    pools = self._pools[wish.type_id]
    hits = np.array([i for i in pools[0] if self._relevance(wish, self._products[i]) == 3.0], int)
    pools = [hits, *pools]
    chosen: list[int] = []
    for pool in rng.choice(len(pools), size=4 * num_titles, p=(0.35, 0.2, 0.2, 0.1, 0.15)):
      if len(chosen) < num_titles and len(pools[pool]):
        index = int(rng.choice(pools[pool]))
        if index not in chosen:
          chosen.append(index)
    return [(self.titles[i], self._relevance(wish, self._products[i])) for i in chosen]

  def _relevance(self, wish: _Item, product: _Item) -> float:
    """3 for the product type, 1.8 for its family, else 1; 0.9 less for each broken wish."""
    if wish.type_id == product.type_id:
      relevance = 3.0
    else:
      same_family = self._types[wish.type_id].family == self._types[product.type_id].family
      relevance = 1.8 if same_family else 1.0
    broken = sum(product.attributes.get(kind) != v for kind, v in wish.attributes.items())
    broken += wish.brand not in ('', product.brand)
    return max(1.0, relevance - 0.9 * broken)


def _capitalize(text: str) -> str:
  """Capitalises each word but units such as 'in.'."""
  return ' '.join(w if w.endswith('.') else w[0].upper() + w[1:] for w in text.split())


def _plural(noun: str) -> str:
  if noun.endswith('s'):
    return noun
  if re.search('[^aeiou]y$', noun):
    return noun[:-1] + 'ies'
  return noun + ('es' if re.search('(x|z|ch|sh)$', noun) else 's')


def _typo(rng: np.random.Generator, text: str) -> str:
  """Swaps two neighbouring letters."""
  i = int(rng.integers(len(text) - 1))
  return text if ' ' in text[i : i + 2] else text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def _grade(rng: np.random.Generator, relevance: float) -> float:
  """The mean of three raters, each of whom rounds to 1, 2 or 3."""
  return float(np.clip(np.round(rng.normal(relevance, _RATER_STDDEV, size=3)), 1, 3).mean())


def _draw_splits(shop: _Shop, config: ShopConfig) -> Iterator[tuple[str, list[str]]]:
  """Yields each split's name and lines, header included."""
  num_queries = dict(
    zip(
      _SPLITS, (config.num_test_queries, config.num_valid_queries, config.num_labeled_queries, config.num_log_queries)
    )
  )
  taken: set[str] = set()
  for stream, split in enumerate(_SPLITS):
    # A stream of its own, so that a split's size changes none that comes before it.
    rng = np.random.default_rng([config.seed, stream])
    lines = ['query\ttitle' if split == 'unlabeled' else 'id\tquery\ttitle\tgrade']
    for _ in range(num_queries[split]):
      query, wish = _draw_new_query(rng, shop, taken)
      for title, relevance in shop.draw_pairs(rng, wish, config.titles_per_query):
        if split == 'unlabeled':
          lines.append(f'{query}\t{title}')
        else:
          grade = _grade(rng, relevance)
          lines.append(f'{split}-{len(lines)}\t{query}\t{title}\t{grade:.2f}')
    yield split, lines


def _draw_new_query(rng: np.random.Generator, shop: _Shop, taken: set) -> tuple[str, _Item]:
  for _ in range(1_000):
    query, key, wish = shop.draw_query(rng)
    if key not in taken:
      taken.add(key)
      return query, wish
  raise ValueError(
    f'expected more different queries than the {len(taken)} that the catalogue '
    'yielded; lower the numbers of queries or raise num_products'
  )


def _write_lines(path: str, lines: list[str]) -> None:
  temporary = f'{path}.tmp-{os.getpid()}'
  with open(temporary, 'w', encoding='utf-8') as file:
    file.writelines(line + '\n' for line in lines)
  os.replace(temporary, path)


def write_shop(folder: str, config: ShopConfig) -> dict[str, str]:
  """Writes the shop into a folder, or finds it there.

  train.tsv, valid.tsv and test.tsv hold id, query, title, grade (1 to 3; relevant from 2.5 up),
  unlabeled.tsv query and title, each under a header line; titles.txt holds the catalogue, a title a
  line without header. manifest.json is written last: a folder without it is written anew.

  Args:
    folder: local folder; made if missing.
    config: which shop.

  Returns:
    {'train', 'valid', 'test', 'unlabeled', 'titles'} → path.

  Raises:
    ValueError: the folder holds a shop of another configuration, or the catalogue is too small for
      so many different queries.
  """
  paths = {split: os.path.join(folder, f'{split}.tsv') for split in _SPLITS}
  paths['titles'] = os.path.join(folder, 'titles.txt')
  manifest_path = os.path.join(folder, 'manifest.json')
  manifest = {**dataclasses.asdict(config), 'generator_version': _GENERATOR_VERSION}
  if os.path.exists(manifest_path):
    with open(manifest_path, encoding='utf-8') as file:
      found = json.load(file)
    if found != manifest:
      raise ValueError(
        f'{manifest_path}: expected the shop {manifest}, found {found}; name another folder or remove this one'
      )
    if all(os.path.exists(path) for path in paths.values()):
      return paths
  os.makedirs(folder, exist_ok=True)
  shop = _Shop(config.num_products, config.seed)
  for split, lines in _draw_splits(shop, config):
    _write_lines(paths[split], lines)
  _write_lines(paths['titles'], shop.titles)
  _write_lines(manifest_path, [json.dumps(manifest, indent=2)])
  return paths
