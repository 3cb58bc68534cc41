"""Makes a model file of a published checkpoint (rule read_checkpoint)."""

from pathlib import Path
from typing import Any

import pandas as pd

from hce.files import check_sha256, read_parquet, write_tsv
from hce.jobs.job import job
from hce.models.published_checkpoints import convert_checkpoint
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets

snakemake: Any

with job(snakemake) as log:
    check_sha256(snakemake.input.checkpoint, snakemake.params.sha256, "published.sha256")
    hierarchy = Hierarchy.load(Path(snakemake.input.hierarchy).parent)
    targets = Targets.load(snakemake.input.targets)
    cells = read_parquet(
        snakemake.input.cells, columns=["study", "label"], filters=[("set", "==", "train")]
    )
    trained_on = targets.of_cells(
        snakemake.params.release, cells["study"], cells["label"].to_numpy()
    )
    convert_checkpoint(
        snakemake.input.checkpoint,
        snakemake.output.model,
        snakemake.params.model,
        snakemake.params.loss,
        read_parquet(snakemake.input.genes)[["feature_id", "feature_name"]],
        hierarchy,
        seed=int(snakemake.wildcards.seed),
        mean_reachability=targets.mean_reachability(trained_on, hierarchy.reachability),
    )
    # Of its training nothing is known here.
    write_tsv(pd.DataFrame(columns=["epoch"]), snakemake.output.history)
    log.info("%s: read %s", snakemake.output.model, snakemake.input.checkpoint)
