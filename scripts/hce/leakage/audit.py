"""The leakage audit: what the new studies have in common with the reference release.

Cells of new studies show how well a model generalises only if they are new. The audit searches for
four kinds of cells that are not: cells of a study whose collection (usually one publication) the
reference release has; cells of a donor that the reference release has in such a collection; cells
with the same counts as a reference cell; and cells of a study most of which is a reference study.
The reference is train, val and id together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hce.sets import REFERENCE_SETS
from hce.store.categories import codes_of

REASONS = ("collection", "donor", "duplicate", "redeposit")
# Columns of the cell tables that the audit reads.
AUDITED_COLUMNS = ["soma_joinid", "study", "donor", "set"]


@dataclass(frozen=True)
class Audit:
    """Findings of the audit of one OOD set.

    Attributes:
        cells: one row per cell of the set, in order of the store: soma_joinid, leaky, reason (those
            of `REASONS` that apply, separated by ";").
        studies: one row per study: study, title, collection_id, collection, cells, donors, the
            findings, and leaky_cells. `known_collection` says whether the reference has the
            collection; `shared_donors` are donors that the same collection has in the reference,
            `donor_ids_elsewhere` donors whose id occurs in other collections of it (weak evidence:
            ids such as "1" are common); `duplicates` and `duplicates_of_<set>` count cells with the
            counts of a reference cell, NaN if counts cannot be compared; `closest_study` is the
            reference study with most of them, `closest_cells` their number, and `redeposit`
            whether they are a share of at least `redeposit_share`.
        summary: quantity, value.
    """

    cells: pd.DataFrame
    studies: pd.DataFrame
    summary: pd.DataFrame


def audit_set(
    reference: pd.DataFrame,
    new: pd.DataFrame,
    collections: Mapping[str, set[str]],
    datasets: pd.DataFrame,
    groups: pd.DataFrame | None,
    reasons: Sequence[str],
    redeposit_share: float,
) -> Audit:
    """Audits the cells of one OOD set.

    Args:
        reference: cells of the reference release (`AUDITED_COLUMNS`), train, then val, then id,
            each in the order of its store.
        new: cells of the set, in the order of its store.
        collections: reference study → ids of its collections in any release.
        datasets: the newer release's datasets: dataset_id, dataset_title, collection_id,
            collection_name.
        groups: `duplicates.identical_cells` of the stores train, val, id and this set (3); None if
            their counts cannot be compared.
        reasons: those of `REASONS` that make a cell leaky.
        redeposit_share: minimum share of its cells for a study to count as re-deposited.
    """
    reference, new = _compact(reference), _compact(new)
    studies = _studies(new, datasets)
    seen = {i for study in reference["study"].cat.categories for i in collections.get(study, ())}
    studies["known_collection"] = studies["collection_id"].isin(seen)
    donors = _donors(reference, new, studies, collections)
    studies["shared_donors"] = _per_study(donors, donors["shared"], studies)
    studies["donor_ids_elsewhere"] = _per_study(donors, donors["elsewhere"], studies)
    copies = _copies(reference, groups)
    for column, values in _duplicates(new, copies, groups is not None, studies).items():
        studies[column] = values
    studies["redeposit"] = studies["closest_cells"] >= redeposit_share * studies["cells"]

    study = new["study"].cat.codes.to_numpy()
    holds = {
        "collection": studies["known_collection"].to_numpy()[study],
        "donor": donors["shared"].to_numpy()[new["donor"].cat.codes.to_numpy()],
        "duplicate": np.isin(np.arange(len(new)), copies["row"]),
        "redeposit": studies["redeposit"].to_numpy()[study],
    }
    leaky = np.zeros(len(new), dtype=bool)
    for reason in reasons:
        leaky |= holds[reason]
    cells = pd.DataFrame(
        {"soma_joinid": new["soma_joinid"], "leaky": leaky, "reason": _names(holds)}
    )
    studies["leaky_cells"] = np.bincount(study[leaky], minlength=len(studies))
    summary = _summary(new, studies, donors, holds, leaky, groups)
    return Audit(cells, studies.sort_values("cells", ascending=False, kind="stable"), summary)


def _compact(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with a new index, and without categories of absent studies and donors."""
    cells = cells.reset_index(drop=True)
    for column in ("study", "donor"):
        cells[column] = cells[column].astype("category").cat.remove_unused_categories()
        codes_of(cells[column], "the audited cells")
    return cells


def _studies(new: pd.DataFrame, datasets: pd.DataFrame) -> pd.DataFrame:
    """Names and sizes of the studies, in order of their categories."""
    known = datasets.set_index("dataset_id").reindex(new["study"].cat.categories)
    return pd.DataFrame(
        {
            "study": known.index.to_numpy(),
            "title": known["dataset_title"].to_numpy(),
            "collection_id": known["collection_id"].to_numpy(),
            "collection": known["collection_name"].to_numpy(),
            "cells": np.bincount(new["study"].cat.codes, minlength=len(known)),
            "donors": new.groupby("study", observed=False)["donor"].nunique().to_numpy(),
        }
    )


def _named_donors(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per donor, in order of the categories: its study, donor_id, and number of cells."""
    first = cells.drop_duplicates("donor").set_index("donor")
    first = first.reindex(cells["donor"].cat.categories)
    study = first["study"].astype(str)
    # The name of a donor is <dataset_id>_<donor_id>.
    names = [d[len(s) + 1 :] for d, s in zip(first.index, study, strict=True)]
    sizes = np.bincount(cells["donor"].cat.codes, minlength=len(first))
    return pd.DataFrame({"study": study.to_numpy(), "donor_id": names, "cells": sizes})


def _donors(
    reference: pd.DataFrame,
    new: pd.DataFrame,
    studies: pd.DataFrame,
    collections: Mapping[str, set[str]],
) -> pd.DataFrame:
    """One row per donor of the new studies: study, donor_id, cells, shared, elsewhere."""
    old = _named_donors(reference)
    held: dict[str, set[str]] = {}  # donor_id → collections of the reference that have it
    for study, donor_id in zip(old["study"], old["donor_id"], strict=True):
        held.setdefault(donor_id, set()).update(collections.get(study, {study}))
    donors = _named_donors(new)
    collection = donors["study"].map(studies.set_index("study")["collection_id"])
    pairs = list(zip(donors["donor_id"], collection, strict=True))
    return donors.assign(
        shared=np.array([own in held.get(name, ()) for name, own in pairs], dtype=bool),
        elsewhere=np.array(
            [bool(held.get(name, set()) - {own}) for name, own in pairs], dtype=bool
        ),
    )


def _per_study(table: pd.DataFrame, chosen: pd.Series, studies: pd.DataFrame) -> np.ndarray:
    """Number of chosen rows of a table for each study, in order of the studies."""
    counted = table.loc[chosen, "study"].value_counts()
    return counted.reindex(studies["study"], fill_value=0).to_numpy()


def _copies(reference: pd.DataFrame, groups: pd.DataFrame | None) -> pd.DataFrame:
    """Cells of the set and the reference sets and studies that have the same counts.

    Returns:
        row (of the set), set, study; one row per such set and study, without repetitions.
    """
    if groups is None or groups.empty:
        return pd.DataFrame({"row": np.empty(0, np.int64), "set": [], "study": []})
    sizes = [int((reference["set"] == name).sum()) for name in REFERENCE_SETS]
    start = np.cumsum([0, *sizes])
    ours = groups["store"] == len(REFERENCE_SETS)
    old = groups[~ours]
    cells = reference.iloc[start[old["store"]] + old["row"].to_numpy()]
    old = pd.DataFrame(
        {
            "group": old["group"].to_numpy(),
            "set": cells["set"].astype(str).to_numpy(),
            "study": cells["study"].astype(str).to_numpy(),
        }
    ).drop_duplicates()
    return groups.loc[ours, ["row", "group"]].merge(old, on="group").drop(columns="group")


def _duplicates(
    new: pd.DataFrame, copies: pd.DataFrame, compared: bool, studies: pd.DataFrame
) -> dict[str, np.ndarray]:
    """The columns on duplicates, in order of the studies."""
    copies = copies.rename(columns={"study": "old_study"})
    copies["study"] = new["study"].to_numpy()[copies["row"]].astype(str)

    def count(rows: pd.DataFrame) -> np.ndarray:
        distinct = rows.drop_duplicates("row")
        counted = _per_study(distinct, pd.Series(True, distinct.index), studies)
        return counted if compared else np.full(len(studies), np.nan)

    columns: dict[str, np.ndarray] = {"duplicates": count(copies)}
    for name in REFERENCE_SETS:
        columns[f"duplicates_of_{name}"] = count(copies[copies["set"] == name])
    pairs = copies.drop_duplicates(["row", "old_study"]).value_counts(["study", "old_study"])
    best = pairs.reset_index().sort_values(["count", "old_study"], ascending=[False, True])
    best = best.drop_duplicates("study").set_index("study").reindex(studies["study"])
    columns["closest_study"] = best["old_study"].to_numpy()
    columns["closest_cells"] = best["count"].fillna(0).to_numpy(np.int64)
    return columns


def _names(holds: Mapping[str, np.ndarray]) -> pd.Categorical:
    """The reasons of each cell, joined."""
    held = [holds[reason].astype(np.int64) << i for i, reason in enumerate(REASONS)]
    joined = [
        ";".join(reason for i, reason in enumerate(REASONS) if bits >> i & 1)
        for bits in range(1 << len(REASONS))
    ]
    code = np.sum(held, axis=0).tolist()
    return pd.Categorical.from_codes(code, pd.Index(joined)).remove_unused_categories()


def _summary(
    new: pd.DataFrame,
    studies: pd.DataFrame,
    donors: pd.DataFrame,
    holds: Mapping[str, np.ndarray],
    leaky: np.ndarray,
    groups: pd.DataFrame | None,
) -> pd.DataFrame:
    within = np.nan
    if groups is not None:
        ours = groups[groups["store"] == len(REFERENCE_SETS)]
        within = int(ours["group"].duplicated(keep=False).sum())
    duplicates = [np.nan if groups is None else int(holds["duplicate"].sum())]
    duplicates += [studies[f"duplicates_of_{name}"].sum(skipna=False) for name in REFERENCE_SETS]
    sizes = studies["cells"]
    words = [f"cells equal to a cell of {name}" for name in ("the reference", *REFERENCE_SETS)]
    return pd.DataFrame(
        [
            ("cells", len(new)),
            ("studies", len(studies)),
            ("donors", len(donors)),
            ("studies of known collections", int(studies["known_collection"].sum())),
            ("cells of known collections", int(holds["collection"].sum())),
            ("donors that their collection shares", int(donors["shared"].sum())),
            ("cells of shared donors", int(holds["donor"].sum())),
            ("donor ids that other collections use too", int(donors["elsewhere"].sum())),
            *zip(words, duplicates, strict=True),
            ("cells that the set holds more than once", within),
            ("re-deposited studies", int(studies["redeposit"].sum())),
            ("cells of re-deposited studies", int(holds["redeposit"].sum())),
            ("leaky cells", int(leaky.sum())),
            ("studies with leaky cells", int((studies["leaky_cells"] > 0).sum())),
            ("studies without clean cells", int((studies["leaky_cells"] == sizes).sum())),
        ],
        columns=["quantity", "value"],
    )


def audit_reference(reference: pd.DataFrame, groups: pd.DataFrame | None) -> pd.DataFrame:
    """Cells that the reference release holds more than once (primary each time).

    Args:
        reference: cells of the reference release, train, then val, then id.
        groups: `audit_cells.identical_cells` of the stores train, val and id; None where their
            counts cannot be compared.

    Returns:
        quantity, value.
    """
    steps: list[tuple[str, float]] = [("cells", len(reference))]
    if groups is None:
        groups = pd.DataFrame({"store": [], "row": [], "group": []}, dtype=np.float64)
        missing = np.nan
    else:
        missing = 0.0
    members = groups.groupby("group")["store"]
    stores = members.nunique()
    steps += [
        ("cells held more than once", len(groups) + missing),
        ("superfluous copies among them", len(groups) - groups["group"].nunique() + missing),
        (
            "cells whose copies are in different sets",
            int(members.size()[stores > 1].sum()) + missing,
        ),
    ]
    for later, earlier in ((1, 0), (2, 0), (2, 1)):
        shared = groups.loc[groups["store"] == earlier, "group"]
        rows = groups[(groups["store"] == later) & groups["group"].isin(shared)]
        words = f"{REFERENCE_SETS[later]} cells that are also in {REFERENCE_SETS[earlier]}"
        steps.append((words, len(rows) + missing))
    return pd.DataFrame(steps, columns=["quantity", "value"])


def collections_of(*releases: pd.DataFrame) -> dict[str, set[str]]:
    """Study → ids of its collections in the releases.

    Args:
        releases: datasets of the releases: dataset_id, collection_id.
    """
    found: dict[str, set[str]] = {}
    for datasets in releases:
        for study, collection in zip(
            datasets["dataset_id"], datasets["collection_id"], strict=True
        ):
            found.setdefault(study, set()).add(collection)
    return found


def withdrawn_studies(
    reference: pd.DataFrame, known: pd.DataFrame, datasets: pd.DataFrame
) -> pd.DataFrame:
    """Studies of the reference release that the newer release no longer has.

    Args:
        reference: cells of the reference release.
        known: the reference release's datasets.
        datasets: the newer release's datasets.

    Returns:
        study, title, collection, and train, val and id: its cells in each set.
    """
    gone = known[~known["dataset_id"].isin(datasets["dataset_id"])]
    table = gone.rename(
        columns={
            "dataset_id": "study",
            "dataset_title": "title",
            "collection_name": "collection",
        }
    )[["study", "title", "collection"]].reset_index(drop=True)
    for name in REFERENCE_SETS:
        counted = reference.loc[reference["set"] == name, "study"].value_counts()
        table[name] = counted.reindex(table["study"]).fillna(0).to_numpy(np.int64)
    return table
