"""Gathers the studies' vocabularies and numbers their targets (rule relate_vocabularies)."""

from pathlib import Path
from typing import Any

import pandas as pd

from hce.files import write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import ALL_CELLS, KEPT_CELLS, count_kept, describe, make_table

snakemake: Any

with job(snakemake) as log:
    given, wanted = snakemake.input, snakemake.output
    ontology = read_ontology(given.ontology, snakemake.params.sha256)
    hierarchy = Hierarchy.load(Path(given.hierarchy).parent)
    counts, counted = {}, {}
    for release, path in zip(snakemake.params.releases, given.labels, strict=True):
        if release in snakemake.params.kept_only:
            cells = pd.read_parquet(path, columns=["study", "label"])
            counts[release], counted[release] = count_kept(cells, hierarchy.types), KEPT_CELLS
        else:
            counts[release], counted[release] = pd.read_parquet(path), ALL_CELLS
    vocabularies = make_table(counts, ontology, counted)
    targets = Targets.build(vocabularies, hierarchy, ontology, snakemake.params.min_cells)
    write_tsv(vocabularies, wanted.vocabularies)
    targets.save(wanted.targets)
    for release, path in zip(snakemake.params.releases, wanted.reports, strict=True):
        report = describe(vocabularies[vocabularies["release"] == release])
        write_tsv(report, path)
        for row in report.itertuples():
            log.info("%s, %s: %d", release, row.quantity, row.value)
    left = targets.answers.sum() / hierarchy.reachability[targets.labels].sum()
    log.info(
        "%d targets, whose studies leave %.1f %% of the credited answers", len(targets), 100 * left
    )
