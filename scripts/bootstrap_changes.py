"""Draws the studies anew: how far the gain depends on them (rule bootstrap_changes)."""

from pathlib import Path
from typing import Any

from hce.evaluation.bootstrap import bootstrap_changes
from hce.files import read_parquet, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    fits = [tuple(fit) for fit in snakemake.params.fits]
    table = bootstrap_changes(
        {fit: read_parquet(path) for fit, path in zip(fits, snakemake.input.counts, strict=True)},
        Hierarchy.load(Path(snakemake.input.hierarchy).parent).reachability,
        snakemake.params.baseline,
        snakemake.params.draws,
        snakemake.params.alpha,
    )
    write_tsv(table, snakemake.output[0])
    single = sorted(set(table.loc[table["studies"] < 2, "set"]))
    if single:
        log.warning("sets of one study, which cannot be drawn anew: %s", ", ".join(single))
