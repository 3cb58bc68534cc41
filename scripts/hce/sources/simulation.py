"""A simulated atlas: simulated cells of a real hierarchy of types.

Expression. Every term of the ontology changes the log-expression of a few genes, and all its
descendants inherit the change. The expected expression of a cell is its type's programme plus the
shifts of its study, donor, assay and disease; counts are negative binomial around it.

Labels. Each study annotates some of its types, with all their cells, as a random ancestor, like
authors who annotate at a coarser level. At least two studies use the label of the type itself (one
among the new studies), because a type that no study names would not be part of an atlas. A share of
the coarse labels (`unresolved`) belongs to cells that the study could not resolve: it labels a
random half of the cells of such a type with the type and the others with the ancestor.

Truth. The finest type of each cell is known. It is kept separate from the releases (`keep_truth`),
so that nothing can be trained on it.

Leakage. As in real releases, newer ones have some cells of the reference release again, in a new
study, and new studies of old collections.

Every draw has its own random stream, seeded by the seed of the settings and the name of the draw. A
study therefore has the same cells in every release.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.ontology import Ontology
from hce.sources.simulation_atlas import LEAK
from hce.sources.simulation_cells import Expression, SimulatedStudy
from hce.sources.simulation_design import (
    SimulationSettings,
    design_open,
    design_studies,
    design_unkept,
    leak,
    random_stream,
    redeposit,
)
from hce.sources.soma import HUMAN, MOUSE

SUMMARY = {"simulated": "true"}


def simulate_release(
    settings: SimulationSettings,
    ontology: Ontology,
    types: pd.DataFrame,
    releases: Sequence[str],
    release: str,
) -> Iterator[SimulatedStudy]:
    """Yields the studies of one release, each drawn on demand.

    New studies are dealt to the newer releases in order, and each newer release also has the
    studies of the earlier ones. The order of studies and of genes, and therefore the joinids,
    differs between releases.

    Args:
        settings: the settings.
        ontology: the ontology of the types; every term has a programme.
        types: the types to simulate, columns cl_id and in_ood_80 (1 for the types that new
            studies draw from).
        releases: names of all releases, the reference first, then the newer ones, the oldest first.
        release: the release to make.

    Raises:
        UserError: a type is not a term of the ontology.
    """
    if missing := sorted(set(types["cl_id"]) - set(ontology.names)):
        raise UserError(
            f"Type {missing[0]} of the simulation is not a term of ontology {ontology.version}:"
            " take both from the same version of this repository."
        )
    known = sorted(types["cl_id"])
    new_known = sorted(types.loc[types["in_ood_80"] == 1, "cl_id"])
    designs = design_studies(settings, ontology, known, new=False)
    unkept = design_unkept(settings, ontology, known, designs)
    age = releases.index(release)
    if age:
        unkept.append(redeposit(designs[1], "simulated-redeposit-2"))
        new = design_studies(settings, ontology, new_known, new=True)
        designs += new[: round(len(new) * age / (len(releases) - 1))]
        if settings.copied_cells:
            designs.append(leak(designs[1]))
    designs += unkept
    expression = Expression(settings, ontology)
    genes = _gene_order(settings, releases, release)
    order = random_stream(settings, "order", release).permutation(len(designs))
    last = [design_open(settings, ontology)] if age else []
    for design in [*(designs[position] for position in order), *last]:
        study = expression.draw(design)
        if study.dataset_id == LEAK:
            study = _first_cells(study, new_known, settings.copied_cells)
        yield replace(study, counts=study.counts[:, genes])


def keep_truth(
    studies: Iterable[SimulatedStudy], parts: list[np.ndarray]
) -> Iterator[SimulatedStudy]:
    """Passes studies on and records the truth of their human cells.

    Args:
        studies: the studies of a release, in the order in which they are written.
        parts: list to which the truth of each study is appended.
    """
    for study in studies:
        if study.organism == HUMAN:
            parts.append(study.truth)
        yield study


def truth_table(parts: Sequence[np.ndarray]) -> pd.DataFrame:
    """The finest type of every human cell of a release.

    Args:
        parts: the list that `keep_truth` filled.

    Returns:
        soma_joinid (int64; `write_census` numbers the cells in the order of the studies) and cl_id.
    """
    truth = np.concatenate(parts).astype(str)
    return pd.DataFrame({"soma_joinid": np.arange(len(truth)), "cl_id": truth})


def _first_cells(study: SimulatedStudy, types: Sequence[str], number: int) -> SimulatedStudy:
    """The first cells of a study that have one of the types as their label."""
    chosen = np.flatnonzero(study.obs["cell_type_ontology_term_id"].isin(types))[:number]
    return replace(
        study,
        obs=study.obs.iloc[chosen],
        counts=study.counts[chosen],
        truth=study.truth[chosen],
    )


def simulated_genes(
    settings: SimulationSettings, releases: Sequence[str], release: str
) -> dict[str, pd.DataFrame]:
    """The genes of each organism in one release, for `write_census`."""
    numbers = _gene_order(settings, releases, release) + 1
    return {
        organism: pd.DataFrame(
            {
                "feature_id": [f"{prefix.upper()}G{number:05d}" for number in numbers],
                "feature_name": [f"{prefix}{number:05d}" for number in numbers],
                "feature_length": 0,
            }
        )
        for organism, prefix in ((HUMAN, "SIM"), (MOUSE, "Simm"))
    }


def _gene_order(settings: SimulationSettings, releases: Sequence[str], release: str) -> np.ndarray:
    """Numbers of the genes in the order of a release; ascending in the reference release."""
    if release == releases[0]:
        return np.arange(settings.genes)
    return random_stream(settings, "gene order", release).permutation(settings.genes)
