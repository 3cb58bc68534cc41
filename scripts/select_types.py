"""Chooses the types and builds their hierarchy (rule select_types)."""

from pathlib import Path
from typing import Any

from hce.curation import TypeCriteria, read_release_cells, select_types
from hce.files import write_tsv
from hce.job import job
from hce.ontology import Hierarchy, read_ontology

snakemake: Any

with job(snakemake) as log:
    ontology = read_ontology(snakemake.input.ontology, snakemake.params.sha256)
    log.info("ontology %s: %d terms", ontology.version, len(ontology.names))
    types, report = select_types(
        read_release_cells(snakemake.input.cells),
        ontology,
        TypeCriteria(**snakemake.params.criteria),
    )
    for row in report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    hierarchy = Hierarchy.build(dict(zip(types["cl_id"], types["label"], strict=True)), ontology)
    hierarchy.save(Path(snakemake.output.hierarchy).parent)
    write_tsv(report, snakemake.output.report)
