"""Makes the reachability that a control's loss takes (rule make_control_reachability)."""

from pathlib import Path
from typing import Any

import numpy as np

from hce.files import atomic_path
from hce.jobs.job import job
from hce.ontology import Hierarchy, read_ontology
from hce.ontology.controls import log_difference, placebo_reachability, reachability_by

snakemake: Any

with job(snakemake):
    hierarchy = Hierarchy.load(Path(snakemake.input.hierarchy).parent)
    if snakemake.input.ontology:
        found = reachability_by(hierarchy, read_ontology(snakemake.input.ontology))
    else:
        found = placebo_reachability(hierarchy.reachability)
    log_difference(hierarchy.reachability, found)
    with atomic_path(snakemake.output[0]) as temporary:
        np.save(temporary, found)
