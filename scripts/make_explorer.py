"""Makes the page on which a person walks the ontology (rule make_explorer)."""

from pathlib import Path
from typing import Any

from hce.explorer.data import count_studies, explorer_data
from hce.explorer.page import build_page
from hce.files import atomic_path, read_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy
from hce.ontology.synonyms import read_abbreviations, read_synonyms, together

snakemake: Any

TABLES = (
    *("overall", "per_type", "type_changes", "confusion", "per_stratum", "stratum_changes"),
    *("data_types", "bootstrap", "type_genes"),
)

with job(snakemake) as log:
    data = explorer_data(
        {name: read_tsv(snakemake.input[name]) for name in TABLES},
        Hierarchy.load(Path(snakemake.input.hierarchy).parent).types,
        count_studies(snakemake.input.cells, snakemake.input.datasets),
        snakemake.params.run,
        snakemake.params.note,
        snakemake.params.alpha,
        together(
            read_synonyms(snakemake.input.ontology),
            read_abbreviations(snakemake.input.abbreviations),
        ),
    )
    with atomic_path(snakemake.output[0]) as temporary:
        temporary.write_text(build_page(data), encoding="utf-8")
        log.info("%s: %.1f MB", snakemake.output[0], temporary.stat().st_size / 1e6)
