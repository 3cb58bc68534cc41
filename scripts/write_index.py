"""Writes the page with which a reader of the run begins (rule write_index)."""

from typing import Any

from hce.files import atomic_path, read_tsv
from hce.jobs.job import job
from hce.report.index_page import build_index

snakemake: Any

TABLES = (
    *("overall", "data_totals", "bootstrap", "decomposition", "calibrated_precision"),
    *("factorial", "type_changes", "per_stratum", "data_types", "audit_studies"),
)

with job(snakemake) as log:
    figures = [
        {**figure, "png": path}
        for figure, path in zip(snakemake.params.figures, snakemake.input.figures, strict=True)
    ]
    page = build_index(
        {name: read_tsv(snakemake.input[name]) for name in TABLES},
        figures,
        snakemake.params.run,
        snakemake.params.note,
        snakemake.params.model,
        snakemake.params.alpha,
    )
    with atomic_path(snakemake.output[0]) as temporary:
        temporary.write_text(page, encoding="utf-8")
        log.info("%s: %.1f MB", snakemake.output[0], temporary.stat().st_size / 1e6)
