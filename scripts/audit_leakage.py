"""Audits the new studies of one release (rule audit_leakage)."""

from typing import Any

import numpy as np
import pandas as pd

from hce.census.release import open_release, positions_of_genes
from hce.census.retry import Connection
from hce.curation.cells import read_studies
from hce.curation.gene_list import read_gene_names
from hce.files import atomic_path, read_parquet, write_tsv
from hce.jobs.job import job
from hce.leakage.audit import (
    AUDITED_COLUMNS,
    audit_set,
    collections_of,
    withdrawn_studies,
)
from hce.leakage.duplicates import identical_cells, read_totals
from hce.leakage.matching import (
    compare_matching,
    compare_totals,
    features_beyond,
    read_raw_sums,
    sample_totals,
    summarise_matching,
)
from hce.ontology import Hierarchy
from hce.sets import REFERENCE_SETS
from hce.store.cell_store import CellStore

snakemake: Any

with job(snakemake) as log:
    given, wanted, params = snakemake.input, snakemake.output, snakemake.params
    cells = read_parquet(given.cells, columns=AUDITED_COLUMNS)
    cells = cells[cells["set"] == snakemake.wildcards.set].reset_index(drop=True)
    genes, release_genes = read_parquet(given.genes), read_parquet(given.release_genes)
    names = read_gene_names(given.names) if given.get("names") else None
    further = features_beyond(genes, release_genes, names)
    uri, connection = (
        given.get("soma") or params.uri,
        Connection(**snakemake.config["data"]["connection"]),
    )
    with open_release(params.release, uri, connection) as release:
        raw_sums = read_raw_sums(release, cells)
        beyond = sample_totals(release, further, cells)

    stores = [CellStore.open(path) for path in (*given.reference_stores, given.store)]
    totals = read_totals(stores[-1])
    shared = positions_of_genes(genes, release_genes, params.release, min_share=0) >= 0
    comparable = all(store.manifest["values"] == "counts" for store in stores)
    groups = None
    if comparable:
        groups = identical_cells(stores, None if shared.all() else shared, len(REFERENCE_SETS))
        log.info("%d cells have an equal", len(groups))

    reference = read_parquet(given.reference_cells, columns=AUDITED_COLUMNS)
    known, datasets = read_parquet(given.known), read_parquet(given.datasets)
    found = audit_set(
        reference,
        cells,
        collections_of(known, datasets),
        datasets,
        groups,
        params.reasons,
        params.redeposit_share,
    )
    shares = compare_totals(cells, totals, raw_sums, beyond, len(further))
    studies = found.studies.merge(shares, on="study", how="left", validate="1:1")
    withdrawn = withdrawn_studies(reference, known, datasets)
    types = Hierarchy.load(given.hierarchy.rsplit("/", 1)[0]).types
    annotations = compare_matching(given.release_cells, read_studies(given.not_new), types)
    gone = [
        (f"{name} cells of withdrawn studies", withdrawn[name].sum()) for name in REFERENCE_SETS
    ]
    steps = [
        ("withdrawn studies", len(withdrawn)),
        *gone,
        ("models' genes that the release lacks", int((~shared).sum())),
        ("features that match by name only", len(further)),
        ("share of all counts in the models' genes", studies["share_of_all_median"].median()),
        ("share of counts matched by name", studies["share_of_named_median"].median()),
    ]
    summary = pd.concat(
        [
            found.summary,
            summarise_matching(annotations),
            pd.DataFrame(steps, columns=["quantity", "value"]).astype({"value": np.float64}),
        ]
    )
    for row in summary.itertuples():
        log.info("%s: %g", row.quantity, row.value)

    with atomic_path(wanted.cells) as temporary:
        found.cells.to_parquet(temporary, index=False)
    tables = {
        "studies": studies,
        "withdrawn": withdrawn,
        "annotations": annotations[annotations["by_label"] != annotations["by_id"]],
        "summary": summary,
    }
    for name, table in tables.items():
        table.insert(0, "release", params.release)
        table.insert(1, "set", snakemake.wildcards.set)
        write_tsv(table, wanted[name])
