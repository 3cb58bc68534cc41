"""Reads types, genes, cells and their split from the published scTab store (rule read_sctab)."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from hce.curation.gene_list import read_gene_names
from hce.files import atomic_path, read_tsv, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, describe_terms, read_ontology
from hce.sources.sctab import SETS, identify_types, open_archive, read_cells
from hce.sources.sctab_comparison import compare, describe_types

snakemake: Any

with job(snakemake) as log:
    given, wanted = snakemake.input, snakemake.output
    archive = open_archive(given.archive)
    with atomic_path(wanted.augmentations) as temporary:
        shutil.copyfile(archive.augmentations(), temporary)
    ontology = read_ontology(given.ontology, snakemake.params.sha256)
    published = read_tsv(given.types)
    known = dict(zip(published["label"], published["cl_id"], strict=True))
    ids = identify_types(archive.types, known, ontology)
    hierarchy = Hierarchy.build(ids, ontology)
    cells = pd.concat(
        [read_cells(archive, name, hierarchy.labels) for name in SETS], ignore_index=True
    ).astype({"set": "category"})
    types = describe_types(archive, hierarchy, cells)
    comparison = compare(
        archive,
        hierarchy,
        types,
        cells,
        list(known),
        read_gene_names(given.names) if given.get("names") else None,
        read_tsv(given.published),
    )
    for row in comparison[comparison["verdict"] == "different"].itertuples():
        log.warning("%s, %s: %s, expected %s", row.quantity, row.item, row.archive, row.expected)

    hierarchy.save(Path(wanted.hierarchy).parent)
    write_tsv(describe_terms(ids, ontology), wanted.terms)
    for table, path in (
        (archive.genes, wanted.genes),
        (cells, wanted.cells),
        (types, wanted.types),
    ):
        with atomic_path(path) as temporary:
            table.to_parquet(temporary, index=False)
    write_tsv(comparison, wanted.comparison)
    sizes = cells["set"].value_counts()
    reports = {
        wanted.types_report: [("types", len(types))],
        wanted.genes_report: [("genes", len(archive.genes))],
        wanted.split_report: [
            ("donors", cells["donor"].nunique()),
            ("studies", cells["study"].nunique()),
            *((f"{name} cells", sizes[name]) for name in SETS),
            ("cells after the cut", len(cells)),
        ],
    }
    for path, steps in reports.items():
        for quantity, value in steps:
            log.info("%s: %d", quantity, value)
        write_tsv(pd.DataFrame(steps, columns=["quantity", "value"]), path)
