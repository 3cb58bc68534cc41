"""Annotates one file of annotate.manifest (rule annotate_cells)."""

from typing import Any

from hce.annotate import Options, annotate_file, load_annotator
from hce.config import named_classes
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    options = Options(
        probability=snakemake.params.probability,
        device=snakemake.config["training"]["device"],
        **snakemake.params.options,
    )
    model = load_annotator(snakemake.input.model, trusted=named_classes(snakemake.config))
    annotation = annotate_file(snakemake.input.cells, model, snakemake.output[0], options)
    log.info("%s: %d cells", snakemake.output[0], len(annotation.obs))
