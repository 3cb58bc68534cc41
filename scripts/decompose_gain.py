"""Divides the credited gain of a loss into its parts (rule decompose_gain)."""

from pathlib import Path
from typing import Any

from hce.evaluation.decomposition import decompose
from hce.files import read_parquet, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    params = snakemake.params
    hierarchy = Hierarchy.load(Path(snakemake.input.hierarchy).parent)
    fits = zip(params.fits, snakemake.input.counts, strict=True)
    table = decompose(
        {tuple(fit): read_parquet(path) for fit, path in fits},
        hierarchy.reachability,
        hierarchy.types,
        params.baseline,
        params.compared,
        params.draws,
        params.alpha,
    )
    write_tsv(table, snakemake.output[0])
    if table.empty:
        log.warning(
            "no gain to divide: it takes %s and %s with the decoders argmax and ancestor_sum",
            *(params.baseline, params.compared),
        )
