"""Reads one part of the chosen cells' counts from a release (rule export_counts)."""

from typing import Any

import numpy as np

from hce.census.counts import CountsReader, part_of
from hce.census.release import open_release, positions_of_genes
from hce.census.retry import Connection
from hce.files import read_parquet
from hce.jobs.job import job
from hce.store.shards import write_shard

snakemake: Any

with job(snakemake) as log:
    ids = read_parquet(snakemake.input.cells, columns=["soma_joinid"])["soma_joinid"]
    shard, shards = int(snakemake.wildcards.shard), snakemake.params.shards
    part = part_of(np.sort(ids.to_numpy()), shard, shards).copy()
    del ids
    genes = positions_of_genes(
        read_parquet(snakemake.input.genes),
        read_parquet(snakemake.input.release_genes),
        snakemake.wildcards.release,
        0.0,  # where the cells were chosen, too few were refused
    )
    uri = snakemake.input.get("soma") or snakemake.params.uri
    # Not among the params: another proxy or timeout makes no other data.
    connection = Connection(**snakemake.config["data"]["connection"])
    with open_release(snakemake.wildcards.release, uri, connection) as release:
        cells = write_shard(snakemake.output.counts, CountsReader(release, genes).blocks(part))
    log.info("%d cells, %d genes", cells, len(genes))
