"""Chooses the genes of the models (rule select_genes)."""

from typing import Any

import pandas as pd

from hce.curation.gene_list import read_gene_names
from hce.curation.select import select_genes
from hce.files import atomic_path, check_sha256, read_parquet, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    release_genes = read_parquet(snakemake.input.genes)
    names = None
    if snakemake.input.get("names"):
        check_sha256(snakemake.input.names, snakemake.params.sha256, "data.genes_sha256")
        names = read_gene_names(snakemake.input.names)
    # Not among the params, here and in other rules: it only refuses, and makes no other data.
    genes = select_genes(release_genes, names, snakemake.config["data"]["min_genes"])
    log.info("%d of the release's %d genes", len(genes), len(release_genes))
    with atomic_path(snakemake.output.genes) as temporary:
        genes.to_parquet(temporary, index=False)
    steps = [("genes of the release", len(release_genes)), ("genes", len(genes))]
    if names is not None:
        missing = set(names) - set(release_genes["feature_name"])
        log.info("gene names that the release lacks: %s", ", ".join(sorted(missing)) or "none")
        steps += [("gene names asked for", len(set(names))), ("names not found", len(missing))]
    write_tsv(pd.DataFrame(steps, columns=["quantity", "value"]), snakemake.output.report)
