"""Lists the genes for and against each type in the linear models of a run (rule list_genes)."""

from typing import Any

from hce.config import named_classes
from hce.files import write_tsv
from hce.jobs.job import job
from hce.models.gene_weights import type_genes
from hce.models.trained_model import TrainedModel, load_model

snakemake: Any

with job(snakemake) as log:
    trusted = named_classes(snakemake.config)
    fits: dict[tuple[str, str], list[TrainedModel]] = {}
    for (model, loss, _), path in zip(snakemake.params.fits, snakemake.input.models, strict=True):
        fits.setdefault((model, loss), []).append(load_model(path, trusted))
    table = type_genes(fits)
    write_tsv(table, snakemake.output[0])
    log.info("%s: %d rows", snakemake.output[0], len(table))
