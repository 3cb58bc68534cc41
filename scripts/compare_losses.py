"""Tests per type and per stratum whether losses differ from the baseline (rule compare_losses)."""

from typing import Any

import pandas as pd

from hce.evaluation.statistics import all_changes
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    baseline, alpha = snakemake.params.baseline, snakemake.params.alpha
    per_type = read_tsv(snakemake.input.per_type)
    types = all_changes(per_type, "f1", ["index", "cl_id", "label"], baseline, alpha)
    strata = pd.concat(
        [
            # Strata of one kind are a family; studies and tissues are the same cells twice.
            all_changes(rows, "macro_f1", ["kind", "stratum"], baseline, alpha)
            for _, rows in read_tsv(snakemake.input.per_stratum).groupby("kind", sort=False)
        ],
        ignore_index=True,
    )
    for name, changes in (("type_changes", types), ("stratum_changes", strata)):
        write_tsv(changes, snakemake.output[name])
        log.info("%s: %d comparisons", name, len(changes))
        if changes.empty:
            log.warning("no model has both %s and another loss", baseline)
