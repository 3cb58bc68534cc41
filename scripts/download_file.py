"""Downloads a file and checks it (rules download_ontology, download_genes)."""

from typing import Any

from hce.download import download
from hce.jobs.job import job

snakemake: Any

with job(snakemake):
    download(snakemake.params.url, snakemake.output[0], snakemake.params.sha256)
