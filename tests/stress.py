"""Kills, rivals, damage: afterwards every row has the soft label of an uninterrupted run, or an error names the shard.

    python -m tests.stress --kills=50 --rounds=10                  # Local workers.
    python -m tests.stress --kills=50 --rounds=10 --engine=ray     # A Ray cluster of three nodes on this machine.
    python -m tests.object_store python -m tests.stress --flips=40 --folder=gs://bucket/stress

A round kills workers, the driver and (of Ray) a node at random moments with SIGKILL and SIGTERM and repeats the
command; lets two drivers begin at once; flips bits; cuts off an input. It ends with an error if a row was lost, doubled
or altered.
"""

import contextlib
import functools
import gzip
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from unittest import mock

from absl import app
from absl import flags
import numpy as np
import tensorflow as tf

from b2d import config
from b2d import runs
from b2d.data import shards
from b2d.learning import copying
from b2d.learning import labeling
from b2d.learning import local_workers

_KILLS = flags.DEFINE_integer('kills', 50, 'Kills a round.')
_ROUNDS = flags.DEFINE_integer('rounds', 1, 'Rounds.')
_FLIPS = flags.DEFINE_integer('flips', 400, 'Flipped bits a round.')
_ENGINE = flags.DEFINE_enum('engine', 'local', ['local', 'ray'], 'Who makes the shards.')
_FOLDER = flags.DEFINE_string('folder', '', 'Where, on any file system; otherwise in a temporary folder.')
_SEED = flags.DEFINE_integer('seed', 0, 'Of the first round.')

_NUM_SHARDS, _SHARD_ROWS = 24, 20
_SHARD_SECS = 0.05
_CONTEXT = multiprocessing.get_context('forkserver')  # The libraries are imported once for all drivers.
_CONTEXT.set_forkserver_preload(['b2d.learning.labeling'])
_STARTS = 4  # Of a node, before that it does not is an error.
_NODE = {'num_cpus': 1, 'object_store_memory': 80 << 20}


def _make_scorer():
  """A teacher whose logits follow from the text, and that takes its time."""

  def score(batch, report):
    report(len(batch['text']))
    time.sleep(_SHARD_SECS)
    digests = [hashlib.sha256(text).digest() for text in batch['text']]
    return np.stack([np.frombuffer(digest[:8], '<i4').astype(np.float32) for digest in digests])

  return score


def _drive(label: config.Label, told: str) -> None:
  """The command: what it says of an error stands in `told`, and it exits with 1."""
  sys.stderr = open(os.devnull, 'w')
  if label.scaling.engine == 'ray':
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[_make_scorer.__module__])
  small = mock.patch.multiple(copying, PIECE_BYTES=1000, _WORKER_BYTES=1000)  # Planning has tasks to kill, too.
  with (
    small,
    mock.patch.object(local_workers, 'Processes', functools.partial(local_workers.Processes, start_method='fork')),
  ):
    try:
      labeling.label(label, _make_scorer)
    except Exception as error:
      runs.write_text(told, str(error) if isinstance(error, ValueError | OSError) else traceback.format_exc())
      os._exit(1)


class Round:
  """One round, in a folder of its own."""

  def __init__(self, folder: str, seed: int, scaling: config.Scaling):
    self.random = random.Random(seed)
    self.cluster = None
    tf.io.gfile.makedirs(folder)
    self._folder, self._scaling, self._told = folder, scaling, os.path.join(folder, 'told')
    teacher = config.Finetune(  # A record alone: `_make_scorer` stands for the weights.
      train_files=('train.tsv',),
      output_dir=self._path('teacher'),
      schema=config.Schema(label_column='label'),
      teacher=config.Teacher(vocab_file='vocab.txt'),
    )
    runs.write_metrics(runs.start(teacher), {})
    self._input = self._write('in.txt', ''.join(f'text {n}\n' for n in range(_NUM_SHARDS * _SHARD_ROWS)))
    labeling.label(self._label('expected', num_workers=1, scaling=config.Scaling()), _make_scorer)
    self._expected = self._contents('expected')
    assert len(self._expected) == _NUM_SHARDS

  def kill(self, num_kills: int) -> None:
    """Kills at random moments; a folder that was finished is begun anew."""
    driver = self._start('killed')
    is_slow = self.cluster is not None or '://' in self._folder
    for _ in range(num_kills):
      time.sleep(self.random.uniform(0.05, 1) * (8 if is_slow else 1))
      if driver.exitcode == 0:
        self._check('killed')
        tf.io.gfile.rmtree(self._path('killed'))
      elif driver.exitcode is None:
        self._kill_one(driver)
        driver.join(0.5)
      if driver.exitcode is not None:
        driver = self._start('killed')
    driver.join()
    while driver.exitcode != 0:  # A shard whose workers were killed twice is set aside; the command repeated makes it.
      driver = self._start('killed')
      driver.join()
    self._check('killed')

  def two_drivers(self) -> None:
    """One does the work, the other is told so."""
    drivers = [self._start('shared') for _ in range(2)]
    for driver in drivers:
      driver.join()
    assert sorted(driver.exitcode for driver in drivers) in ([0, 0], [0, 1]), 'expected one to do it'
    if any(driver.exitcode for driver in drivers):
      assert 'works there' in self._said(), self._said()
    self._check('shared')

  def flip_bits(self, num_flips: int) -> None:
    """Each is found, and the shard named."""
    verify = config.Label(verify=True, output_dir=self._path('expected'))
    for _ in range(num_flips):
      name = os.path.join('expected', shards.name(self.random.randrange(_NUM_SHARDS)))
      whole = self._read(name)
      flipped = bytearray(whole)
      flipped[self.random.randrange(len(whole))] ^= 1 << self.random.randrange(8)
      self._write(name, bytes(flipped))
      try:
        labeling.label(verify)
        raise AssertionError(f'{name}: a flipped bit was not found')
      except ValueError as error:
        assert self._path(name) in str(error), error
      self._write(name, whole)
    self._check('expected')

  def truncated_input(self) -> None:
    """An input that was cut off is named, and gives no soft labels."""
    whole = gzip.compress(self._read('in.txt'))
    self._write('cut.txt.gz', whole[: self.random.randrange(1, len(whole) - 8)])
    driver = self._start('cut', input_files=(self._path('cut.txt.gz'),))
    driver.join()
    assert driver.exitcode == 1 and 'cut.txt.gz' in self._said(), self._said()
    assert not tf.io.gfile.exists(self._path('cut'))

  def _path(self, name: str) -> str:
    return os.path.join(self._folder, name)

  def _read(self, name: str) -> bytes:
    with tf.io.gfile.GFile(self._path(name), 'rb') as file:
      return file.read()

  def _write(self, name: str, content: str | bytes) -> str:
    runs.write_bytes(self._path(name), content.encode() if isinstance(content, str) else content)
    return self._path(name)

  def _label(self, output: str, **changes) -> config.Label:
    settings = {'input_files': (self._input,), 'num_workers': 2, 'scaling': self._scaling, **changes}
    return config.Label(
      teacher_dir=self._path('teacher'),
      output_dir=self._path(output),
      rows_per_shard=_SHARD_ROWS,
      precision='float32',
      **settings,
    )

  def _start(self, output: str, **changes):
    driver = _CONTEXT.Process(target=_drive, args=(self._label(output, **changes), self._told))
    driver.start()
    return driver

  def _said(self) -> str:
    return self._read('told').decode()

  def _kill_one(self, driver) -> None:
    how = self.random.choice([signal.SIGKILL, signal.SIGTERM])
    if self.cluster is not None and self.random.random() < 0.1:
      self.cluster.remove_node(self.random.choice(list(self.cluster.worker_nodes)), allow_graceful=False)
      _add_node(self.cluster)
      return
    workers = _workers(driver.pid if self.cluster is None else os.getpid(), 'ray::_Actor' if self.cluster else '')
    pid = self.random.choice(workers) if workers and self.random.random() < 0.7 else driver.pid
    with contextlib.suppress(ProcessLookupError):
      os.kill(pid, how)

  def _check(self, output: str) -> None:
    """Every row once, bit for bit."""
    if any('tmp' in name for name in tf.io.gfile.listdir(self._path(output))):  # Of a worker that outlived its driver.
      self._start(output).join()
    found = self._contents(output)
    differ = sorted(name for name in found | self._expected if found.get(name) != self._expected.get(name))
    assert not differ, f'{self._path(output)}: {", ".join(differ)} differ from an uninterrupted run'
    labeling.label(config.Label(verify=True, output_dir=self._path(output)))
    left = tf.io.gfile.listdir(self._path(output))
    assert not [name for name in left if 'tmp' in name or name.startswith('inputs')]

  def _contents(self, output: str) -> dict[str, bytes]:
    names = [name for name in tf.io.gfile.listdir(self._path(output)) if name.startswith('part-')]
    return {name: self._read(os.path.join(output, name)) for name in names}


def _workers(pid: int, title: str) -> list[int]:
  """Processes below this one that are called so."""
  below, parents = {pid}, {}
  for name in filter(str.isdecimal, os.listdir('/proc')):
    with contextlib.suppress(OSError), open(f'/proc/{name}/stat') as file:
      parents[int(name)] = int(file.read().rpartition(')')[2].split()[1])
  for _ in range(5):
    below |= {child for child, parent in parents.items() if parent in below}
  found = []
  for child in below - {pid}:
    with contextlib.suppress(OSError), open(f'/proc/{child}/cmdline') as file:
      said = file.read()
      if title in said and 'tracker' not in said:
        found.append(child)
  return found


def _add_node(cluster) -> None:
  for _ in range(_STARTS - 1):  # Ray gives a node 30 s to start, which a busy machine does not always keep.
    with contextlib.suppress(Exception):
      cluster.add_node(**_NODE)
      return
  cluster.add_node(**_NODE)


@contextlib.contextmanager
def _ray_cluster():
  """A cluster of three nodes."""
  os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
  from ray import cluster_utils

  cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**_NODE, 'include_dashboard': False})
  for _ in range(2):
    _add_node(cluster)
  try:
    yield cluster
  finally:
    cluster.shutdown()


def main(argv: list[str]) -> None:
  del argv
  with _ray_cluster() if _ENGINE.value == 'ray' else contextlib.nullcontext() as cluster:
    scaling = config.Scaling(engine='ray', ray_address=cluster.address) if cluster else config.Scaling()
    for seed in range(_SEED.value, _SEED.value + _ROUNDS.value):
      started = time.monotonic()
      with tempfile.TemporaryDirectory() as folder:
        one = Round(os.path.join(_FOLDER.value or folder, str(seed)), seed, scaling)
        one.cluster = cluster
        one.kill(_KILLS.value)
        one.two_drivers()
        one.flip_bits(_FLIPS.value)
        one.truncated_input()
      print(f'round {seed}: all rows as without a fault, {time.monotonic() - started:.0f} s', flush=True)


if __name__ == '__main__':
  app.run(main)
