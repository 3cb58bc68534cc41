"""Puts the training histories of all fits together (rule gather_history)."""

from typing import Any

import pandas as pd

from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    # A run of published checkpoints alone has no histories.
    parts = [pd.DataFrame(columns=["model", "loss", "seed", "epoch"])]
    for (model, loss, seed), path in zip(
        snakemake.params.fits, snakemake.input.histories, strict=True
    ):
        head = {"model": model, "loss": loss, "seed": seed}
        history = read_tsv(path)
        parts.append(history.assign(**head)[[*head, *history.columns]])
    write_tsv(pd.concat(parts[1:] or parts, ignore_index=True), snakemake.output[0])
    log.info("%d fits", len(parts) - 1)
