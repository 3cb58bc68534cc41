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

from hce.files import read_parquet
from hce.metrics import KINDS
from hce.names import name as display_name
from hce.sets import SEEN_SETS

VIEW = ["model", "loss", "decoder", "set"]
# A pair of label and prediction is kept where it is one of so many of its label or prediction, or
# such a share of their cells; the others only count in the totals.
CONFUSIONS = 6
CONFUSED_SHARE = 0.005
# Scores have three decimals, which is what the page shows.
DECIMALS = 3
# Limits the memory; it does not affect the counts.
BATCH = 1 << 20


def explorer_data(
    tables: Mapping[str, pd.DataFrame],
    types: pd.DataFrame,
    studies: pd.DataFrame,
    run: str,
    note: str | None,
    alpha: float,
    synonyms: Mapping[str, Mapping[str, bool]],
) -> dict[str, Any]:
    """Collects what the page shows.

    Args:
        tables: `per_type`, `type_changes`, `confusion`, `per_stratum`, `stratum_changes`,
            `data_types`, `overall`, `bootstrap` and `type_genes`.
        types: `Hierarchy.types`.
        studies: as `count_studies` returns them.
        run: name of the run.
        note: what the data are, if they are not those of the paper; otherwise None.
        alpha: family-wise error rate of the tests; 1 - coverage of the intervals.
        synonyms: cl_id → synonym → whether it means just that type.

    Returns:
        An object for JSON:
        `names`: what models, losses, sets and decoders are called;
        `types`: one object per type, with the indices of its `parents`, and its synonyms
            (`same`, and `like` for those that may mean others as well);
        `macro`: kind of score → view → macro F1 of the baseline and of the loss, their change and
            its interval over studies (null where there is none);
        `cells`: set → cells of each type;
        `scores`: view → seeds, and means and standard deviations over them, of each type;
        `changes`: kind of score (`metrics.KINDS`) → view → seeds, baseline, change, interval and
            significance of each type;
        `confusions`: view → `rows`, for each label [type, cells, type, cells, …] of the
            predictions of its cells, the most frequent ones first and over all seeds; and
            `labelled` and `predicted`, the number of cells of each type and of cells predicted
            as it;
        `verdicts`: view → of the cells that are predicted as each type or as one below it, how
            many there are (`called`), of how many the label is the type or below it
            (`confirmed`), and of how many it is above it (`open`);
        `genes`: model/loss → for each type the genes that speak for and against it in a linear
            model, the strongest first;
        `studies`: set → study ids, titles, and for each type its [study, cells];
        `study_scores`: kind of score → view → macro F1 of each study of the set, mean over seeds;
        `study_changes`: the same → change, low and high of each study, its interval over seeds.
    """
    per_type = _unseen(tables["per_type"])
    changes, strata = _unseen(tables["type_changes"]), _unseen(tables["per_stratum"])
    confusion = _unseen(tables["confusion"])
    losses = list(dict.fromkeys(per_type["loss"]))
    return {
        "run": run,
        "note": note,
        "alpha": alpha,
        "models": list(dict.fromkeys(per_type["model"])),
        "losses": losses,
        "decoders": list(dict.fromkeys(per_type["decoder"])),
        "sets": list(dict.fromkeys(per_type["set"])),
        "names": _names(per_type),
        "types": _types(types, tables["data_types"], synonyms),
        "macro": {kind: _macro(_unseen(tables["bootstrap"]), tables, kind) for kind in KINDS},
        "cells": _cells(tables["data_types"]),
        "scores": _scores(per_type, len(types)),
        "changes": {
            kind: _changes(changes[changes["score"] == f"{kind}_f1"], len(types)) for kind in KINDS
        },
        "confusions": _confusions(confusion, len(types)),
        "verdicts": _verdicts(confusion, types),
        "genes": _genes(tables["type_genes"], len(types)),
        "studies": _studies(studies, len(types)),
        "study_scores": {kind: _study_scores(strata, studies, kind) for kind in KINDS},
        "study_changes": {
            kind: _study_changes(_unseen(tables["stratum_changes"]), studies, kind)
            for kind in KINDS
        },
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
        table = read_parquet(path, columns=["dataset_id", "dataset_title"])
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


def _names(per_type: pd.DataFrame) -> dict[str, str]:
    keys = [key for column in VIEW for key in dict.fromkeys(per_type[column])]
    return {str(key): display_name(str(key)) for key in (*keys, "train", "val")}


def _macro(
    bootstrap: pd.DataFrame, tables: Mapping[str, pd.DataFrame], kind: str
) -> dict[str, Any]:
    score = f"{kind}_macro_f1"
    overall = tables["overall"][tables["overall"]["score"] == score]
    means = {key: rows["value"].mean() for key, rows in _views(overall).items()}
    found = {}
    for view, rows in _views(bootstrap[bootstrap["score"] == score]).items():
        row = rows.iloc[0]
        model, _, decoder, evaluation_set = view.split("/")
        start = f"{model}/{row['baseline']}/{decoder}/{evaluation_set}"
        values = [means.get(start), means.get(view), *row[["change", "ci_low", "ci_high"]]]
        found[view] = _numbers(pd.Series(values, dtype=float), len(values))
    return found


def _types(
    types: pd.DataFrame, data_types: pd.DataFrame, synonyms: Mapping[str, Mapping[str, bool]]
) -> list[dict[str, Any]]:
    index = {cl_id: i for i, cl_id in enumerate(types["cl_id"])}
    train = data_types.set_index("index")["train_cells"]
    return [
        {
            "id": row["cl_id"],
            "label": row["label"],
            "parents": [index[parent] for parent in row["parents"]],
            "train_cells": int(train[row["index"]]),
            "same": [text for text, same in synonyms.get(row["cl_id"], {}).items() if same],
            "like": [text for text, same in synonyms.get(row["cl_id"], {}).items() if not same],
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
        pairs: list[list[int]] = [[] for _ in range(size)]
        for label, *pair in counts[_kept(counts)].to_numpy(np.int64).tolist():
            pairs[label] += pair
        found[view] = {
            "rows": pairs,
            "labelled": _totals(counts, "label", size),
            "predicted": _totals(counts, "prediction", size),
        }
    return found


def _verdicts(confusion: pd.DataFrame, types: pd.DataFrame) -> dict[str, dict[str, list[int]]]:
    below = _at_or_below(types)
    above = below.T & ~np.eye(len(below), dtype=bool)
    found = {}
    for view, rows in _views(confusion).items():
        counts = np.zeros(below.shape)  # float64 is exact, and its products are fast
        np.add.at(counts, (rows["label"], rows["prediction"]), rows["cells"])
        called = counts @ below.T  # [label, type]: its cells predicted as the type or below it
        found[view] = {
            "called": called.sum(axis=0).astype(int).tolist(),
            "confirmed": (below.T * called).sum(axis=0).astype(int).tolist(),
            "open": (above.T * called).sum(axis=0).astype(int).tolist(),
        }
    return found


def _at_or_below(types: pd.DataFrame) -> np.ndarray:
    """Whether type j is i or a descendant of it, bool (types, types), at [i, j]."""
    index = {cl_id: i for i, cl_id in enumerate(types["cl_id"])}
    below = np.eye(len(types), dtype=bool)
    # From the deepest types upwards, so that everything below a type is known when it is added.
    for child in np.argsort(-types["depth"].to_numpy(), kind="stable"):
        for parent in types["parents"].iloc[child]:
            below[index[parent]] |= below[child]
    return below


def _kept(counts: pd.DataFrame) -> pd.Series:
    """Which pairs the page has; the counts are sorted by decreasing number of cells."""
    kept = pd.Series(False, index=counts.index)
    for column in ("label", "prediction"):
        of = counts.groupby(column)["cells"]
        share = counts["cells"] / of.transform("sum")
        kept |= (of.cumcount() < CONFUSIONS) | (share >= CONFUSED_SHARE)
    return kept


def _totals(counts: pd.DataFrame, of: str, size: int) -> list[int]:
    return counts.groupby(of)["cells"].sum().reindex(range(size), fill_value=0).astype(int).tolist()


def _genes(type_genes: pd.DataFrame, size: int) -> dict[str, list[dict[str, list[str]]]]:
    found = {}
    for fit, rows in _views(type_genes, ["model", "loss"]).items():
        by_type: list[dict[str, list[str]]] = [{"for": [], "against": []} for _ in range(size)]
        ranked = rows.sort_values("rank", kind="stable")
        for index, direction, gene in ranked[["index", "direction", "gene"]].itertuples(
            index=False
        ):
            by_type[index][direction].append(str(gene))
        found[fit] = by_type
    return found


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
    found = {}
    for view, rows in _views(per_stratum[per_stratum["kind"] == "study"]).items():
        values = rows.groupby("stratum")[f"{kind}_macro_f1"].mean()
        found[view] = _of_studies(values, view, studies)
    return found


def _study_changes(
    stratum_changes: pd.DataFrame, studies: pd.DataFrame, kind: str
) -> dict[str, dict[str, list]]:
    chosen = stratum_changes["score"] == f"{kind}_macro_f1"
    of_studies = stratum_changes[chosen & (stratum_changes["kind"] == "study")]
    columns = {"change": "change", "low": "ci_low", "high": "ci_high"}
    return {
        view: {
            name: _of_studies(rows.set_index("stratum")[column], view, studies)
            for name, column in columns.items()
        }
        for view, rows in _views(of_studies).items()
    }


def _of_studies(values: pd.Series, view: str, studies: pd.DataFrame) -> list[float | None]:
    """Values by study in the order of the studies of a view's set."""
    known = studies.loc[studies["set"] == view.rsplit("/", 1)[1], "study"]
    # A set such as `ood_clean` has the studies of `ood`.
    names = sorted(known.unique()) if len(known) else sorted(values.index)
    return _numbers(values.reindex(names).reset_index(drop=True), len(names))
