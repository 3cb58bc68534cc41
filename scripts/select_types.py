"""Chooses the types and builds their hierarchy (rule select_types)."""

from pathlib import Path
from typing import Any

from hce.curation.cells import read_release_cells
from hce.curation.select import TypeCriteria, check_types, select_types
from hce.files import read_tsv, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, describe_terms, read_ontology

snakemake: Any

with job(snakemake) as log:
    ontology = read_ontology(snakemake.input.ontology, snakemake.params.sha256)
    log.info("ontology %s: %d terms", ontology.version, len(ontology.names))
    cells = read_release_cells(snakemake.input.cells)
    types, report = select_types(cells, ontology, TypeCriteria(**snakemake.params.criteria))
    for row in report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    if expected := snakemake.input.get("expected"):
        check_types(types, read_tsv(expected), expected)
    annotated = cells[["cell_type_ontology_term_id", "cell_type"]].drop_duplicates().astype(str)
    terms = describe_terms(dict(annotated.itertuples(index=False)), ontology)
    log.info("terms of the cells: %s", terms["status"].value_counts().to_dict())
    hierarchy = Hierarchy.build(dict(zip(types["cl_id"], types["label"], strict=True)), ontology)
    hierarchy.save(Path(snakemake.output.hierarchy).parent)
    write_tsv(terms, snakemake.output.terms)
    write_tsv(report, snakemake.output.report)
