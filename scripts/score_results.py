"""Scores the authors' own predictions (rule score_results)."""

from pathlib import Path
from typing import Any

from hce.evaluation.published_results import read_own_cells, score_file
from hce.files import check_sha256, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets

snakemake: Any

with job(snakemake) as log:
    given, params, fit = snakemake.input, snakemake.params, snakemake.wildcards
    check_sha256(given.results, params.sha256, "published.sha256")
    table = score_file(
        given.results,
        read_own_cells(given.cells, params.set),
        Path(given.cells).stem,
        Hierarchy.load(Path(given.hierarchy).parent),
        Targets.load(given.targets),
    )
    columns = {
        "name": fit.name, "model": params.model, "loss": fit.loss, "seed": fit.seed,
        "set": params.set,
    }  # fmt: skip
    for position, (column, value) in enumerate(columns.items()):
        table.insert(position, column, value)
    write_tsv(table, snakemake.output[0])
