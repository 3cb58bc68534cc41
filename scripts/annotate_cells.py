"""Annotates one file of annotate.manifest (rule annotate_cells)."""

from typing import Any

from hce.annotate import Options, annotate_file
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    options = Options(
        probability=snakemake.params.probability,
        device=snakemake.config["training"]["device"],
        **snakemake.params.options,
    )
    annotation = annotate_file(
        snakemake.input.cells, snakemake.input.model, snakemake.output[0], options
    )
    log.info("%s: %d cells", snakemake.output[0], len(annotation.obs))
