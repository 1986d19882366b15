"""The flags of b2d.quickstart."""

from absl import flags

OUTPUT_DIR = flags.DEFINE_string('output_dir', 'runs/quickstart', 'Folder of the shop and of all runs.')
