"""Workers on a Ray cluster: actors, one task in flight each. Folders lie where all nodes see them."""

from collections.abc import Callable
from collections.abc import Sequence
import logging
from typing import Any

from b2d.learning import engines
from b2d.learning import local_workers


class Actors:
  """See `engines.Workers`. Each takes a GPU, or a CPU for one TensorFlow thread."""

  def __init__(self, address: str, work: engines.Work, make_state: Callable[[], Any], num_workers: int, on_gpus: bool):
    """Connects to the cluster.

    Args:
      address: of its head; 'auto': as `ray start` or RAY_ADDRESS left it.
      work: see `engines`.
      make_state: see `engines`.
      num_workers: actors at most; 0: as many as the cluster has GPUs, or CPUs.
      on_gpus: whether each takes a GPU, where the cluster has some.

    Raises:
      ValueError: Ray is not installed.
      ConnectionError: there is no cluster.
    """
    try:
      import ray
    except ImportError as error:
      raise ValueError("--engine=ray: expected the package ray, found none; pip install 'b2d[ray]'") from error
    self._ray: Any = ray
    ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level=logging.WARNING)
    resources = ray.cluster_resources()
    gpus = int(resources.get('GPU', 0)) if on_gpus else 0
    self.count = num_workers or gpus or int(resources['CPU'])
    environment = {'TF_CPP_MIN_LOG_LEVEL': '3'} | ({} if gpus else local_workers.tensorflow_threads(1))
    self._actor = ray.remote(_Actor).options(
      num_cpus=1, num_gpus=min(gpus, 1), scheduling_strategy='SPREAD', runtime_env={'env_vars': environment}
    )
    self._arguments = ray.put((work, make_state))
    self._waited_for: dict[Any, Any] = {}  # Reference to what an actor will say → actor.

  def start(self, number: int) -> Any:
    actor: Any = self._actor.remote(self._arguments)
    self._waited_for[actor.make_state.remote()] = actor
    return actor

  def give(self, worker: Any, task: Any) -> None:
    self._waited_for[worker.run.remote(task)] = worker

  def wait(self, timeout_secs: float) -> Sequence[tuple[Any, engines.Event]]:
    said = []
    for reference in self._ray.wait(list(self._waited_for), timeout=timeout_secs)[0]:
      actor = self._waited_for.pop(reference)
      try:
        said += [(actor, event) for event in self._ray.get(reference)]
      except self._ray.exceptions.RayError as error:  # The actor, or its node.
        said.append((actor, engines.Event('died', f'died ({" ".join(str(error).split()[:30])})')))
    return said

  def end(self, worker: Any) -> None:
    self._waited_for = {reference: actor for reference, actor in self._waited_for.items() if actor is not worker}
    self._ray.kill(worker)


class _Actor:
  """A worker; what it says comes with the end of a task."""

  def __init__(self, arguments: tuple[engines.Work, Callable[[], Any]]):
    self._work, self._make_state = arguments
    self._state: Any = None

  def make_state(self) -> list[engines.Event]:
    try:
      self._state = self._make_state()
    except Exception as error:
      return [engines.broken(error)]
    return [engines.Event('ready')]

  def run(self, task: Any) -> list[engines.Event]:
    counts: list[int] = []
    event = engines.attempt(self._work, task, self._state, counts.append)
    return [engines.Event('report', sum(counts)), event]
