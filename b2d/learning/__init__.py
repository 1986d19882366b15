"""How a model learns: training, labelling, distillation, stacking."""
