"""Makes the h5ad of a study from its public originals (rule build_original)."""

from pathlib import Path
from typing import Any

from hce.jobs.job import job
from hce.sources.originals import build_original

snakemake: Any

with job(snakemake):
    parts = dict(zip(snakemake.params.parts, map(Path, snakemake.input), strict=True))
    build_original(snakemake.wildcards.study, parts, snakemake.output[0])
