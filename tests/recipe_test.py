"""--dry_run prints the commands and runs none."""

import contextlib
import io
import shlex

from absl.testing import absltest

from b2d import recipe
from b2d import recipes
from flags import recipe_flags
from tests import flag_values


class RecipeTest(absltest.TestCase):
  def _run(self, **values):
    out = io.StringIO()
    with flag_values.given(recipe_flags.parse, name='sst2', data_dir='/data', output_dir='runs/r', **values):
      with absltest.mock.patch.object(recipes, 'run') as run, contextlib.redirect_stdout(out):
        recipe.main([])
    return out.getvalue(), [call.args[0] for call in run.call_args_list]

  def test_dry_run_prints_what_a_run_would_run(self):
    printed, started = self._run(dry_run=True)
    self.assertEmpty(started)
    commands = [shlex.split(command.replace('\\\n', '')) for command in printed.split('\n\n')[:-1]]
    printed, started = self._run()
    self.assertEmpty(printed)
    self.assertEqual([command[2:] for command in commands], started)
    self.assertLen(started, 7)


if __name__ == '__main__':
  absltest.main()
