"""Reads one part of the chosen cells' counts from a release (rule export_counts)."""

from typing import Any

import numpy as np
import pandas as pd

from hce.census import CountsReader, open_release, positions_of_genes
from hce.job import job
from hce.store import write_shard

snakemake: Any

with job(snakemake) as log:
    ids = pd.read_parquet(snakemake.input.cells, columns=["soma_joinid"])["soma_joinid"]
    part = np.array_split(np.sort(ids.to_numpy()), snakemake.params.shards)
    genes = positions_of_genes(
        pd.read_parquet(snakemake.input.genes), pd.read_parquet(snakemake.input.release_genes)
    )
    uri = snakemake.input.get("soma") or snakemake.params.uri
    with open_release(snakemake.wildcards.release, uri) as release:
        blocks = CountsReader(release, genes).blocks(part[int(snakemake.wildcards.shard)])
        cells = write_shard(snakemake.output[0], blocks)
    log.info("%d cells, %d genes", cells, len(genes))
