"""Writes the summary of a run, published against reproduced (rule write_summary)."""

from typing import Any

from hce.files import atomic_path, read_tsv
from hce.jobs.job import job
from hce.report.summary import summarise

snakemake: Any

INPUTS = (
    "overall",
    "type_changes",
    "stratum_changes",
    "data_totals",
    "report",
    "published",
    "audit",
    "factorial",
    "calibrated_precision",
    "bootstrap",
    "decomposition",
    "controls",
)

with job(snakemake) as log:
    tables = {name: read_tsv(snakemake.input[name]) for name in INPUTS}
    for name in ("augmentation", "published_results"):
        if snakemake.input[name]:
            tables[name] = read_tsv(snakemake.input[name])
    text = summarise(
        tables,
        snakemake.params.run,
        snakemake.params.fits,
        snakemake.params.note,
        snakemake.params.alpha,
        snakemake.params.model,
    )
    with atomic_path(snakemake.output[0]) as temporary:
        temporary.write_text(text, encoding="utf-8")
    log.info("%s written", snakemake.output[0])
