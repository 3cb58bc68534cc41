"""Puts the scores of the controls together (rule gather_controls)."""

from typing import Any

import pandas as pd

from hce.evaluation.matched_epochs import COLUMNS, matched_epochs
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    controls = snakemake.params.controls  # loss → what it takes for reachability
    parts = [pd.DataFrame(columns=COLUMNS)]
    for path in snakemake.input.scores:
        scores = read_tsv(path)
        parts.append(scores.assign(control=scores["loss"].map(controls))[COLUMNS])
    if snakemake.input.history:
        matched = matched_epochs(
            read_tsv(snakemake.input.history),
            snakemake.params.baseline,
            snakemake.params.compared,
        )
        if matched.empty:
            log.warning("matched_epochs finds no model and seed with both losses")
        parts.append(matched)
    table = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
    write_tsv(table, snakemake.output[0])
    log.info("%d scores", len(table))
