"""What is measured on held-out cells before a model file is written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from hce.annotate import calibration
from hce.annotate.novelty import Novelty, by_study, score_store
from hce.annotate.outcomes import Outcomes, count_outcomes, donors_of
from hce.annotate.panel import PanelStore
from hce.models.trained_model import TrainedModel
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.cell_store import CellStore


@dataclass(frozen=True)
class HeldOut:
    """The cells of evaluation sets.

    Attributes:
        stores: of each set; `val` is among them.
        releases: the release of each set, whose vocabularies its cells are judged by.
        reference: the release that models are trained on; sets of others hold new studies.
        by_donor: whether `val` holds other donors than the training cells.
        targets: which answers the studies leave to their labels, over the terms.
        batch_size: cells per batch.
        device: where models run.
    """

    stores: Mapping[str, CellStore]
    releases: Mapping[str, str]
    reference: str
    by_donor: bool
    targets: Targets
    batch_size: int
    device: torch.device

    @classmethod
    def open(
        cls, given: Any, params: Any, device: torch.device, panel: np.ndarray | None = None
    ) -> "HeldOut":
        """Opens what a rule names.

        Args:
            given: its inputs: stores, targets.
            params: its params: sets (the release of each store), reference, split_unit, batch_size.
            device: where models run.
            panel: the genes of which the counts are read, bool (G,); None: all.
        """
        folders = dict(zip(params.sets, given.stores, strict=True))
        return cls(
            {
                name: CellStore.open(folder) if panel is None else PanelStore.of(folder, panel)
                for name, folder in folders.items()
            },
            params.sets,
            params.reference,
            params.split_unit == "donor",
            Targets.load(*given.targets),
            params.batch_size,
            device,
        )


@dataclass(frozen=True)
class Measured:
    """What held-out cells say of a model.

    Attributes:
        terms: what its back-off may answer.
        novelty: how cells of other types are told.
        calibrated: its thresholds, see `calibration.calibrate`.
        tables: name → table, see `calibration.tables`; and novelty, see `novelty.by_study`.
    """

    terms: Terms
    novelty: Novelty
    calibrated: pd.DataFrame
    tables: dict[str, pd.DataFrame]


def measure(
    trained: TrainedModel, terms: Terms, log_shares: np.ndarray, held_out: HeldOut
) -> Measured:
    """Calibrates novelty and the back-off of a model.

    Args:
        trained: the model; moved to the device.
        terms: the types and the terms above them; those that held-out cells show to be indistinct
            are withheld in what is returned.
        log_shares: float32 (C, G), see `novelty.log_shares`.
        held_out: the cells.
    """
    own, device = held_out, held_out.device
    scored = {
        name: score_store(trained, log_shares, store, own.batch_size, device)
        for name, store in own.stores.items()
    }
    novelty = Novelty.calibrated(log_shares, scored["val"])

    def outcomes_of(name: str, terms: Terms) -> Outcomes:
        """What the back-off answers on a set, if these terms may be answered."""
        store = own.stores[name]
        cells = store.cells()
        targets = own.targets.of_cells(
            own.releases[name], cells["study"], cells["label"].to_numpy()
        )
        groups = donors_of(cells) if name == "val" else pd.factorize(cells["study"])[0]
        novel = (scored[name]["novelty"] > novelty.threshold).to_numpy()
        return count_outcomes(
            *(trained, terms, store, own.targets, targets, groups, own.batch_size, device),
            novel=novel,
        )

    terms = replace(terms, withheld=calibration.indistinct(outcomes_of("val", terms)))
    outcomes = {name: outcomes_of(name, terms) for name in own.stores}
    studies = {
        name: pd.factorize(own.stores[name].cells(["study"])["study"])[1].tolist()
        for name, release in own.releases.items()
        if release != own.reference
    }
    new, _ = calibration.new_studies(outcomes, studies)
    calibrated = calibration.calibrate(outcomes["val"], new, own.by_donor)
    tables = calibration.tables(outcomes, studies, calibrated, terms.labels)
    tables["novelty"] = by_study(novelty, scored)
    return Measured(terms, novelty, calibrated, tables)
