"""Tests per type and per study whether losses differ from the baseline (rule test_changes)."""

from typing import Any

from hce.files import read_tsv, write_tsv
from hce.job import job
from hce.statistics import paired_changes

snakemake: Any

with job(snakemake) as log:
    for table, value, unit, output in (
        ("per_type", "credited_f1", ["index", "cl_id", "label"], "type_changes"),
        ("per_study", "credited_macro_f1", ["study"], "study_changes"),
    ):
        changes = paired_changes(
            read_tsv(snakemake.input[table]),
            value,
            unit,
            snakemake.params.baseline,
            snakemake.params.alpha,
        )
        write_tsv(changes, snakemake.output[output])
        log.info("%s: %d comparisons", output, len(changes))
        if changes.empty:
            log.warning("no model has both %s and another loss", snakemake.params.baseline)
