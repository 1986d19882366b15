"""Makes unlabelled query–title pairs from logged queries and a catalogue of titles.

    python -m b2d.pair_up --queries=queries.tsv --titles=catalog.txt.gz --output_dir=runs/mine/pairs
    python -m b2d.label --input_files=runs/mine/pairs/part-*.parquet --text_columns=query,title ...

A killed run keeps its finished shards when the command is repeated. Real logs of pairs need none of
this: they go straight to b2d.label. The folder holds the shards, manifest.json, the configuration,
and metrics.json: rows by source.
"""

from b2d import config
from b2d import runs
from b2d.data import pairing
from flags import pair_up_flags


def pair_up(settings: config.PairUp) -> dict[str, int]:
  """Runs the whole step, or what is left of it.

  Returns:
    The number of rows by source and in all; also in metrics.json.

  Raises:
    ValueError: queries, titles, or run folder are not what the configuration says.
  """
  return runs.once(settings, 'pair_up', _pair_up, recheck=True)


def _pair_up(settings: config.PairUp) -> dict[str, int]:
  inputs = pairing.load(settings)
  return pairing.write(inputs, settings, runs.start(settings, 'pair_up'))


def main(argv: list[str]) -> None:
  del argv
  settings = pair_up_flags.parse()
  print(runs.summary(settings.output_dir, pair_up(settings)))


if __name__ == '__main__':
  pair_up_flags.parse.adopt()
  runs.run(main)
