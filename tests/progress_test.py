"""Progress: lines in a log, a bar on a terminal."""

import io
from unittest import mock

from absl import logging
from absl.testing import absltest

from b2d import progress


class ProgressTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.clock = self.enter_context(mock.patch.object(progress.time, 'monotonic', return_value=1000.0))

  def test_a_line_now_and_then_where_there_is_no_terminal(self):
    stderr = self.enter_context(mock.patch('sys.stderr', io.StringIO()))
    with self.assertLogs(logging.get_absl_logger(), 'INFO') as logged:
      with progress.Progress(10_000, 'rows', 'label', done=2_000) as told:
        for second in range(1, 71):
          self.clock.return_value = 1000.0 + second
          if second == 40:
            told.note('failures: worker 1 2')
          told.update(100)
    self.assertEqual(
      [line.partition('label')[2] for line in logged.output],
      [
        ': 5000 of 10000 rows (50 %), 100 rows/s, 0 h 1 min left',
        ': 8000 of 10000 rows (80 %), 100 rows/s, less than a minute left; failures: worker 1 2',
      ],
    )
    self.assertEqual(stderr.getvalue(), '')

  def test_what_came_before_the_first_batch_tells_nothing_of_the_rest(self):
    with self.assertLogs(logging.get_absl_logger(), 'INFO') as logged, progress.Progress(100, 'steps', 'train') as told:
      for seconds in (45, 1, 1, 30):  # A minute of tracing, then a step a second.
        self.clock.return_value += seconds
        told.update(seconds if seconds < 45 else 1)
    self.assertEqual(
      [line.partition('train')[2] for line in logged.output],
      [': 1 of 100 steps (1 %), time left not known yet', ': 33 of 100 steps (33 %), 1 steps/s, 0 h 1 min left'],
    )

  def test_the_pace_is_that_of_the_last_minutes(self):
    with self.assertLogs(logging.get_absl_logger(), 'INFO') as logged, progress.Progress(9000, 'rows', 'label') as told:
      for count in [100] * 30 + [10] * 12:  # Then the machine has something else to do.
        self.clock.return_value += 30
        told.update(count)
    self.assertRegex(logged.output[-1], r'3120 of 9000 rows \(34 %\), 0\.3\d+ rows/s, 4 h \d+ min left')

  def test_a_bar_on_a_terminal(self):
    stderr = self.enter_context(mock.patch('sys.stderr', io.StringIO()))
    stderr.isatty = lambda: True
    with self.assertNoLogs(logging.get_absl_logger(), 'INFO'), progress.Progress(10, 'rows', 'label') as told:
      self.clock.return_value = 2000.0
      told.note('loss 0.5')
      told.update(10)
    self.assertRegex(stderr.getvalue(), r'label: 100%.* 10.0/10.0 .*loss 0.5')


if __name__ == '__main__':
  absltest.main()
