"""The configurations of the steps: frozen dataclasses, validated when made, to and from JSON.

    from b2d import config
    distill = config.Distill(soft_labels=('runs/labels',), output_dir='runs/student')

Each field carries its own help, so the absl flags (`flags/dataclass_flags.py`), a run's `config.json` and these files
can never disagree. No TensorFlow and no I/O here.
"""

from b2d.config.base import Config
from b2d.config.base import flat_fields
from b2d.config.base import inputs
from b2d.config.base import option
from b2d.config.base import require
from b2d.config.base import to_flat
from b2d.config.columns import Schema
from b2d.config.drift import Drift
from b2d.config.explain import Explain
from b2d.config.groups import Student
from b2d.config.groups import Teacher
from b2d.config.groups import Training
from b2d.config.measure_speed import MeasureSpeed
from b2d.config.pair_up import PairUp
from b2d.config.project_embeddings import ProjectEmbeddings
from b2d.config.recipe import Quickstart
from b2d.config.recipe import Recipe
from b2d.config.scaling_out import Scaling
from b2d.config.score import Score
from b2d.config.steps import Distill
from b2d.config.steps import Evaluate
from b2d.config.steps import Export
from b2d.config.steps import Finetune
from b2d.config.steps import Label
from b2d.config.steps import Stack
from b2d.config.sweep import Growth
from b2d.config.sweep import Sweep

__all__ = (
  'Config',
  'Distill',
  'Drift',
  'Evaluate',
  'Explain',
  'Export',
  'Finetune',
  'Growth',
  'Label',
  'MeasureSpeed',
  'PairUp',
  'ProjectEmbeddings',
  'Quickstart',
  'Recipe',
  'Scaling',
  'Schema',
  'Score',
  'Stack',
  'Student',
  'Sweep',
  'Teacher',
  'Training',
  'flat_fields',
  'inputs',
  'option',
  'require',
  'to_flat',
)
