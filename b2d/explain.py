r"""Tells why a model scored as it did: what the log-odds lose without each word, n-gram and match.

    python -m b2d.explain --model=runs/mine/student --teacher=runs/mine/teacher --query='puppy cushion' \
        --title='Beige Dog Bed' --title='Soccer Ball, Size 5'

Any trained model's words are explained, and a student's n-grams and matches, too. Each is left out by itself, and the
rest scored again: exact, one at a time. What a word contributes is the log-odds with it less those without;
contributions need not add up. Writes nothing; `b2d.load(...).explain(...)` is the same from Python.
"""

from b2d import config
from flags import binary


def show(run_config: config.Explain, result: list) -> str:
  """The rows' explanations, one under the other."""
  from b2d.measures import explaining

  return '\n\n\n'.join(map(explaining.shown, result))


if __name__ == '__main__':
  binary.run(config.Explain, show=show)
