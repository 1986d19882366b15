"""Which versions of which models are loaded: policies, labels, reload and status.

As the server does by default, a new version is loaded and warmed up before the one that it replaces
goes, and a version that cannot be loaded or warmed up leaves the old one serving.
"""

import os
import threading
import time
from typing import Any

from absl import logging
import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from serving.local_server import options as options_lib
from serving.local_server import servable as servable_lib
from serving.local_server import status
from serving.local_server import warmup

_REPEAT_SECS = 60
_State = get_model_status_pb2.ModelVersionStatus.State


class Manager:
  """The loaded versions. Look-ups take no lock; changes happen one at a time.

  Args:
    options: how versions are loaded.
  """

  def __init__(self, options: options_lib.Options):
    self._options = options
    self._changing = threading.Lock()
    self._configs: dict[str, Any] = {}  # name → ModelConfig
    self._labels: dict[str, dict[str, int]] = {}  # name → label → version
    self._serving: dict[str, dict[int, Any]] = {}  # name → version → Servable, replaced and never changed
    self._statuses: dict[str, dict[int, Any]] = {}  # name → version → ModelVersionStatus

  def names(self) -> list[str]:
    """The names of the configured models, in the configuration's order."""
    return list(self._configs)

  def lookup(self, spec: model_pb2.ModelSpec) -> servable_lib.Servable:
    """The version that a request asks for; raises StatusError."""
    if not spec.name:
      raise status.invalid_argument('ModelSpec has no name specified.')
    version = self._requested_version(spec)
    if version is None:
      servable = self.latest(spec.name)
    else:
      servable = self._serving.get(spec.name, {}).get(version)
    if servable is None:
      request = f'Latest({spec.name})' if version is None else f'Specific({spec.name}, {version})'
      raise status.StatusError(grpc.StatusCode.NOT_FOUND, f'Servable not found for request: {request}')
    return servable

  def latest(self, name: str) -> servable_lib.Servable | None:
    """The highest loaded version of a model; None where there is none."""
    loaded = self._serving.get(name)
    return loaded[max(loaded)] if loaded else None

  def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
    """ModelService.GetModelStatus; raises StatusError."""
    states = self._statuses.get(spec.name, {})
    # get_model_status_impl.cc looks at no label.
    version = spec.version.value if spec.HasField('version') else None
    if not states:
      raise status.StatusError(grpc.StatusCode.NOT_FOUND, f'Could not find any versions of model {spec.name}')
    if version is not None and version not in states:
      raise status.StatusError(grpc.StatusCode.NOT_FOUND, f'Could not find version {version} of model {spec.name}')
    wanted = sorted(states, reverse=True) if version is None else [version]
    return get_model_status_pb2.GetModelStatusResponse(model_version_status=[states[number] for number in wanted])

  def reload(self, config: model_server_config_pb2.ModelServerConfig, *, restarted: bool = False) -> None:
    """ModelService.HandleReloadConfigRequest: returns when the models are loaded.

    Args:
      config: the models.
      restarted: whether this process takes over from one that served `config`, labels and all.

    Raises:
      StatusError: the configuration is refused, or a new model did not become available.
    """
    if config.WhichOneof('config') != 'model_config_list':
      raise status.invalid_argument(
        'ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported'
      )
    with self._changing:
      configs = self._checked(list(config.model_config_list.config))
      new = [name for name in configs if name not in self._configs]
      if not restarted:
        self._check_labels(configs)
      self._labels = {name: dict(config.version_labels) for name, config in configs.items()}
      self._configs = configs
      self._update()
      for name, model in configs.items():
        if not self._statuses.get(name):
          logging.warning('%s: no version yet; %s', name, _hint(model.base_path))
      failed = [name for name in new if self._statuses.get(name) and not self._serving.get(name)]
    if failed:
      raise status.StatusError(
        grpc.StatusCode.UNKNOWN, f'Some models did not become available: {{{", ".join(map(self._why, failed))}}}'
      )

  def poll(self) -> None:
    """Looks for new and vanished versions once."""
    with self._changing:
      self._update()

  def _why(self, name):
    return '; '.join(
      f'{name}: {state.version}: {state.status.error_message}' for state in self._statuses[name].values()
    )

  def _requested_version(self, spec):
    choice = spec.WhichOneof('version_choice')
    if choice != 'version_label':
      return spec.version.value if choice else None
    if spec.version_label not in self._labels.get(spec.name, {}):
      raise status.invalid_argument(f'Unrecognized servable version label: {spec.version_label}')
    return self._labels[spec.name][spec.version_label]

  def _checked(self, configs):
    named = {config.name: config for config in configs}
    if len(named) < len(configs):
      twice = max(named, key=[config.name for config in configs].count)
      raise status.invalid_argument(f'Illegal to list model {twice} multiple times in config list')
    for config in configs:
      if config.model_platform != 'tensorflow':
        raise status.invalid_argument(
          f'Model {config.name}: expected model_platform "tensorflow", got "{config.model_platform}"'
        )
      self._check_path(config)
    return named

  def _check_path(self, config):
    path, root = os.path.realpath(config.base_path), self._options.reload_root
    inside = root and os.path.commonpath([path, os.path.realpath(root)]) == os.path.realpath(root)
    if path not in map(os.path.realpath, self._options.start_paths) and not inside:
      raise status.StatusError(
        grpc.StatusCode.PERMISSION_DENIED,
        f'Model {config.name}: a reload may only name the base paths that the server started '
        'with; start it with --reload_root to allow more',
      )

  def _check_labels(self, configs):
    for name, config in configs.items():
      for label, version in config.version_labels.items():
        known = self._labels.get(name, {}).get(label, version) == version
        allowed = self._options.allow_labels_for_unavailable and known
        if not allowed and version not in self._serving.get(name, {}):
          raise status.StatusError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f'Request to assign label to version {version} of model {name}, which is not '
            'currently available for inference',
          )

  def _update(self):
    for name in set(self._serving) - set(self._configs):
      self._retire(name, set(self._serving[name]))
    for name, config in self._configs.items():
      if not tf.io.gfile.isdir(config.base_path):
        # file_system_storage_path_source.cc, PollFileSystemAndInvokeCallback: the poll fails, what is loaded stays.
        logging.log_every_n_seconds(
          logging.ERROR, '%s: could not find base path %s', _REPEAT_SECS, name, config.base_path
        )
        continue
      found = _found_versions(config.base_path)
      aspired = _aspired_versions(found, config.model_version_policy)
      # A broken version is tried again only after it was taken away: it may come back mended.
      broken = {version: state for version, state in self._statuses.get(name, {}).items() if state.status.error_code}
      for version in set(broken) - set(found):
        self._set_state(name, version, _State.END)
      for version in sorted(aspired - set(broken) - set(self._serving.get(name, {}))):
        self._load(name, version, os.path.join(config.base_path, found[version]))
      loaded = set(self._serving.get(name, {}))
      if loaded & aspired or not aspired:
        self._retire(name, loaded - aspired)

  def _load(self, name, version, path):
    self._set_state(name, version, _State.LOADING)
    started = time.monotonic()
    try:
      servable = servable_lib.Servable(name, version, path, self._options)
      records = warmup.replay(servable, path) if self._options.warmup else 0
    except Exception as error:  # the old version serves on
      error = status.from_exception(error)
      logging.error('%s version %d failed to load: %s', name, version, error.message)
      self._set_state(name, version, _State.END, error)
      return
    self._serving = {**self._serving, name: {**self._serving.get(name, {}), version: servable}}
    self._set_state(name, version, _State.AVAILABLE)
    logging.info(
      '%s version %d loaded in %.1f s, %d warm-up requests: %s',
      name,
      version,
      time.monotonic() - started,
      records,
      path,
    )

  def _retire(self, name, versions):
    for version in versions:
      kept = {number: servable for number, servable in self._serving[name].items() if number != version}
      self._serving = {**self._serving, name: kept}
      self._set_state(name, version, _State.END)
      logging.info('%s version %d unloaded', name, version)
    if name not in self._configs:
      self._serving = {key: value for key, value in self._serving.items() if key != name}

  def _set_state(self, name, version, state, error=None):
    message = get_model_status_pb2.ModelVersionStatus(version=version, state=state)
    message.status.SetInParent()  # The server says OK, too.
    if error:
      message.status.error_code = error.code.value[0]
      message.status.error_message = error.message
    states = {**self._statuses.get(name, {}), version: message}
    self._statuses = {**self._statuses, name: states}


def _hint(base_path):
  """What would give a model its first version."""
  if tf.io.gfile.exists(os.path.join(base_path, 'saved_model.pb')):
    return f'{base_path} is itself a version; the base path is its folder: {os.path.dirname(base_path.rstrip("/"))}'
  return f'waiting for a numbered folder, as {os.path.join(base_path, "1")}'


def _found_versions(base_path):
  """Version → the name of its folder."""
  names = [name.rstrip('/') for name in tf.io.gfile.listdir(base_path)]
  return {int(name): name for name in names if name.isascii() and name.isdigit()}


def _aspired_versions(found, policy):
  """Those of the found versions that the policy wants loaded."""
  choice = policy.WhichOneof('policy_choice')
  if choice == 'all':
    return set(found)
  if choice == 'specific':
    return set(found) & set(policy.specific.versions)
  return set(sorted(found)[-(policy.latest.num_versions or 1) :])
