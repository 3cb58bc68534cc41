"""Draws the cells of the studies of the simulated atlas."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.ontology import Ontology
from hce.sources.simulation_atlas import DISEASES, TISSUES
from hce.sources.simulation_design import (
    Design,
    SimulationSettings,
    random_stream,
)
from hce.sources.soma import ASSAYS, Study


@dataclass(frozen=True, kw_only=True)
class SimulatedStudy(Study):
    """A study of which more is known than a release says.

    Attributes:
        truth: CL id of the finest type of each cell, (cells,) text; no part of `obs`.
    """

    truth: np.ndarray


class Expression:
    """Log-expression of the terms of an ontology, and cells drawn from it."""

    def __init__(self, settings: SimulationSettings, ontology: Ontology) -> None:
        self.settings = settings
        self.ontology = ontology

    def shift(self, sd: float, *names: object) -> np.ndarray:
        """A change of the log-expression of all genes, (genes,) float32, determined by its name."""
        stream = random_stream(self.settings, *names)
        return np.float32(sd) * stream.standard_normal(self.settings.genes, dtype=np.float32)

    @cached_property
    def profiles(self) -> dict[str, np.ndarray]:
        """Log-expression of every term: its own changes and those of its ancestors, float32."""
        changes = {}
        for term in sorted(self.ontology.names):
            chosen = random_stream(self.settings, "programme genes", term)
            share = chosen.random(self.settings.genes) < self.settings.programme_share
            changes[term] = share * self.shift(self.settings.programme_sd, "programme", term)
        base = self.shift(self.settings.base_sd, "base")
        return {
            term: sum((changes[t] for t in sorted(self.ontology.ancestors(term))), base + change)
            for term, change in changes.items()
        }

    def draw(self, design: Design) -> SimulatedStudy:
        """Draws the cells of a study."""
        stream = random_stream(self.settings, "cells", design.cells_of)
        truth = np.repeat(list(design.types), list(design.types.values()))
        truth = stream.permutation(truth)
        donor = self._donors(design, len(truth), stream)
        return SimulatedStudy(
            dataset_id=design.name,
            title=design.name.replace("-", " ").capitalize(),
            collection_id=f"simulated-collection-{design.collection:03d}",
            collection_name=f"Simulated collection {design.collection:03d}",
            collection_doi="",
            obs=self._obs(design, label_cells(design, truth), donor),
            counts=self._counts(design, truth, donor, stream),
            organism=design.organism,
            truth=truth,
        )

    def _donors(self, design: Design, n_cells: int, stream: np.random.Generator) -> np.ndarray:
        """The donor of each cell, from 0."""
        share = stream.dirichlet(np.full(design.donors, 4.0))
        return stream.choice(design.donors, size=n_cells, p=share)

    def _counts(
        self, design: Design, truth: np.ndarray, donor: np.ndarray, stream: np.random.Generator
    ) -> sp.csr_matrix:
        settings = self.settings
        study = self.shift(design.shift_sd, "study", design.cells_of)
        shifts = np.stack(
            [
                study
                + self.shift(settings.donor_sd, "donor", design.cells_of, d)
                + self.shift(settings.assay_sd, "assay", _assay(design, d))
                + self.shift(settings.disease_sd, "disease", _disease(design, d))
                for d in range(design.donors)
            ]
        )
        terms, term_of = np.unique(truth, return_inverse=True)
        mean = np.exp(np.stack([self.profiles[t] for t in terms])[term_of] + shifts[donor])
        depth = settings.depth * np.exp(stream.normal(0, settings.depth_sd, len(truth)))
        mean *= (depth / mean.sum(axis=1))[:, None].astype(np.float32)
        return negative_binomial(mean, settings.dispersion, stream)

    def _obs(self, design: Design, labels: list[str], donor: np.ndarray) -> pd.DataFrame:
        general_id, parts, _ = TISSUES[design.tissue]
        part = [list(parts)[d % len(parts)] for d in range(design.donors)]
        assay = [_assay(design, d) for d in range(design.donors)]
        disease = [_disease(design, d) for d in range(design.donors)]

        def of_cells(of_donors: Sequence[str]) -> np.ndarray:
            return np.array(of_donors, dtype=object)[donor]

        return pd.DataFrame(
            {
                "assay": of_cells(assay),
                "assay_ontology_term_id": of_cells([ASSAYS[a] for a in assay]),
                "cell_type": [self.ontology.names[t] for t in labels],
                "cell_type_ontology_term_id": labels,
                "disease": of_cells(disease),
                "disease_ontology_term_id": of_cells([DISEASES[d] for d in disease]),
                "donor_id": of_cells([f"donor-{d + 1}" for d in range(design.donors)]),
                "suspension_type": "cell",
                "tissue": of_cells(part),
                "tissue_ontology_term_id": of_cells([parts[p] for p in part]),
                "tissue_general": design.tissue,
                "tissue_general_ontology_term_id": general_id,
                "is_primary_data": design.primary,
            }
        )


def label_cells(design: Design, truth: np.ndarray) -> list[str]:
    """The label, a CL id, that a study gives to each of its cells.

    Args:
        design: of the study.
        truth: (cells,) CL id of the finest type of each cell, in random order.
    """
    # In a random order every second cell of a type is a random half.
    resolved = pd.Series(truth).groupby(truth).cumcount().to_numpy() % 2 == 0
    return [
        t if own and t in design.unresolved else design.annotation.get(t, t)
        for t, own in zip(truth, resolved, strict=True)
    ]


def _assay(design: Design, donor: int) -> str:
    return design.assays[donor % len(design.assays)]


def _disease(design: Design, donor: int) -> str:
    return design.disease if donor % 2 else "normal"


def negative_binomial(
    mean: np.ndarray, dispersion: float, stream: np.random.Generator
) -> sp.csr_matrix:
    """Draws negative-binomial counts by inversion, several times faster than gamma–Poisson.

    Args:
        mean: (cells, genes) float32, expected counts.
        dispersion: variance is mean + dispersion * mean ** 2; positive.
        stream: the random stream.

    Returns:
        Counts, csr (cells, genes) float32 without stored zeros.
    """
    size = 1 / dispersion
    log_zero = np.log1p(mean * np.float32(dispersion))
    log_zero *= np.float32(-size)
    uniform = stream.random(mean.shape, dtype=np.float32)
    rows, columns = np.nonzero(uniform > np.exp(log_zero))
    target = uniform[rows, columns].astype(np.float64)
    expected = mean[rows, columns].astype(np.float64)
    odds = expected / (expected + size)
    probability = np.exp(-size * np.log1p(expected * dispersion))
    cumulative = probability.copy()
    counts = np.zeros(len(rows), dtype=np.float32)
    left = np.arange(len(rows))
    step = 0
    while len(left):
        probability *= (step + size) / (step + 1) * odds
        cumulative += probability
        step += 1
        counts[left] = step
        # The second condition ends the search in the far tail, where the sum no longer grows.
        more = (cumulative < target[left]) & ((probability > 1e-12) | (step < expected[left]))
        left, odds = left[more], odds[more]
        probability, cumulative = probability[more], cumulative[more]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(mean)))])
    return sp.csr_matrix((counts, columns, indptr), shape=mean.shape)
