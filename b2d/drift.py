r"""Tells whether live rows still look like those that a model was made for; exit code 3 where they do not.

    python -m b2d.drift --model=runs/mine/student --reference=valid.tsv --live='log-today-*.tsv.gz' \
        --teacher=runs/mine/teacher --output_dir=runs/mine/drift

Compares the scores of both sides (population stability index, two-sample Kolmogorov-Smirnov test), of a student the
share of n-grams that it was never trained on, and with --teacher how often both decide alike. Scores made before, as
by b2d.score, need no model: --scores_column=probability. Writes metrics.json and table.md (also on stdout). Exit codes:
0 all within the thresholds, 3 one of them exceeded, 1 an error. Repeated, it measures again what has changed.
"""

from typing import Any

from b2d import config
from flags import binary

_DRIFTED = 3


def show(run_config: config.Drift, result: dict[str, Any]) -> str:
  """Both sides beside each other, as a Markdown table, and the verdict."""
  from b2d.measures import drifting

  return drifting.table(run_config, result)


def exit_code(result: dict[str, Any]) -> int:
  """0, or what a scheduler takes for an alarm."""
  return _DRIFTED if result['exceeded'] else 0


if __name__ == '__main__':
  binary.run(config.Drift, show=show, exit_code=exit_code)
