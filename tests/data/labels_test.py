"""Labels by number, name, True and False; blank is unlabelled; what is none of them is named."""

from absl.testing import absltest
from absl.testing import parameterized
import numpy as np

from b2d import config
from b2d.data import labels


def _targets(cells, **schema):
  def reject(number, reason):
    raise ValueError(f'{number}: {reason}')

  cells = np.array([cell if cell is None else cell.encode() for cell in cells], dtype=object)
  return labels.targets(np.arange(len(cells)), cells, config.Schema(label_column='label', **schema), reject)


class LabelsTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ('classes', ['2', '0.0', ' 1'], {'num_classes': 3}, [2, 0, 1]),
    ('booleans', ['True', 'false', 'FALSE', '1'], {}, [1, 0, 0, 1]),
    ('blank', ['1', '', ' ', None, '0'], {}, [1, np.nan, np.nan, np.nan, 0]),
    ('names', ['good', 'Bad ', '', 'so-so'], {'classes': ('bad', 'so-so', 'Good')}, [2, 0, np.nan, 1]),
    ('names_that_are_numbers', ['5', '1'], {'classes': ('1', '2', '3', '4', '5')}, [4, 0]),
    ('grades', ['1', '2.5', '', '3'], {'label_range': (1.0, 3.0)}, [0, 0.75, np.nan, 1]),
    (
      'named_grades',
      ['Exact', 'irrelevant', 'Partial'],
      {'grades': ('Irrelevant:1', 'Partial:2', 'Exact:3')},
      [1, 0, 0.5],
    ),
    ('named_in_a_wider_range', ['b'], {'grades': ('a:1', 'b:2'), 'label_range': (0.0, 4.0)}, [0.5]),
  )
  def test_targets(self, cells, schema, expected):
    found = _targets(cells, **schema)
    np.testing.assert_array_equal(found, np.float32(expected))
    self.assertEqual(found.dtype, np.float32)

  @parameterized.named_parameters(
    (
      'name_unknown',
      ['bad', 'goood'],
      {'classes': ('bad', 'good')},
      "1: expected one of bad, good in 'label', found 'goood'; .*--classes",
    ),
    ('grade_unknown', ['c'], {'grades': ('a:1', 'b:2')}, "expected one of a, b in 'label', found 'c'; .*--grades"),
    ('name_without_flag', ['good'], {}, "found 'good'; .*--classes if they have names"),
    ('grade_without_flag', ['good'], {'label_range': (0.0, 3.0)}, "found 'good'; .*--grades if they have names"),
    ('text_nan', ['nan'], {}, "expected a class from 0 to 1 in 'label', found 'nan'"),
  )
  def test_refused(self, cells, schema, message):
    with self.assertRaisesRegex(ValueError, message):
      _targets(cells, **schema)


if __name__ == '__main__':
  absltest.main()
