"""Which arithmetic the teacher computes in: float32 or bfloat16, whichever is the faster on this processor.

Where a processor has instructions for bfloat16 it is up to twice as fast. Where it has none (AVX2 alone), `tf.einsum`,
which is what the encoder's dense layers are, takes 22 to 33 times as long as in float32.
"""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import time
from typing import Any

from absl import logging
import tensorflow as tf

from b2d import config

_SLOW_RATIO = 2.0  # Of one layer's times; from here on nothing else need be timed.
_ROUNDS = 3


def choose(make_calls: Callable[[], Mapping[str, Callable[[], Any]]]) -> str:
  """The faster one of `config.groups.PRECISIONS`, by a moment's timing, said in one line.

  Args:
    make_calls: () → a small piece of the work in each precision. Not called where one layer tells already: that piece
      could take a minute there.
  """
  ratio = _layer_ratio()
  if ratio >= _SLOW_RATIO:
    logging.info(
      '--precision=auto: float32; a dense layer in bfloat16 takes %.0f times as long on this processor', ratio
    )
    return 'float32'
  seconds = _best_seconds(make_calls())
  chosen = min(seconds, key=seconds.__getitem__)
  logging.info(
    '--precision=auto: %s; a small batch takes %s',
    chosen,
    ', '.join(f'{1e3 * value:.0f} ms in {name}' for name, value in seconds.items()),
  )
  return chosen


def warn_if_slow(precision: str) -> None:
  """Says what bfloat16 costs where it is slow."""
  if precision == 'bfloat16' and (ratio := _layer_ratio()) >= _SLOW_RATIO:
    logging.warning(
      'precision bfloat16: a dense layer takes %.0f times as long as in float32 on this processor; --precision=auto, '
      'in another --output_dir, takes the faster one',
      ratio,
    )


@functools.cache  # The processor stays the same.
def _layer_ratio() -> float:
  """bfloat16's time over float32's, of a dense layer as the encoder has it."""

  @tf.function(autograph=False)
  def layer(inputs, kernel):
    return tf.einsum('abc,cd->abd', inputs, kernel)

  def call(precision):
    inputs, kernel = (tf.ones(shape, precision) for shape in ([16, 32, 384], [384, 1536]))
    return lambda: layer(inputs, kernel).numpy()

  seconds = _best_seconds({precision: call(precision) for precision in config.groups.PRECISIONS})
  return seconds['bfloat16'] / seconds['float32']


def _best_seconds(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
  """The shortest time of each, taken in turns: the machine may have other work, too."""
  for call in calls.values():
    call()  # Traces.
  seconds = dict.fromkeys(calls, float('inf'))
  for _ in range(_ROUNDS):
    for name, call in calls.items():
      started = time.perf_counter()
      call()
      seconds[name] = min(seconds[name], time.perf_counter() - started)
  return seconds
