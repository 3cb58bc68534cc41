"""Describes the models of a run, each by its first fit (rule describe_models)."""

from typing import Any

from hce.config import named_classes
from hce.files import write_tsv
from hce.jobs.job import job
from hce.models.summary import describe_models
from hce.models.trained_model import load_model

snakemake: Any

with job(snakemake) as log:
    named = zip(snakemake.params.models, snakemake.input.models, strict=True)
    trusted = named_classes(snakemake.config)
    table = describe_models({name: load_model(path, trusted) for name, path in named})
    write_tsv(table, snakemake.output[0])
    log.info("%s", table[["model", "layers", "parameters"]].to_string(index=False))
