"""Numbers targets whose studies take each other's vocabularies (rule permute_vocabularies)."""

from pathlib import Path
from typing import Any

from hce.files import read_tsv
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.controls import permuted_studies
from hce.ontology.targets import Targets

snakemake: Any

with job(snakemake) as log:
    given = snakemake.input
    vocabularies = read_tsv(given.vocabularies)
    hierarchy = Hierarchy.load(Path(given.hierarchy).parent)
    ontology = read_ontology(given.ontology, snakemake.params.sha256)
    build = (vocabularies, hierarchy, ontology, snakemake.params.min_cells)
    own, permuted = Targets.build(*build), Targets.build(*build, permuted_studies(vocabularies))
    permuted.save(snakemake.output[0])
    log.info(
        "studies leave %d answers to their labels by their own vocabularies, %d by another's",
        own.answers.sum(),
        permuted.answers.sum(),
    )
