"""Gathers the vocabularies of a release and numbers their targets (rule relate_vocabularies)."""

from pathlib import Path
from typing import Any

from hce.files import read_parquet, write_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import ALL_CELLS, KEPT_CELLS, count_kept, describe, make_table

snakemake: Any

with job(snakemake) as log:
    given, wanted = snakemake.input, snakemake.output
    release = snakemake.wildcards.release
    ontology = read_ontology(given.ontology, snakemake.params.sha256)
    hierarchy = Hierarchy.load(Path(given.hierarchy).parent)
    if snakemake.params.kept_only:
        cells = read_parquet(given.labels, columns=["study", "label"])
        counts, counted = count_kept(cells, hierarchy.types), KEPT_CELLS
    else:
        counts, counted = read_parquet(given.labels), ALL_CELLS
    vocabularies = make_table(counts, ontology, release, counted)
    targets = Targets.build(vocabularies, hierarchy, ontology, snakemake.params.min_cells)
    report = describe(vocabularies)
    write_tsv(vocabularies, wanted.vocabularies)
    targets.save(wanted.targets)
    write_tsv(report, wanted.report)
    for row in report.itertuples():
        log.info("%s: %d", row.quantity, row.value)
    left = targets.answers.sum() / hierarchy.reachability[targets.labels].sum()
    log.info(
        "%d targets, whose studies leave %.1f %% of the credited answers", len(targets), 100 * left
    )
