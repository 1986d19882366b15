"""How models are served: what the front tells the model process. Imports no TensorFlow."""

import dataclasses

from serving.local_server import status


@dataclasses.dataclass(frozen=True)
class Options:
  """The settings of the model process.

  Attributes:
    session_config: a ConfigProto in text form.
    session_config_file: the file that it was read from, for errors.
    intra_op_threads: threads within an op; wins over `session_config`, as the server's flag does.
    inter_op_threads: threads across ops, likewise.
    timeout_secs: the longest that one call into a graph may take.
    max_rows: rows (dimension 0 of the inputs, or Examples) that one request may have.
    batching: whether inputs must be as `--enable_batching` needs them: a common dimension 0.
    warmup: whether warm-up records are replayed.
    poll_secs: time between two looks for new versions.
    allow_labels_for_unavailable: whether a new label may name a version that is not loaded.
    start_paths: base paths of the start: a reload may name them.
    reload_root: a reload may name folders under this one, too; '' for none.
  """

  session_config: str = ''
  session_config_file: str = ''
  intra_op_threads: int = 0
  inter_op_threads: int = 0
  timeout_secs: float = 30
  max_rows: int = 10000
  batching: bool = False
  warmup: bool = True
  poll_secs: float = 1
  allow_labels_for_unavailable: bool = False
  start_paths: tuple[str, ...] = ()
  reload_root: str = ''

  def check_rows(self, rows: int) -> None:
    """Raises StatusError for more rows than a request may have."""
    if rows > self.max_rows:
      raise status.invalid_argument(f'Task size {rows} is larger than maximum input batch size {self.max_rows}')
