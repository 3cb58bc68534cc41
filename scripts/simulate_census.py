"""Writes one release of the simulated atlas as a census-shaped SOMA (rule simulate_census).

The finest types of its cells, which a release does not have, go to a file of their own.
"""

from typing import Any

import numpy as np

from hce.files import atomic_path, read_tsv
from hce.jobs.job import job
from hce.ontology import read_ontology
from hce.sources.simulation import (
    SUMMARY,
    keep_truth,
    simulate_release,
    simulated_genes,
    truth_table,
)
from hce.sources.simulation_design import SimulationSettings
from hce.sources.soma import write_census

snakemake: Any

with job(snakemake) as log:
    settings = SimulationSettings(**snakemake.params.settings)
    releases = [snakemake.params.reference, *snakemake.params.new]
    release = snakemake.wildcards.release
    log.info("Simulating release %s with %s.", release, settings)
    studies = simulate_release(
        settings,
        read_ontology(snakemake.input.ontology),
        read_tsv(snakemake.input.types),
        releases,
        release,
    )
    truth: list[np.ndarray] = []
    write_census(
        snakemake.output.soma,
        release,
        keep_truth(studies, truth),
        simulated_genes(settings, releases, release),
        SUMMARY,
    )
    with atomic_path(snakemake.output.truth) as temporary:
        truth_table(truth).to_parquet(temporary, index=False)
