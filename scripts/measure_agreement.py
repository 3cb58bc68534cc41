"""Measures how far studies agree on the labels of the same cells (rule measure_agreement)."""

from pathlib import Path
from typing import Any

from hce.census.release import open_release
from hce.census.retry import Connection
from hce.files import write_tsv
from hce.jobs.job import job
from hce.leakage.agreement import (
    agreement_table,
    find_candidates,
    pair_labels,
    relate_pairs,
    same_cells,
    score_pairs,
)
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.targets import Targets

snakemake: Any

with job(snakemake) as log:
    given, name = snakemake.input, snakemake.wildcards.release
    hierarchy = Hierarchy.load(Path(given.hierarchy).parent)
    ontology = read_ontology(given.ontology, snakemake.params.sha256)
    uri = given.get("soma") or snakemake.params.uri
    connection = Connection(**snakemake.config["data"]["connection"])
    with open_release(name, uri, connection) as release:
        candidates = find_candidates(release)
        log.info("%d cells may be in several studies", len(candidates))
        pairs = pair_labels(same_cells(release, candidates))
    log.info("%d cells are in several studies", pairs["cell"].nunique())
    counts = score_pairs(pairs, name, hierarchy, Targets.load(given.targets))
    table = agreement_table(pairs, relate_pairs(pairs, ontology), counts, hierarchy)
    table.insert(0, "release", name)
    write_tsv(table, snakemake.output[0])
