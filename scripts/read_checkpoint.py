"""Makes a model file of a published checkpoint (rule read_checkpoint)."""

from pathlib import Path
from typing import Any

import pandas as pd

from hce.files import check_sha256, write_tsv
from hce.jobs.job import job
from hce.models.published_checkpoints import convert_checkpoint
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    check_sha256(snakemake.input.checkpoint, snakemake.params.sha256, "published.sha256")
    convert_checkpoint(
        snakemake.input.checkpoint,
        snakemake.output.model,
        snakemake.params.model,
        snakemake.params.loss,
        pd.read_parquet(snakemake.input.genes)[["feature_id", "feature_name"]],
        Hierarchy.load(Path(snakemake.input.hierarchy).parent),
        seed=int(snakemake.wildcards.seed),
    )
    # Of its training nothing is known here.
    write_tsv(pd.DataFrame(columns=["epoch"]), snakemake.output.history)
    log.info("%s: read %s", snakemake.output.model, snakemake.input.checkpoint)
