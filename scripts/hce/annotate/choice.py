"""Which model annotates: the one that is best on cells of others, and by which decoder."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hce.annotate.calibration import DONORS, STUDIES
from hce.config import DECODERS_OF_MODEL_FILES
from hce.metrics import hierarchical_scores

COMPARISON = ["model", "loss", "seed", "decoder", "basis", "units", "hierarchical_f1"]
HELD_OUT = "id"
"""The set of donors held out, where there is no new study."""


def compare(
    counts: Mapping[tuple[str, ...], pd.DataFrame],
    reachability: np.ndarray,
    new_sets: Sequence[str],
) -> pd.DataFrame:
    """Compares models and decoders by their mean hierarchical F1 over studies held out.

    Args:
        counts: model, loss and seed → set, decoder, study, donor, label, prediction, cells, see
            `scoring.score_fit`.
        reachability: bool (C, C).
        new_sets: sets of new studies; if there are none, donors of the set `HELD_OUT` count.

    Returns:
        `COMPARISON`, the best first: basis is what the mean is over, units how many of these.
    """
    sets, unit = (list(new_sets), ["study"]) if new_sets else ([HELD_OUT], ["study", "donor"])
    rows = []
    for fit, table in counts.items():
        table = table[table["set"].isin(sets) & table["decoder"].isin(DECODERS_OF_MODEL_FILES)]
        for decoder, of_decoder in table.groupby("decoder", sort=False):
            scores = [
                _hierarchical_f1(of_unit, reachability)
                for _, of_unit in of_decoder.groupby(unit, observed=True)
            ]
            basis = STUDIES if new_sets else DONORS
            rows.append((*fit, decoder, basis, len(scores), float(np.mean(scores))))
    compared = pd.DataFrame(rows, columns=COMPARISON)
    best_first = np.argsort(-compared["hierarchical_f1"].to_numpy(), kind="stable")
    return compared.iloc[best_first].reset_index(drop=True)


def _hierarchical_f1(table: pd.DataFrame, reachability: np.ndarray) -> float:
    counts = np.zeros(reachability.shape, dtype=np.int64)
    np.add.at(counts, (table["label"].to_numpy(), table["prediction"].to_numpy()), table["cells"])
    return hierarchical_scores(counts, reachability)["hierarchical_f1"]
