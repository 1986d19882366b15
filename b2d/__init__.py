"""B2D: distils BERT into a feed-forward student that scores texts in microseconds.

The Python interface; the same steps are binaries, `python -m b2d.distill`:

    import b2d
    from b2d import config

    b2d.run(config.Distill(soft_labels=('runs/mine/soft_labels',), output_dir='runs/mine/student'))
    model = b2d.load('runs/mine/student')
    model.probability(query=['cordless drill'], title=['20V drill'])
"""

import importlib
import os
from typing import Any

from b2d import config

# TensorFlow reads it as it is imported. With the 5 seconds that it would remember the size of a file on gs://, one that
# another process has written anew is cut off at the old size, and one that is gone is there.
os.environ.setdefault('GCS_STAT_CACHE_MAX_AGE', '0')

__all__ = ('load', 'run')
__version__ = '0.1.0'

_LIBRARY = {
  'distill': 'b2d.learning.distillation',
  'drift': 'b2d.measures.drifting',
  'evaluate': 'b2d.measures.evaluation',
  'explain': 'b2d.measures.explaining',
  'export': 'export.saved_model',
  'finetune': 'b2d.learning.finetuning',
  'growth': 'b2d.learning.growing',
  'label': 'b2d.learning.labeling',
  'pair_up': 'b2d.data.pairing',
  'project_embeddings': 'b2d.measures.embeddings',
  'score': 'b2d.learning.scoring',
  'stack': 'b2d.learning.stacking',
  'sweep': 'b2d.learning.sweeping',
}


def run(run_config: config.Config) -> Any:
  """Runs the step that `run_config` configures, or what is left of it.

  Args:
    run_config: one of `config.Finetune`, `PairUp`, `Label`, `Score`, `Stack`, `Distill`, `Evaluate`, `Explain`,
      `Drift`, `ProjectEmbeddings`, `Sweep`, `Growth`, `Export`.

  Returns:
    The step's result: what metrics.json in its folder holds; of an export the version's folder and export.json; of
    Explain the rows' explanations.

  Raises:
    ValueError: data, models or run folder are not what the configuration says.
  """
  return getattr(_module(_LIBRARY[run_config.step]), run_config.step)(run_config)


def load(folder: str, **options: Any) -> Any:
  """The trained model in a folder: see `b2d.models.trained.load`, which takes the same and returns a `Model`."""
  return _module('b2d.models.trained').load(folder, **options)


def _module(name: str) -> Any:
  """A module, imported only now: TensorFlow takes seconds, and --help has no need of it."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # TensorFlow's C++ calls it an error that there is no GPU.
  return importlib.import_module(name)
