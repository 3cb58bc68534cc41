"""Chooses a few studies of a release for a small run (rule choose_studies)."""

from pathlib import Path
from typing import Any

import pandas as pd

from hce.curation.cells import read_studies
from hce.curation.matching import COLUMN_OF
from hce.curation.pilot import choose_studies, keep_studies
from hce.files import write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy

snakemake: Any

with job(snakemake) as log:
    given = snakemake.input
    only_new: dict[str, Any] = {}
    if given.get("known"):
        match = snakemake.params.match
        only_new = {
            "known_studies": read_studies(given.known),
            "types": Hierarchy.load(Path(given.hierarchy).parent).types[match].tolist(),
            "column": COLUMN_OF[match],
        }
    studies = choose_studies(given.cells, **snakemake.params.rule, **only_new)
    for row in studies.itertuples():
        log.info("%s: %d cells, %d types", row.study, row.cells, row.types)
    cells = keep_studies(given.cells, studies["study"].tolist(), snakemake.output.cells)
    steps = [("studies chosen", len(studies)), ("cells of the studies", cells)]
    write_tsv(pd.DataFrame(steps, columns=["quantity", "value"]), snakemake.output.report)
    write_tsv(studies, snakemake.output.studies)
