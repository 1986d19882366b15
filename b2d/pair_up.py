"""Makes unlabelled query–title pairs from logged queries and a catalogue of titles.

    python -m b2d.pair_up --queries=queries.tsv --titles=catalog.txt.gz --output_dir=runs/mine/pairs
    python -m b2d.label --input_files=runs/mine/pairs/part-*.parquet --text_columns=query,title ...

A killed run keeps its finished shards when the command is repeated. Real logs of pairs need none of
this: they go straight to b2d.label. The folder holds the shards, manifest.json, the configuration,
and metrics.json: rows by source.
"""

from b2d import config
from flags import binary

if __name__ == '__main__':
  binary.run(config.PairUp)
