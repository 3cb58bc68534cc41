"""Checks and writes the types of the subgraph that Figure 2a shows (rule choose_subgraph)."""

from typing import Any

from hce.figures.subgraph import subgraph_of
from hce.files import read_parquet, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    types = read_parquet(snakemake.input.hierarchy)
    types["parents"] = types["parents"].map(";".join)
    nodes = subgraph_of(types, snakemake.params.subgraph)
    write_tsv(types.loc[types["cl_id"].isin(nodes), ["cl_id", "label"]], snakemake.output[0])
    log.info("%d types at or below %s", len(nodes), snakemake.params.subgraph)
