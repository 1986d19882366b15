"""The report: slices tell rows apart, the worst rows stand first, and nothing in it is fetched or run."""

import dataclasses
import html.parser

from absl.testing import absltest
import numpy as np

from b2d import config
from b2d.measures import comparison
from b2d.measures import report
from b2d.measures import slices
from b2d.models import calibration

_PAIRS = config.Schema(text_columns=('query', 'title'), label_column='label')


def _bytes(texts):
  return np.array([text.encode() for text in texts], object)


def _pairs(teacher, student, labels):
  """Four rows of the query '<b>red shoe' and one of 'saw 18', with these margins."""
  batch = {
    'id': _bytes('abcde'),
    'query': _bytes(['<b>red shoe'] * 4 + ['saw 18']),
    'title': _bytes(['red shoe', 'red boot', 'hat', 'Red shoe large', 'saw']),
    'label': np.float32(labels),
  }
  logits = {name: np.stack([np.zeros(5), each], 1) for name, each in (('teacher', teacher), ('student', student))}
  return report.Scored(batch, np.array([0, 0, 0, 0, 1]), logits, dict.fromkeys(logits, calibration.PLAIN), _PAIRS)


class _Tags(html.parser.HTMLParser):
  def __init__(self, page):
    super().__init__()
    self.found = []
    self.feed(page)

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))


class ReportTest(absltest.TestCase):
  def _page(self, scored, **options):
    compared = comparison.compare(
      scored.batch['label'], scored.queries, scored.logits, scored.schema, reference='teacher'
    )
    return report.page(scored, compared, 'teacher', **options)

  def test_one_file_that_fetches_nothing_and_takes_texts_as_texts(self):
    page = self._page(_pairs([2, 1, -1, 2, -1], [2, -3, -1, 2, 1], [1, 1, 0, 1, 0]), num_repeats=20, seen={'red'})
    tags = _Tags(page).found
    self.assertEmpty([tag for tag, _ in tags if tag in ('script', 'link', 'b', 'iframe')])
    sources = [attributes['src'] for tag, attributes in tags if tag == 'img']
    self.assertLen(sources, 5)  # ROC, precision and recall, reliability, two histograms.
    self.assertTrue(all(source.startswith('data:image/png;base64,') for source in sources))
    self.assertIn('&lt;b&gt;red shoe', page)
    self.assertIn('<section id="rows-on-which-teacher-and-student-part-most">', page)
    self.assertIn('of the label 1.', page)

  def test_worst_rows_and_queries_come_first(self):
    page = self._page(_pairs([2, 1, -1, 2, -1], [2, -3, -1, 2, 1], [1, 1, 0, 1, 1]))
    rows = page[page.index('Rows on which teacher and student part most') :]
    self.assertLess(rows.index('red boot'), rows.index('Red shoe large'))
    self.assertIn('<td class="number">0.731</td><td class="number">0.047</td><td>b</td>', rows)
    queries = page[page.index('Queries on which') : page.index('Rows on which')]
    self.assertIn('red shoe', queries)
    self.assertNotIn('saw', queries)  # One row says nothing of a query.
    self.assertNotIn('saw', page[page.index('both teacher and student miss') :])  # The student has it right.

  def test_what_a_score_is(self):
    scored = _pairs([2, 1, -1, 2, -1], [2, -3, -1, 2, 1], [1, 0.5, 0, 1, 0])
    graded = config.Schema(text_columns=('query', 'title'), label_column='label', label_range=(1.0, 3.0))
    page = self._page(dataclasses.replace(scored, schema=graded))
    self.assertIn('A score is the probability, as it is served, of a grade from 2 up.', page)

  def test_classes(self):
    schema = config.Schema(classes=('bad', 'so-so', 'good'), label_column='label')
    batch = {'id': _bytes('abc'), 'text': _bytes(['dull', 'it is', 'funny']), 'label': np.float32([0, 1, 2])}
    logits = {'teacher': np.eye(3) * 3, 'student': np.float64([[3, 0, 0], [3, 0, 0], [0, 0, 3]])}
    scored = report.Scored(batch, None, logits, {}, schema)
    page = self._page(scored)
    self.assertIn('<th scope="col">decided so-so</th>', page)
    self.assertIn('<td>so-so 0.909</td><td>bad 0.909</td>', page)
    self.assertLen(report.predictions(scored).columns, 3 + 2 * 3 * 2)
    self.assertEqual(list(report.predictions(scored)['label']), ['bad', 'so-so', 'good'])


class SlicesTest(absltest.TestCase):
  def test_of_rows(self):
    batch = _pairs(np.zeros(5), np.zeros(5), [1, 1, 0, 1, 0]).batch
    found = slices.of_rows(batch, _PAIRS, seen={'red', 'shoe', 'b', 'saw', '18'})
    self.assertEqual(list(found["query's words in the title"]), ['some', 'some', 'none', 'some', 'some'])
    self.assertEqual(list(found['words of the title unseen in training']), ['none', 'some', 'some', 'some', 'none'])
    self.assertEqual(list(found['rows of the query (tail to head)']), ['4', '4', '4', '4', '1'])
    self.assertEqual(list(found['digits in the query']), ['none'] * 4 + ['some'])
    self.assertNotIn('words of the query unseen in training', found)  # All are seen: one slice is none.

  def test_a_column_of_many_values(self):
    scored = _pairs([2, 1, -1, 2, -1], [2, -3, -1, 2, 1], [1, 1, 0, 1, 0])
    batch = {name: np.tile(values, 4) for name, values in scored.batch.items()}
    batch |= {'column shop': _bytes([f's{min(row, 14)}' for row in range(20)])}
    batch |= {'column price': _bytes([f'{row}.5' for row in range(20)])}
    found = slices.of_rows(batch, _PAIRS)
    self.assertEqual(found['column shop'].value_counts()['s14'], 6)
    self.assertEqual((len(found['column shop'].categories), found['column shop'].value_counts()['other']), (10, 6))
    self.assertEqual(list(found['column price'].categories), ['0.5 to 6.5', '7.5 to 13.5', '14.5 to 19.5'])

  def test_thirds(self):
    self.assertEqual(list(slices.thirds(np.array([5, 1, 2, 3, 4, 9])).categories), ['1 to 2', '3 to 4', '5 to 9'])
    self.assertEqual(list(slices.thirds(np.array([1, 4, 4, 4, 4])).categories), ['1', '4'])
    self.assertEqual(list(slices.thirds(np.array([7, 7])).categories), ['7'])

  def test_measures_of_a_slice_are_those_of_its_rows_alone(self):
    scored = _pairs([2, 1, -1, 2, -1], [2, -3, -1, 2, 1], [1, 1, 0, 1, 0])
    measured = slices.measure(
      slices.of_rows(scored.batch, _PAIRS), scored.batch['label'], scored.queries, scored.logits, _PAIRS, 20
    ).set_index(['by', 'slice'])
    head = measured.loc['rows of the query (tail to head)', '4']
    self.assertEqual((head['rows'], head['positive'], head['student accuracy']), (4, 0.75, 0.75))
    self.assertAlmostEqual(head['student auc'], 2 / 3)
    self.assertEqual(head['student interval'], [0.75, 0.75])  # One query: whichever is drawn, it is that one.
    self.assertTrue(np.isnan(measured.loc['rows of the query (tail to head)', '1']['student auc']))


if __name__ == '__main__':
  absltest.main()
