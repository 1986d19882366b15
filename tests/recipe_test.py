"""--dry_run prints the commands and runs none."""

import shlex

from absl.testing import absltest

from b2d import config
from b2d import recipe
from b2d import recipes
from tests import command_line


class RecipeTest(absltest.TestCase):
  def _run(self, **values):
    with absltest.mock.patch.object(recipes, 'run') as run:
      printed = command_line.run(
        config.Recipe, recipe.show, recipe.recipe, name='sst2', data_dir='/data', output_dir='runs/r', **values
      )
    return printed, [call.args[0] for call in run.call_args_list]

  def test_dry_run_prints_what_a_run_would_run(self):
    printed, started = self._run(dry_run=True)
    self.assertEmpty(started)
    commands = [shlex.split(command.replace('\\\n', '')) for command in printed.split('\n\n')]
    printed, started = self._run()
    self.assertEqual(printed, 'runs/r: 7 steps finished\n')
    self.assertEqual([command[2:] for command in commands], started)
    self.assertLen(started, 7)


if __name__ == '__main__':
  absltest.main()
