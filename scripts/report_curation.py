"""Puts the counts of every filter into one table (rule report_curation)."""

from typing import Any

from hce.curation.report import compare_report, gather_report
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake) as log:
    given = snakemake.input
    report = gather_report(given.releases, given.datasets, given.parts)
    report = compare_report(report, read_tsv(given.published), snakemake.params.steps)
    for row in report[report["equal"] == "different"].itertuples():
        log.warning("%s %s: %d, published %d", row.release, row.quantity, row.value, row.published)
    write_tsv(report, snakemake.output[0])
