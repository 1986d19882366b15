"""What the gRPC and the REST front do alike: admit a request, run it in a thread, count it."""

import asyncio
import concurrent.futures
import threading
import time
from typing import Any, Callable

import grpc

from serving import inference
from serving import metrics as metrics_lib
from serving import status
from serving import versions


class Engine:
  """Runs requests.

  Args:
    manager: the loaded versions.
    limits: what one request may ask for.
    timeout_secs: the longest that a request may take.
    max_concurrent: how many requests are under way at most; one more is UNAVAILABLE.
  """

  def __init__(self, manager: versions.Manager, limits: inference.Limits, timeout_secs: float,
               max_concurrent: int):
    self.manager = manager
    self.limits = limits
    self.metrics = metrics_lib.Metrics()
    self._timeout_secs = timeout_secs
    self._slots = threading.BoundedSemaphore(max_concurrent)
    self._threads = concurrent.futures.ThreadPoolExecutor(max_concurrent, 'request')

  async def submit(self, handle: Callable[[float], Any], model_name: str, api: str, entrypoint: str,
                   timeout_secs: float | None = None) -> Any:
    """Runs `handle(deadline)` in a thread.

    Args:
      handle: gets the deadline on the clock of `time.monotonic` and returns the answer.
      model_name: for the metrics.
      api: 'Predict', 'Classify' and so on, for the metrics.
      entrypoint: 'GRPC' or 'REST', for the metrics.
      timeout_secs: what the client allows, if it says; at most the server's own limit counts.

    Returns:
      What `handle` returns.

    Raises:
      StatusError: `handle`'s, or UNAVAILABLE.
    """
    started = time.monotonic()
    code = 'OK'
    try:
      if not self._slots.acquire(blocking=False):
        raise status.StatusError(
            grpc.StatusCode.UNAVAILABLE,
            'The batch scheduling queue to which this task was submitted is full')
      limit_secs = min(self._timeout_secs, timeout_secs or self._timeout_secs)
      future = self._threads.submit(handle, started + limit_secs)
      # Not when the caller goes away, but when the thread is free again.
      future.add_done_callback(lambda _: self._slots.release())
      return await asyncio.wrap_future(future)
    except status.StatusError as error:
      code = error.code.name
      raise
    except Exception:
      code = 'INTERNAL'
      raise
    finally:
      if model_name in self.manager.names():
        self.metrics.record(
            model_name, api, entrypoint, code, (time.monotonic() - started) * 1e6)
