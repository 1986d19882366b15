"""Labels any number of files with a teacher's logits, or imports scores made elsewhere.

    python -m b2d.label --input_files='log-*.tsv.gz' --text_columns=query,title \\
        --teacher_dir=runs/mine/teacher --output_dir=runs/mine/soft_labels
    python -m b2d.label --input_files=llm.csv --text_columns=query,title \\
        --scores_columns=p_relevant --output_dir=runs/mine/llm_labels

A killed run goes on where it was when the command is repeated: it labels only the missing shards.
The folder holds the soft labels (see `soft_labels`), the configuration and metrics.json.
"""

import os

from absl import logging

from b2d import config
from b2d import labeling
from b2d import rows
from b2d import runs
from flags import label_flags


def label(run_config: config.Label) -> dict[str, float]:
  """Runs the whole step, or what is left of it.

  Returns:
    rows, seconds and rows_per_sec; also in metrics.json.

  Raises:
    ValueError: rows, teacher, or run folder are not what the configuration says.
  """
  next(rows.read(rows.expand(run_config.input_files), run_config.rows, 1,
                 run_config.scores_columns))  # A wrong path or column leaves no folder behind.
  folder = runs.start(run_config, 'label')
  finished = runs.finished(folder)
  result = labeling.label(run_config)
  if finished:
    logging.info('%s: finished before, nothing to do', folder)
    return runs.read_json(os.path.join(folder, 'metrics.json'))
  runs.write_metrics(folder, result)
  return result


def main(argv: list[str]) -> None:
  del argv
  run_config = label_flags.parse()
  result = label(run_config)
  print(f'{run_config.output_dir}: {result["rows"]} rows, {result["rows_per_sec"]:.0f} rows/s')


if __name__ == '__main__':
  label_flags.parse.adopt()
  runs.run(main)
