"""Actors on a Ray cluster of two nodes on this machine make the same shards, whoever dies."""

import dataclasses
import os
import signal
import sys
import unittest
from unittest import mock

from absl.testing import absltest

from b2d import config
from b2d import lease
from b2d import progress
from b2d.learning import copying
from b2d.learning import engines
from b2d.learning import labeling
from b2d.learning import local_workers
from b2d.learning import ray_workers

try:
  import ray
  from ray import cluster_utils
except ImportError:
  ray = None

_NODE = {'num_cpus': 1, 'object_store_memory': 80 << 20}


def _work(task, state, report):
  """Twice the task; dies at the first one, once, and each time at 'deadly'; fails at 'bad'."""
  task, died = task.split()
  if task == 'deadly' or task == '1' and not os.path.exists(died):
    open(died, 'w').close()
    os.kill(os.getpid(), signal.SIGKILL)
  report(1)
  if task == 'bad':
    raise ValueError('expected a good one')
  return state * int(task)


def _make_state():
  return 2


@unittest.skipUnless(ray, 'needs the extra b2d[ray]')
class ActorsTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # The nodes have b2d, not its tests.
    cls.cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**_NODE, 'include_dashboard': False})
    cls.cluster.add_node(**_NODE)
    cls.addClassCleanup(cls.cluster.shutdown)
    cls.addClassCleanup(ray.shutdown)

  def test_tasks_are_run_whoever_dies(self):
    died = os.path.join(self.create_tempdir().full_path, 'died')
    told = mock.create_autospec(progress.Progress, instance=True)
    actors = ray_workers.Actors(self.cluster.address, _work, _make_state, 0, on_gpus=True)
    self.assertEqual(actors.count, 2)
    tasks = [f'{task} {died}' for task in (1, 2, 'bad', 'deadly', 3, 4)]
    outcomes = list(engines.run_tasks(tasks, actors, told))
    found = {task.split()[0]: (result, problem) for task, result, problem in outcomes}
    self.assertEqual([found[str(n)] for n in (1, 2, 3, 4)], [(2 * n, '') for n in (1, 2, 3, 4)])
    self.assertEqual(found['bad'], (None, 'expected a good one'))
    self.assertRegex(found['deadly'][1], r'its worker died \(.*\), 2 times')

  def test_shards_are_those_of_the_local_engine(self):
    folder = self.create_tempdir().full_path
    for name in 'abc':
      with open(os.path.join(folder, f'{name}.csv'), 'w') as file:
        file.write('text,p\n' + ''.join(f'text {name} {n},0.{n:02d}\n' for n in range(10)))
    label = config.Label(
      input_files=(os.path.relpath(os.path.join(folder, '*.csv')),),
      scores_columns=('p',),
      output_dir=os.path.join(folder, 'local'),
    )
    label = dataclasses.replace(label, rows_per_shard=8)
    on_ray = config.Scaling(engine='ray', ray_address=self.cluster.address)
    small = mock.patch.multiple(copying, PIECE_BYTES=1, _WORKER_BYTES=1)  # Planning has tasks too.
    with mock.patch.object(lease, '_SETTLE_SECS', 0), small:
      labeling.label(dataclasses.replace(label, num_workers=1))
      one_core = mock.patch.object(local_workers, 'num_cores', lambda: 1)  # Of the driver, whatever the cluster has.
      with one_core, mock.patch.object(ray_workers, 'Actors', wraps=ray_workers.Actors) as actors:
        labeling.label(dataclasses.replace(label, output_dir=os.path.join(folder, 'ray'), scaling=on_ray))
      self.assertEqual([call.kwargs['on_gpus'] for call in actors.call_args_list], [False, True])
    for name in [name for name in os.listdir(os.path.join(folder, 'local')) if name.startswith(('part-', 'manif'))]:
      with open(os.path.join(folder, 'local', name), 'rb') as one, open(os.path.join(folder, 'ray', name), 'rb') as two:
        self.assertEqual(one.read(), two.read())


class WithoutRayTest(absltest.TestCase):
  def test_what_to_install_is_said(self):
    with mock.patch.dict(sys.modules, {'ray': None}), self.assertRaisesRegex(ValueError, r"pip install 'b2d\[ray\]'"):
      ray_workers.Actors('auto', _work, _make_state, 0, on_gpus=True)


if __name__ == '__main__':
  absltest.main()
