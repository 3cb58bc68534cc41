"""From the predictions of a fit to its tables of scores.

Three scores answer three questions about the same predictions. *Exact*: is it what the author
wrote? *Credited*, the paper's: is it that or anything below it? *Study-aware*: is it that or
anything below it that the study does not label itself (see `hce.ontology.vocabularies`)?
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.evaluation.calibration_error import CHANCES, calibration_error, calibration_table
from hce.evaluation.strata import (
    Strata,
    mark_leaky,
    read_set_cells,
    read_training_values,
    strata_of,
)
from hce.evaluation.tally import Tally, tally_predictions
from hce.metrics import (
    ABSENT,
    accuracy,
    distances,
    hierarchical_scores,
    macro_f1,
    macro_precision_recall,
    shape_of_errors,
    type_scores,
    weighted_f1,
)
from hce.ontology import Hierarchy
from hce.ontology.targets import Targets

logger = logging.getLogger(__name__)

TABLES = ("overall", "per_type", "per_stratum", "confusion", "calibration")
# Ends the name of a set without the cells that the audit calls leaky; see hce.leakage.audit.
CLEAN = "_clean"
# Name in the tables of a chance → its score in `overall`.
ECE = {"p": "ece", "s": "ece_s", "credited": "ece_credited"}


@dataclass(frozen=True)
class SetScores:
    """What is known of an evaluation set read out by one decoder.

    Attributes:
        tally: its predictions, counted.
        study_aware: bool (k,), the entries of the tally whose answer the study leaves to the label.
        strata: see `set_cells.strata_of`.
        clean: bool (groups,), the groups that are not leaky; None where the set has no audit.
    """

    tally: Tally
    study_aware: np.ndarray
    strata: Mapping[str, Strata]
    clean: np.ndarray | None

    def kinds(self, reachability: np.ndarray) -> dict[str, Tally]:
        """The tally by which the scores of each of `metrics.KINDS` are counted."""
        credited = reachability[self.tally.label, self.tally.prediction]
        return {
            "credited": self.tally.credit(credited),
            "study_aware": self.tally.credit(self.study_aware),
            "exact": self.tally,
        }


def score_fit(
    predictions: Sequence[str | Path],
    sets: Sequence[str],
    decoders: Sequence[str],
    cells: Sequence[str | Path],
    hierarchy: Hierarchy,
    targets: Targets,
    audits: Mapping[str, str | Path] | None = None,
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """Scores all evaluation sets of one fit.

    Args:
        predictions: one Parquet file a set.
        sets: names of the sets, in the order of `predictions`.
        decoders: names of the decoders.
        cells: cell tables, one a release, each named `<release>.parquet`.
        hierarchy: the types of the run.
        targets: which answers the studies of these releases leave to their labels.
        audits: set → its audit, for the sets that have one.

    Returns:
        The tables as `score_tables`, and the counts: set, decoder, study, donor, label, prediction,
        study_aware (whether the answer is right by that score), cells, a row for each combination
        that occurs.

    Raises:
        UserError: as `read_set_cells`, `mark_leaky`, `tally_predictions` and `Targets.of_cells`.
    """
    training = read_training_values(cells)
    scored: dict[tuple[str, str], SetScores] = {}
    counts = []
    for path, set_name in zip(predictions, sets, strict=True):
        members = read_set_cells(cells, set_name)
        audit = (audits or {}).get(set_name)
        if audit is not None:
            members = mark_leaky(audit, members)
        clean = None if audit is None else ~members.groups["leaky"].to_numpy(bool)
        strata = strata_of(members.groups, training)
        tallies = tally_predictions(path, members, hierarchy.reachability, decoders)
        studies = members.groups["study"].astype("category")
        for decoder, tally in tallies.items():
            own = targets.of_cells(members.release, studies.iloc[tally.group], tally.label)
            study_aware = targets.answers[own, tally.prediction]
            scored[set_name, decoder] = SetScores(tally, study_aware, strata, clean)
            counts.append(_by_donor(tally, study_aware, members.groups))
            _place(counts[-1], set_name, decoder)
    return score_tables(scored, hierarchy), pd.concat(counts, ignore_index=True)


def score_tables(
    scored: Mapping[tuple[str, str], SetScores], hierarchy: Hierarchy
) -> dict[str, pd.DataFrame]:
    """Turns the counts of a fit into its tables.

    The scores `…_ood_types` average over the labels that occur in the set `ood`; they are left
    out where that set is not among the counts. A set with an audit is in `overall` a second time,
    as `<set>_clean` without the leaky cells.

    Args:
        scored: (set, decoder) → its counts.
        hierarchy: the types; its reachability says what is credited.

    Returns:
        `TABLES`, rows in the order of `scored`.
    """
    ood_types = None
    for (set_name, _), entry in scored.items():
        if set_name == "ood":
            ood_types = entry.tally.confusion().sum(axis=1) > 0
    ways = distances(hierarchy.reachability)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for (set_name, decoder), entry in scored.items():
        kinds = entry.kinds(hierarchy.reachability)
        counts = {kind: tally.confusion() for kind, tally in kinds.items()}
        bins = entry.tally.bins.sum(axis=0)
        made = {
            "overall": _overall(counts, bins, hierarchy.reachability, ways, ood_types),
            "per_type": _per_type(counts, hierarchy.types),
            "per_stratum": _per_stratum(kinds, entry.strata),
            "confusion": _long(counts["exact"], hierarchy.types["label"].to_numpy()),
            "calibration": calibration_table(bins),
        }
        single = made["per_stratum"]["types"] == 1
        if single.any():
            logger.info(
                "%s, %s: %d strata have cells of one type only, so that their macro F1 is that of "
                "the type",
                set_name,
                decoder,
                single.sum(),
            )
        for name, table in made.items():
            tables[name].append(_place(table, set_name, decoder))
        if entry.clean is not None:
            rest = {kind: tally.confusion(entry.clean) for kind, tally in kinds.items()}
            table = _overall(rest, entry.tally.bins[0], hierarchy.reachability, ways, ood_types)
            tables["overall"].append(_place(table, set_name + CLEAN, decoder))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def _place(table: pd.DataFrame, set_name: str, decoder: str) -> pd.DataFrame:
    table.insert(0, "set", set_name)
    table.insert(1, "decoder", decoder)
    return table


def _overall(
    counts: Mapping[str, np.ndarray],
    bins: np.ndarray,
    reachability: np.ndarray,
    ways: np.ndarray,
    ood_types: np.ndarray | None,
) -> pd.DataFrame:
    values: dict[str, float] = {}
    values |= {f"{kind}_macro_f1": float(macro_f1(table)) for kind, table in counts.items()}
    if ood_types is not None:
        for kind, table in counts.items():
            values[f"{kind}_macro_f1_ood_types"] = float(macro_f1(table, ood_types))
    for kind, table in counts.items():
        values[f"{kind}_{ABSENT['zero']}"] = float(macro_f1(table, absent="zero"))
    for kind, table in counts.items():
        precision, recall = macro_precision_recall(table)
        values |= {f"{kind}_macro_precision": precision, f"{kind}_macro_recall": recall}
    values |= {f"{kind}_accuracy": float(accuracy(table)) for kind, table in counts.items()}
    values |= {f"{kind}_weighted_f1": float(weighted_f1(table)) for kind, table in counts.items()}
    values |= hierarchical_scores(counts["exact"], reachability)
    values |= shape_of_errors(counts["exact"], reachability, ways)
    values |= {
        ECE[name]: float(error)
        for name, error in zip(CHANCES.values(), calibration_error(bins), strict=True)
    }
    return pd.DataFrame({"score": list(values), "value": list(values.values())})


def _per_type(counts: Mapping[str, np.ndarray], types: pd.DataFrame) -> pd.DataFrame:
    scores = {kind: type_scores(table) for kind, table in counts.items()}
    table = types[["index", "cl_id", "label"]].assign(
        cells=scores["credited"].cells,
        credited_precision=scores["credited"].precision,
        credited_recall=scores["credited"].recall,
        **{f"{kind}_f1": found.f1 for kind, found in scores.items()},
    )
    return table[table["cells"] > 0]


def _per_stratum(kinds: Mapping[str, Tally], strata: Mapping[str, Strata]) -> pd.DataFrame:
    parts = []
    for name, some in strata.items():
        scores = {}
        for kind, tally in kinds.items():
            counts = tally.by(some.of_group)
            scores[f"{kind}_macro_f1"] = macro_f1(counts)
        cells = counts.sum(axis=2)  # the same for every kind
        table = pd.DataFrame(
            {
                "kind": name,
                "stratum": some.names,
                "in_training": some.in_training,
                "cells": cells.sum(axis=1),
                "types": (cells > 0).sum(axis=1),
                **scores,
            }
        )
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def _long(exact: np.ndarray, names: np.ndarray) -> pd.DataFrame:
    labels, predictions = np.nonzero(exact)
    return pd.DataFrame(
        {
            "label": labels,
            "prediction": predictions,
            "cells": exact[labels, predictions],
            "label_name": names[labels],
            "prediction_name": names[predictions],
        }
    )


def _by_donor(tally: Tally, study_aware: np.ndarray, groups: pd.DataFrame) -> pd.DataFrame:
    """Counts by study, donor, label and prediction, those that occur."""
    units = groups[["study", "donor"]].drop_duplicates().sort_values(["study", "donor"])
    unit_of = pd.MultiIndex.from_frame(units).get_indexer(
        pd.MultiIndex.from_frame(groups[units.columns])
    )
    size = tally.n_types
    key = (unit_of[tally.group] * size + tally.label) * size + tally.prediction
    unique, first, where = np.unique(key, return_index=True, return_inverse=True)
    rest, prediction = np.divmod(unique, size)
    unit, label = np.divmod(rest, size)
    named = units.astype("category").iloc[unit].reset_index(drop=True)
    return named.assign(
        label=label.astype(np.int16),
        prediction=prediction.astype(np.int16),
        study_aware=study_aware[first],
        cells=np.bincount(where, weights=tally.cells).astype(np.int64),
    )


def gather(paths: Sequence[str | Path], fits: Sequence[Sequence[object]]) -> pd.DataFrame:
    """Concatenates one table of several fits.

    Values are taken over as text, so a number reads the same in both files.

    Args:
        paths: the table of each fit (TSV), with columns model, loss and seed.
        fits: [model, loss, seed] of all fits, in the order that the rows shall have.

    Raises:
        UserError: the tables' fits are not those of `fits`.
    """
    parts = {}
    for path in paths:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
        for fit, rows in table.groupby(["model", "loss", "seed"], sort=False):
            parts[fit] = rows
    wanted = [tuple(str(part) for part in fit) for fit in fits]
    for fit in sorted(set(wanted) ^ set(parts)):
        raise UserError(
            f"Fit {'/'.join(map(str, fit))} is in the config or in the scores, but not in both: "
            "delete the tables of the run and run again."
        )
    return pd.concat([parts[fit] for fit in wanted], ignore_index=True)
