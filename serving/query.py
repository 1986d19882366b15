"""Scores titles for a query on a running server, best first.

    python -m serving.query --query='cordless drill' --titles='20V drill' --titles='garden hose'
    python -m serving.query --texts=- < lines.txt

With more than two classes, the number of the most probable one stands between its probability and the text.
Applications call `client.rank`.
"""

import sys
import time

from absl import app
from absl import flags

from serving import binary
from serving import client

_QUERY = flags.DEFINE_string('query', None, 'The query whose titles are ranked.')
_TITLES = flags.DEFINE_multi_string('titles', [], 'A title; give it again for each, or - for the lines of stdin.')
_TEXTS = flags.DEFINE_multi_string('texts', [], 'As --titles, for a model of single texts.')
_ADDRESS = flags.DEFINE_string(
  'address', None, 'host:port, for gRPC also unix:path. Left out: localhost:8501, for gRPC localhost:8500.'
)
_GRPC = flags.DEFINE_bool('grpc', False, '--address speaks gRPC.')
_MODEL_NAME = flags.DEFINE_string('model_name', client.MODEL_NAME, 'The name under which the model is served.')
_TIMEOUT_SECS = flags.DEFINE_float('timeout_secs', 10, 'How long to wait for an answer.', lower_bound=0.001)


def main(words: list[str]) -> None:
  if bool(_TITLES.value) == bool(_TEXTS.value) or bool(_TITLES.value) != (_QUERY.value is not None):
    raise app.UsageError('set --query and --titles, or --texts alone')
  texts = _TITLES.value + _TEXTS.value + words  # `--titles a b` leaves the b.
  if texts == ['-']:
    texts = [line.strip() for line in sys.stdin if line.strip()]
  started = time.monotonic()
  ranked = client.rank(
    _QUERY.value,
    texts,
    model_name=_MODEL_NAME.value,
    address=_ADDRESS.value,
    grpc=_GRPC.value,
    timeout_secs=_TIMEOUT_SECS.value,
  )
  milliseconds = (time.monotonic() - started) * 1000
  for item in ranked:
    middle = '' if item.class_index is None else f'\t{item.class_index}'
    print(f'{item.probability:.4f}{middle}\t{item.text}')
  print(f'{len(ranked)} scored in {milliseconds:.1f} ms, connecting included', file=sys.stderr)


if __name__ == '__main__':
  binary.run(main)
