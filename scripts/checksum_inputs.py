"""Hashes the files that the data of a run were made from (rule checksum_inputs)."""

from typing import Any

from hce.files import write_tsv
from hce.jobs.job import job
from hce.report.file_hashes import hash_files

snakemake: Any

with job(snakemake) as log:
    inputs = {name: paths for name, paths in snakemake.input.items() if paths}
    table = hash_files({k: [v] if isinstance(v, str) else v for k, v in inputs.items()})
    write_tsv(table, snakemake.output[0])
    log.info("%s: %d files", snakemake.output[0], len(table))
