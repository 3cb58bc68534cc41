"""Data of the explorer, collected from the tables of a run into one compact object.

A score belongs to a *view*: `model/loss/decoder/set`. The values of all types in a view are an
array in the order of the types, with `null` for types without a value.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset as ds

from hce.metrics import KINDS
from hce.sets import SEEN_SETS

VIEW = ["model", "loss", "decoder", "set"]
# Number of confusions listed per type, in either direction.
CONFUSIONS = 6
# Scores have four decimals, which is finer than any interval on the page.
DECIMALS = 4
# Limits the memory; it does not affect the counts.
BATCH = 1 << 20


def explorer_data(
    tables: Mapping[str, pd.DataFrame],
    types: pd.DataFrame,
    studies: pd.DataFrame,
    run: str,
    note: str | None,
    alpha: float,
) -> dict[str, Any]:
    """Collects what the page shows.

    Args:
        tables: `per_type`, `type_changes`, `confusion`, `per_stratum` and `data_types`.
        types: `Hierarchy.types`.
        studies: as `count_studies` returns them.
        run: name of the run.
        note: what the data are, if they are not those of the paper; otherwise None.
        alpha: family-wise error rate of the tests; 1 - coverage of the intervals.

    Returns:
        An object for JSON:
        `types`: one object per type, with the indices of its `parents`;
        `cells`: set → cells of each type;
        `scores`: view → seeds, and means and standard deviations over them, of each type;
        `changes`: kind of score (`metrics.KINDS`) → view → seeds, baseline, change, interval and
            significance of each type;
        `confusions`: view → for each type `as`, the predictions of its cells, and `from`, the
            labels of the cells predicted as it, each [type, cells] and over all seeds; and
            `labelled` and `predicted`, the number of its cells and of cells predicted as it;
        `studies`: set → study ids, titles, and for each type its [study, cells];
        `study_scores`: kind of score → view → macro F1 of each study of the set, mean over seeds.
    """
    per_type = _unseen(tables["per_type"])
    changes, strata = _unseen(tables["type_changes"]), _unseen(tables["per_stratum"])
    losses = list(dict.fromkeys(per_type["loss"]))
    return {
        "run": run,
        "note": note,
        "alpha": alpha,
        "models": list(dict.fromkeys(per_type["model"])),
        "losses": losses,
        "decoders": list(dict.fromkeys(per_type["decoder"])),
        "sets": list(dict.fromkeys(per_type["set"])),
        "types": _types(types, tables["data_types"]),
        "cells": _cells(tables["data_types"]),
        "scores": _scores(per_type, len(types)),
        "changes": {
            kind: _changes(changes[changes["score"] == f"{kind}_f1"], len(types)) for kind in KINDS
        },
        "confusions": _confusions(_unseen(tables["confusion"]), len(types)),
        "studies": _studies(studies, len(types)),
        "study_scores": {kind: _study_scores(strata, studies, kind) for kind in KINDS},
    }


def count_studies(cells: Sequence[str | Path], datasets: Sequence[str | Path]) -> pd.DataFrame:
    """Counts the cells of each type in each study and set, in one pass over the cell tables.

    Args:
        cells: cell tables (Parquet), one per release.
        datasets: `datasets.parquet` of each release, with the titles of the studies.

    Returns:
        set, study, title, label (index of the type), cells; sorted by decreasing number of cells
        within a set and type.
    """
    keys = ["set", "study", "label"]
    number: Counter[tuple[str, str, int]] = Counter()
    for path in cells:
        for batch in ds.dataset(path).to_batches(columns=keys, batch_size=BATCH):
            number.update(batch.to_pandas().groupby(keys, observed=True).size().to_dict())
    titles: dict[str, str] = {}
    for path in datasets:
        table = pd.read_parquet(path, columns=["dataset_id", "dataset_title"])
        titles |= dict(zip(table["dataset_id"], table["dataset_title"], strict=True))
    rows = [(*key, count) for key, count in number.items()]
    table = pd.DataFrame(rows, columns=[*keys, "cells"])
    table.insert(2, "title", table["study"].map(titles).fillna(table["study"]))
    order = ["set", "label", "cells", "study"]
    return table.sort_values(order, ascending=[True, True, False, True], ignore_index=True)


def _unseen(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["set"].isin(SEEN_SETS)]


def _views(table: pd.DataFrame, keys: Sequence[str] = VIEW) -> dict[str, pd.DataFrame]:
    return {"/".join(map(str, view)): rows for view, rows in table.groupby(list(keys), sort=False)}


def _numbers(values: pd.Series, size: int) -> list[float | None]:
    """Values by type index as a list over all types."""
    whole = values.round(DECIMALS).reindex(range(size)).to_numpy(np.float64)
    return [None if np.isnan(value) else float(value) for value in whole]


def _types(types: pd.DataFrame, data_types: pd.DataFrame) -> list[dict[str, Any]]:
    index = {cl_id: i for i, cl_id in enumerate(types["cl_id"])}
    train = data_types.set_index("index")["train_cells"]
    return [
        {
            "id": row["cl_id"],
            "label": row["label"],
            "parents": [index[parent] for parent in row["parents"]],
            "train_cells": int(train[row["index"]]),
        }
        for row in types.to_dict("records")
    ]


def _cells(data_types: pd.DataFrame) -> dict[str, list[int]]:
    by_index = data_types.sort_values("index")
    columns = [name for name in by_index.columns if str(name).startswith("cells_")]
    return {name.removeprefix("cells_"): by_index[name].astype(int).tolist() for name in columns}


def _scores(per_type: pd.DataFrame, size: int) -> dict[str, dict[str, Any]]:
    scores = {}
    for view, rows in _views(per_type).items():
        by_type = rows.groupby("index")
        found: dict[str, Any] = {"seeds": int(rows["seed"].nunique())}
        for name in (f"{kind}_f1" for kind in KINDS):
            found[name] = _numbers(by_type[name].mean(), size)
            found[f"{name}_sd"] = _numbers(by_type[name].std(), size)
        scores[view] = found
    return scores


def _changes(changes: pd.DataFrame, size: int) -> dict[str, dict[str, Any]]:
    found = {}
    for view, rows in _views(changes).items():
        by_type = rows.set_index("index")
        significant = by_type["significant"].astype(bool)
        found[view] = {
            "baseline": str(rows["baseline"].iloc[0]),
            "seeds": int(rows["seeds"].iloc[0]),
            **{name: _numbers(by_type[name], size) for name in ("change", "ci_low", "ci_high")},
            "tested": int(rows["p"].notna().sum()),
            "significant": sorted(int(i) for i in significant.index[significant]),
        }
    return found


def _confusions(confusion: pd.DataFrame, size: int) -> dict[str, dict[str, Any]]:
    found = {}
    for view, rows in _views(confusion).items():
        counts = rows.groupby(["label", "prediction"])["cells"].sum().reset_index()
        counts = counts.sort_values("cells", ascending=False, kind="stable")
        found[view] = {
            "as": _most(counts, "label", "prediction", size),
            "from": _most(counts, "prediction", "label", size),
            "labelled": _totals(counts, "label", size),
            "predicted": _totals(counts, "prediction", size),
        }
    return found


def _totals(counts: pd.DataFrame, of: str, size: int) -> list[int]:
    return counts.groupby(of)["cells"].sum().reindex(range(size), fill_value=0).astype(int).tolist()


def _most(counts: pd.DataFrame, of: str, other: str, size: int) -> list[list[list[int]]]:
    most: list[list[list[int]]] = [[] for _ in range(size)]
    top = counts.groupby(of, sort=False).head(CONFUSIONS)
    for type_index, partner, cells in top[[of, other, "cells"]].to_numpy(np.int64).tolist():
        most[type_index].append([partner, cells])
    return most


def _studies(studies: pd.DataFrame, size: int) -> dict[str, dict[str, Any]]:
    found = {}
    for name, rows in studies.groupby("set", sort=False, observed=True):
        names = rows.drop_duplicates("study").sort_values("study")
        position = {study: i for i, study in enumerate(names["study"])}
        by_type: list[list[list[int]]] = [[] for _ in range(size)]
        for study, label, cells in rows[["study", "label", "cells"]].itertuples(index=False):
            by_type[label].append([position[study], int(cells)])
        found[str(name)] = {
            "ids": names["study"].tolist(),
            "titles": names["title"].tolist(),
            "cells": by_type,
        }
    return found


def _study_scores(per_stratum: pd.DataFrame, studies: pd.DataFrame, kind: str) -> dict[str, list]:
    of_studies = per_stratum[per_stratum["kind"] == "study"]
    names = {
        str(name): sorted(rows["study"].unique())
        for name, rows in studies.groupby("set", sort=False, observed=True)
    }
    found = {}
    for view, rows in _views(of_studies).items():
        values = rows.groupby("stratum")[f"{kind}_macro_f1"].mean()
        # A set such as `ood_clean` has the studies of `ood`.
        known = names.get(view.rsplit("/", 1)[1], sorted(values.index))
        means = values.reindex(known).reset_index(drop=True)
        found[view] = _numbers(means, len(known))
    return found
