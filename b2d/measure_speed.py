"""Measures training and labelling on this machine: rows a second, text to gradient or logit, and memory.

    python -m b2d.measure_speed --soft_labels=runs/mine/soft_labels --teacher_dir=runs/mine/teacher

Trains a student for an epoch with each size of the table, and labels with the teacher in three ways: as one would
first write it, all texts padded to --padded_length in batches of 32; in batches by length; and those in bfloat16. Each
in one process on all cores (b2d.label has one a core, which is faster), one after the other, so let the machine do
nothing else. A training's figure includes its start: the first steps' tracing and filling the shuffled window. Takes
the flags of the student and its training, too. Prints a table; keeps nothing.
"""

from b2d import config
from flags import binary


def show(run_config: config.MeasureSpeed, measured: list) -> str:
  """What is left to say when the rows have been printed."""
  return f'{len(measured)} ways measured, nothing kept'


def measure_speed(run_config: config.MeasureSpeed) -> list[tuple[str, float, float]]:
  """Runs the step and prints a row of the table as soon as it is measured; see `speed.measure`."""
  from b2d.measures import speed  # Only now: TensorFlow takes seconds to import.

  measured = []
  print('| | rows/s | peak resident MB |\n|---|--:|--:|')
  for what, rows_per_sec, memory in speed.measure(run_config):
    print(f'| {what} | {rows_per_sec:,.0f} | {memory:,.0f} |', flush=True)
    measured.append((what, rows_per_sec, memory))
  return measured


if __name__ == '__main__':
  binary.run(config.MeasureSpeed, measure_speed, show)
