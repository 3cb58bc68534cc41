"""Keeps the configuration as resolved beside the results (rule write_config)."""

from typing import Any

import yaml

from hce.files import atomic_path
from hce.jobs.job import job

snakemake: Any

with job(snakemake), atomic_path(snakemake.output[0]) as temporary:
    text = yaml.safe_dump(snakemake.params.config, sort_keys=False, allow_unicode=True)
    temporary.write_text(text, encoding="utf-8")
