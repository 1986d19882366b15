r"""Labels any number of files with a teacher's logits, or imports scores made elsewhere.

    python -m b2d.label --input_files='log-*.tsv.gz' --text_columns=query,title \
        --teacher_dir=runs/mine/teacher --output_dir=runs/mine/soft_labels
    python -m b2d.label --input_files=llm.csv --text_columns=query,title \
        --scores_columns=p_relevant --output_dir=runs/mine/llm_labels

A killed run goes on where it was when the command is repeated: it labels only the missing shards.
The folder holds the soft labels (see `soft_labels`), the configuration and metrics.json.
"""

from b2d import config
from b2d import runs
from b2d.data import rows
from b2d.learning import labeling
from flags import label_flags


def label(run_config: config.Label) -> dict[str, float]:
  """Runs the whole step, or what is left of it.

  Returns:
    rows, seconds and rows_per_sec; also in metrics.json.

  Raises:
    ValueError: rows, teacher, or run folder are not what the configuration says.
  """
  return runs.once(run_config, 'label', _label, recheck=True)


def _label(run_config: config.Label) -> dict[str, float]:
  next(
    rows.read(rows.expand(run_config.input_files), run_config.schema, 1, run_config.scores_columns)
  )  # A wrong path or column leaves no folder behind.
  runs.start(run_config, 'label')
  return labeling.label(run_config)


def main(argv: list[str]) -> None:
  del argv
  run_config = label_flags.parse()
  print(runs.summary(run_config.output_dir, label(run_config)))


if __name__ == '__main__':
  label_flags.parse.adopt()
  runs.run(main)
