"""Lists model files with their checksums, for `hce models --get` (rule list_models)."""

from typing import Any

from hce.annotate.cache import list_models
from hce.files import write_tsv
from hce.jobs.job import job

snakemake: Any

with job(snakemake):
    write_tsv(list_models(snakemake.input), snakemake.output[0])
