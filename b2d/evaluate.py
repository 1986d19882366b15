r"""Measures models side by side on the same labelled rows.

    python -m b2d.evaluate --models=teacher=runs/mine/teacher,student=runs/mine/student \
        --reference=teacher --files=test.tsv --text_columns=query,title --label_column=label \
        --bootstrap=1000 --output_dir=runs/mine/evaluation

A model is a run folder of b2d.finetune or b2d.distill, or an exported SavedModel. The rows are
streamed: only labels, logits and query numbers stay in memory (with --report or --predictions the texts, too).
Writes metrics.json, table.md (also on stdout) and, for two classes, reliability.png; with --report also report.html,
one file that needs no network, with --predictions predictions.parquet.
"""

from b2d import config
from flags import binary


def show(run_config: config.Evaluate, result: dict) -> str:
  """The models side by side, as a Markdown table."""
  from b2d.measures import comparison

  return comparison.table(result['models'], run_config.reference)


if __name__ == '__main__':
  binary.run(config.Evaluate, show=show)
