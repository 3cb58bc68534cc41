"""Scores the predictions of one fit (rule score_fit)."""

from pathlib import Path
from typing import Any

from hce.evaluation.scoring import TABLES, score_fit
from hce.files import atomic_path, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets

snakemake: Any

with job(snakemake) as log:
    tables, counts = score_fit(
        snakemake.input.predictions,
        snakemake.params.sets,
        snakemake.params.decoders,
        snakemake.input.cells,
        Hierarchy.load(Path(snakemake.input.hierarchy).parent),
        Targets.load(*snakemake.input.targets),
        {Path(path).stem: path for path in snakemake.input.audits},
    )
    wildcards = snakemake.wildcards
    for name in TABLES:
        table = tables[name]
        for position, column in enumerate(("model", "loss", "seed")):
            table.insert(position, column, wildcards[column])
        write_tsv(table, snakemake.output[name])
        log.info("%s: %d rows", snakemake.output[name], len(table))
    with atomic_path(snakemake.output.study_counts) as temporary:
        counts.to_parquet(temporary, index=False)
