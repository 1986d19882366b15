"""Whether the SavedModel says what the trained model says, on real and on hostile texts."""

import os

import numpy as np
import tensorflow as tf

TOLERANCES = {'float32': 1e-5, 'float16': 0.05, 'bfloat16': 0.3}  # By the type of the student's table.
_HOSTILE = (
  b'',
  b' ',
  b'cordless drill',
  b'DeWalt 20V MAX Cordless Drill/Driver Kit (2-Tool)',
  b'a visually stunning film .',
  b'3/4 in. x 8 ft. 1/2"',
  'Straße ÄRGER İstanbul'.encode(),
  'e\u0301 é'.encode(),
  '電動ドリル 充電式'.encode(),
  '🔨🔩'.encode(),
  b'invalid \xff\xfe\xc3( utf-8',
  b'nul \x00 inside',
  b'\x02 \x02',
  b'tab\tnew\nline',
  b'drill ' * 2000,
  b'x' * 20000,
)


def sample(fields: tuple[str, ...], rows: dict[str, np.ndarray] | None, num_rows: int = 256) -> dict[str, np.ndarray]:
  """Texts to compare on: rows of the user's, and hostile ones, each query with three titles.

  Args:
    fields: names of the texts.
    rows: bytes [n] by field, or None.
    num_rows: rows to take of those.

  Returns:
    bytes [m] by field.
  """
  hostile = np.array(_HOSTILE, dtype=object)
  if len(fields) == 1:
    made = {fields[0]: hostile}
  else:
    titles = np.concatenate([np.roll(hostile, by) for by in (0, 1, 5)])
    made = {fields[0]: np.tile(hostile, 3), fields[1]: titles}
  if rows is not None:
    made = {field: np.concatenate([rows[field][:num_rows], values]) for field, values in made.items()}
  return made


def saved_logits(folder: str, texts: dict[str, np.ndarray], batch_size: int = 64) -> np.ndarray:
  """'logit' of a SavedModel's `serving_default`, by batches: float32 [n] or [n, num_classes]."""
  loaded = tf.saved_model.load(folder)
  signature = loaded.signatures['serving_default']
  num_rows = len(next(iter(texts.values())))
  return np.concatenate(
    [
      signature(
        **{field: tf.constant(values[start : start + batch_size], tf.string) for field, values in texts.items()}
      )['logit'].numpy()
      for start in range(0, num_rows, batch_size)
    ]
  )


def check(folder: str, texts: dict[str, np.ndarray], expected: np.ndarray, tolerance: float) -> float:
  """Compares the SavedModel with the trained model.

  Args:
    folder: of the SavedModel.
    texts: bytes [n] by field.
    expected: the trained model's logits, float [n] or [n, num_classes].
    tolerance: largest difference allowed, where logits are above 1 relative to them.

  Returns:
    The largest difference found.

  Raises:
    ValueError: a difference above the tolerance, or a score that is not finite.
  """
  found = saved_logits(folder, texts)
  difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
  comparable = np.where(np.isnan(difference), np.inf, difference)
  worst = int(np.argmax(comparable) // max(1, expected[0].size))
  largest = float(difference.max())
  if not largest <= tolerance:
    shown = {field: bytes(values[worst][:80]) for field, values in texts.items()}
    raise ValueError(
      f'{os.path.dirname(folder)}: the SavedModel gives {found[worst]} where the trained '
      f'model gives {expected[worst]} (texts {shown}, tolerance {tolerance}); try --table_dtype=float32, '
      'and if that differs too, please report it: a bug of the export'
    )
  return largest
