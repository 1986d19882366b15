"""One loaded version of a model: a `tf.compat.v1.Session` over its SavedModel, as in the C++ server."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
import tensorflow_text  # noqa: F401  # registers the ops that stock servers link

from serving import server_config
from serving.local_server import options as options_lib
from serving.local_server import status


def session_config(options: options_lib.Options) -> config_pb2.ConfigProto:
  """The sessions' configuration; raises ValueError where it is none."""
  config = server_config.parse(options.session_config, options.session_config_file, config_pb2.ConfigProto)
  config.intra_op_parallelism_threads = options.intra_op_threads
  config.inter_op_parallelism_threads = options.inter_op_threads
  return config


class Servable:
  """A session, and its prepared calls: one for each choice of fetches. Thread-safe.

  Attributes:
    name: the model's name.
    version: its version.
    options: what a request may ask for.
    signatures: name → SignatureDef.
  """

  def __init__(self, name: str, version: int, path: str, options: options_lib.Options):
    self.name = name
    self.version = version
    self.options = options
    graph = tf.Graph()
    self._session = tf.compat.v1.Session(graph=graph, config=session_config(options))
    with graph.as_default():
      loaded = tf.compat.v1.saved_model.loader.load(self._session, ['serve'], path)
    self.signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=loaded.signature_def).signature_def
    self._run_options = config_pb2.RunOptions(timeout_in_ms=int(options.timeout_secs * 1000))
    self._callables: dict[tuple, Any] = {}

  def run(self, feeds: dict[str, np.ndarray], fetches: tuple[str, ...]) -> list[np.ndarray]:
    """Runs the graph.

    Args:
      feeds: tensor name → value.
      fetches: tensor names.

    Returns:
      The fetched values, in order.

    Raises:
      StatusError: the graph's own error.
    """
    # Not Session.run: in Python that compares a feed's shape with the signature's, and would hide
    # what a request of the wrong rank does to the graph in the C++ server. It takes longer, too.
    key = (tuple(feeds), fetches)
    if key not in self._callables:
      options = config_pb2.CallableOptions(feed=feeds, fetch=fetches, run_options=self._run_options)
      make_callable = self._session._make_callable_from_options
      self._callables[key] = make_callable(options)
    try:
      return self._callables[key](*feeds.values())
    except UnicodeDecodeError as error:  # The graph's message quotes a text that is not UTF-8.
      raise status.invalid_argument(error.object.decode('utf-8', 'replace')) from None
    except tf.errors.OpError as error:
      raise status.from_exception(error) from None
