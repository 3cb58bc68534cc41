"""Scores the predictions of one fit by the finest types of the cells (rule score_truth)."""

from pathlib import Path
from typing import Any

from hce.evaluation.truth import score_truth
from hce.files import write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology

snakemake: Any

with job(snakemake) as log:
    table = score_truth(
        snakemake.input.predictions,
        snakemake.params.sets,
        snakemake.input.truths,
        snakemake.params.decoders,
        Hierarchy.load(Path(snakemake.input.hierarchy).parent),
        read_ontology(snakemake.input.ontology),
    )
    for position, column in enumerate(("model", "loss", "seed")):
        table.insert(position, column, snakemake.wildcards[column])
    write_tsv(table, snakemake.output[0])
    log.info("%s: %d rows", snakemake.output[0], len(table))
