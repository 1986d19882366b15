"""Quality against microseconds, each model's name at its point."""

from collections.abc import Sequence
import dataclasses

from matplotlib import figure

_CLAIM_SHARE, _CLAIM_TIMES = 0.97, 150  # BERT2DNN's, of the teacher's accuracy and below BERT-Base.
# Okabe and Ito's colours, which the colour-blind tell apart; the markers tell the same.
_STYLES = {'student': ('#0072B2', 'o'), 'encoder': ('#D55E00', 's'), 'library': ('#555555', '^')}


@dataclasses.dataclass(frozen=True)
class Timing:
  """One row of the benchmark's table; `tokens` is None unless an encoder pads to so many."""

  name: str
  runtime: str
  tokens: int | None
  median_us: float

  @property
  def kind(self) -> str:
    if self.tokens:
      return 'encoder'
    return 'student' if self.runtime == 'C++' else 'library'


@dataclasses.dataclass(frozen=True)
class Quality:
  """What a model of the table is worth, and what the picture calls it."""

  name: str
  auc: float
  label: str


def one_of_each(timings: Sequence[Timing]) -> dict[str, Timing]:
  """One row a model, by its name: C++ before others, then the fewest tokens."""
  best: dict[str, Timing] = {}
  for timing in sorted(timings, key=lambda timing: (timing.runtime != 'C++', timing.tokens or 0)):
    best.setdefault(timing.name, timing)
  return best


def draw(timings: Sequence[Timing], qualities: Sequence[Quality], path: str) -> None:
  """Draws a point for each quality, and a line for each encoder whose quality is not known.

  Raises:
    ValueError: a model was not timed, or no quality is given.
  """
  timing_of = one_of_each(timings)
  missing = [quality.name for quality in qualities if quality.name not in timing_of]
  if missing or not qualities:
    raise ValueError(f'expected the AUC of some of {", ".join(timing_of)}, found {", ".join(missing) or "none"}')
  drawn = figure.Figure(figsize=(8, 4.5), layout='constrained', facecolor='white')
  axes = drawn.subplots()
  low, high = (of(quality.auc for quality in qualities) for of in (min, max))
  room = max(high - low, 0.01) / 8
  for quality in qualities:
    _point(axes, timing_of[quality.name], quality)
  named = {quality.name for quality in qualities}
  for timing in timing_of.values():
    if timing.kind == 'encoder' and timing.name not in named:
      _line(axes, timing, low - room)
  medians = [timing.median_us for timing in timing_of.values()]
  teachers = [quality.auc for quality in qualities if timing_of[quality.name].kind == 'encoder']
  if teachers and 'BERT-Base' in timing_of:
    _claim(axes, timing_of['BERT-Base'].median_us / _CLAIM_TIMES, _CLAIM_SHARE * max(teachers))
  axes.set(
    xscale='log',
    xlim=(min(medians) / 4, max(medians) * 2),
    ylim=(low - 2 * room, high + room),
    xlabel='µs for one row: one thread, median; encoders pad to their fewest tokens',
    ylabel='AUC (dotted: not measured)',
  )
  axes.xaxis.set_major_formatter('{x:,.0f}')
  axes.grid(alpha=0.25)
  axes.spines[['top', 'right']].set_visible(False)
  drawn.savefig(path, dpi=150)


def _claim(axes, most_us, least_auc):
  """The corner in which a student does what the paper says."""
  axes.plot([0, most_us, most_us], [least_auc, least_auc, 1], color='#009E73', linestyle='--', linewidth=1, zorder=1)
  axes.annotate(
    f"the paper's claim: {_CLAIM_SHARE:.0%} of\nthe teacher, {_CLAIM_TIMES} × below\nBERT-Base or better",
    (most_us, 1),
    (-4, -4),
    xycoords=('data', 'axes fraction'),
    textcoords='offset points',
    color='#009E73',
    ha='right',
    va='top',
    fontsize=9,
  )


def _microseconds(timing):
  return f'{timing.median_us:.3g} µs' if timing.median_us < 100 else f'{timing.median_us:,.0f} µs'


def _point(axes, timing, quality):
  color, marker = _STYLES[timing.kind]
  axes.scatter(timing.median_us, quality.auc, color=color, marker=marker, s=60, zorder=3)
  axes.annotate(
    f'{quality.label}\n{quality.auc:.3f}, {_microseconds(timing)}' + ('' if timing.runtime == 'C++' else ', Python'),
    (timing.median_us, quality.auc),
    (0, -8),
    textcoords='offset points',
    color=color,
    ha='center',
    va='top',
    bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 0.5},
  )


def _line(axes, timing, low):
  color, _ = _STYLES[timing.kind]
  axes.axvline(timing.median_us, color=color, linestyle=':', linewidth=1, zorder=1)
  axes.annotate(
    f'{timing.name}, {_microseconds(timing)}',
    (timing.median_us, low),
    (-2, 0),
    textcoords='offset points',
    color=color,
    ha='right',
    va='bottom',
    rotation=90,
    fontsize=9,
  )
