"""From the predictions of a fit to its four tables of scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from hce.errors import UserError
from hce.metrics import accuracy, confusion, credit, macro_f1, type_scores
from hce.ontology import Hierarchy

# Bounds the memory of a pass over the predictions; the size does not change the counts.
BATCH = 1 << 20
TABLES = ("overall", "per_type", "per_study", "confusion")
# Ends the name of a set without the cells that the audit calls leaky; see hce.audit.
CLEAN = "_clean"


@dataclass(frozen=True)
class SetCells:
    """The cells of an evaluation set, in the order of the store.

    Attributes:
        soma_joinid: int64 (n,).
        study: int32 (n,), index into `studies`.
        studies: names of the studies, sorted.
    """

    soma_joinid: np.ndarray
    study: np.ndarray
    studies: list[str]


def read_set_cells(paths: Sequence[str | Path], set_name: str) -> SetCells:
    """Reads which cells an evaluation set has and the study of each.

    Args:
        paths: cell tables, one a release.
        set_name: the evaluation set.

    Raises:
        UserError: no table holds cells of that set.
    """
    frames = []
    for path in paths:
        # Cast before the filter: `set` is a dictionary column, whose dictionary may differ
        # between row groups.
        matches = ds.field("set").cast(pa.string()) == set_name
        table = ds.dataset(path).to_table(columns=["soma_joinid", "study"], filter=matches)
        if table.num_rows:
            frames.append(table.to_pandas())
    if not frames:
        raise UserError(
            f"No cells of the evaluation set {set_name} in {', '.join(map(str, paths))}: make the "
            "cell tables again, or leave the set out."
        )
    if len(frames) > 1:
        raise UserError(
            f"The evaluation set {set_name} occurs in {len(frames)} of the cell tables "
            f"{', '.join(map(str, paths))}: each set belongs to one release."
        )
    study = frames[0]["study"].astype("category").cat.remove_unused_categories()
    names = sorted(study.cat.categories)
    codes = study.cat.reorder_categories(names).cat.codes
    return SetCells(frames[0]["soma_joinid"].to_numpy(np.int64), codes.to_numpy(np.int32), names)


def read_leaky(path: str | Path, cells: SetCells) -> np.ndarray:
    """Reads which cells of a set the audit calls leaky, bool (n,).

    Args:
        path: the audit of the set (Parquet): soma_joinid, leaky.
        cells: the cells of that set.

    Raises:
        UserError: the audit lists other cells, or in another order.
    """
    table = pd.read_parquet(path, columns=["soma_joinid", "leaky"])
    if not np.array_equal(table["soma_joinid"], cells.soma_joinid):
        raise UserError(
            f"Audit {path} does not list the cells of the cell table in its order: delete it and "
            "run again."
        )
    return table["leaky"].to_numpy(bool)


def count_predictions(
    path: str | Path, cells: SetCells, n_types: int, decoders: Sequence[str]
) -> dict[str, np.ndarray]:
    """Counts the predictions of a set by study, label and prediction, in one pass.

    Args:
        path: predictions of one set (Parquet): soma_joinid, label and, for each decoder d,
            prediction_<d> and probability_<d>.
        cells: the cells of that set, in the same order.
        n_types: C, number of types.
        decoders: names of the decoders to count.

    Returns:
        For each decoder int64 (S, C, C), with S studies.

    Raises:
        UserError: a column is missing, the cells or their order differ, a probability is
            missing, or a label or prediction is no type index.
    """
    columns = ["soma_joinid", "label"]
    for decoder in decoders:
        columns += [f"prediction_{decoder}", f"probability_{decoder}"]
    with pq.ParquetFile(path) as file:
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise UserError(
                f"Predictions {path} have no column {missing[0]}: delete the file and run again, "
                "or correct decoders in the config."
            )
        shape = (len(cells.studies), n_types, n_types)
        counts = {decoder: np.zeros(shape, dtype=np.int64) for decoder in decoders}
        start = 0
        for batch in file.iter_batches(BATCH, columns=columns):
            rows = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
            stop = start + batch.num_rows
            if not np.array_equal(rows["soma_joinid"], cells.soma_joinid[start:stop]):
                raise _other_cells(path)
            for decoder in decoders:
                if lost := int(np.isnan(rows[f"probability_{decoder}"]).sum()):
                    raise UserError(
                        f"Predictions {path} have {lost:,} missing values in "
                        f"probability_{decoder}: the fit diverged; lower its learning rate in the "
                        "config and fit it again."
                    )
                try:
                    counts[decoder] += confusion(
                        rows["label"],
                        rows[f"prediction_{decoder}"],
                        n_types,
                        cells.study[start:stop],
                        len(cells.studies),
                    )
                except ValueError as error:
                    raise UserError(
                        f"Predictions {path} do not fit the {n_types} types of the hierarchy "
                        f"(decoder {decoder}: {error}): delete the file and fit again."
                    ) from error
            start = stop
        if start != len(cells.soma_joinid):
            raise _other_cells(path)
    return counts


def _other_cells(path: str | Path) -> UserError:
    return UserError(
        f"Predictions {path} do not list the cells of the cell table in its order: they were made "
        "from another store; delete them and run again."
    )


def score_tables(
    counts: dict[tuple[str, str], np.ndarray],
    studies: dict[str, list[str]],
    hierarchy: Hierarchy,
    clean: Mapping[tuple[str, str], np.ndarray] | None = None,
) -> dict[str, pd.DataFrame]:
    """Turns the counts of a fit into its tables.

    The scores `…_ood_types` average over the labels that occur in the set `ood`; they are left
    out where that set is not among the counts.

    Args:
        counts: (set, decoder) → int64 (S, C, C), by study, label and prediction.
        studies: set → names of its S studies.
        hierarchy: the types; its reachability says what is credited.
        clean: (set, decoder) → int64 (C, C) of the cells that are not leaky. They are the set
            `<set>_clean` of `overall`, right behind the set.

    Returns:
        `overall`, `per_type`, `per_study` and `confusion`, rows in the order of `counts`.
    """
    ood_types = None
    for (set_name, _), by_study in counts.items():
        if set_name == "ood":
            ood_types = by_study.sum(axis=(0, 2)) > 0
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in TABLES}
    for (set_name, decoder), by_study in counts.items():
        exact = by_study.sum(axis=0)
        credited = credit(exact, hierarchy.reachability)
        made = {
            "overall": _overall(exact, credited, ood_types),
            "per_type": _per_type(exact, credited, hierarchy),
            "per_study": _per_study(by_study, studies[set_name], hierarchy.reachability),
            "confusion": _long(exact),
        }
        for name, table in made.items():
            table.insert(0, "set", set_name)
            table.insert(1, "decoder", decoder)
            tables[name].append(table)
        if clean is not None and (set_name, decoder) in clean:
            rest = clean[set_name, decoder]
            table = _overall(rest, credit(rest, hierarchy.reachability), ood_types)
            table.insert(0, "set", set_name + CLEAN)
            table.insert(1, "decoder", decoder)
            tables["overall"].append(table)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def _overall(exact: np.ndarray, credited: np.ndarray, ood_types: np.ndarray | None) -> pd.DataFrame:
    values = {"credited_macro_f1": macro_f1(credited), "exact_macro_f1": macro_f1(exact)}
    if ood_types is not None:
        values["credited_macro_f1_ood_types"] = macro_f1(credited, ood_types)
        values["exact_macro_f1_ood_types"] = macro_f1(exact, ood_types)
    values["credited_accuracy"] = accuracy(credited)
    values["exact_accuracy"] = accuracy(exact)
    return pd.DataFrame({"score": list(values), "value": [float(v) for v in values.values()]})


def _per_type(exact: np.ndarray, credited: np.ndarray, hierarchy: Hierarchy) -> pd.DataFrame:
    scores = type_scores(credited)
    table = hierarchy.types[["index", "cl_id", "label"]].assign(
        cells=scores.cells,
        credited_precision=scores.precision,
        credited_recall=scores.recall,
        credited_f1=scores.f1,
        exact_f1=type_scores(exact).f1,
    )
    return table[table["cells"] > 0]


def _per_study(by_study: np.ndarray, names: list[str], reachability: np.ndarray) -> pd.DataFrame:
    cells = by_study.sum(axis=2)
    return pd.DataFrame(
        {
            "study": names,
            "cells": cells.sum(axis=1),
            "types": (cells > 0).sum(axis=1),
            "credited_macro_f1": macro_f1(credit(by_study, reachability)),
            "exact_macro_f1": macro_f1(by_study),
        }
    )


def _long(exact: np.ndarray) -> pd.DataFrame:
    labels, predictions = np.nonzero(exact)
    return pd.DataFrame(
        {"label": labels, "prediction": predictions, "cells": exact[labels, predictions]}
    )


def score_fit(
    predictions: Sequence[str | Path],
    sets: Sequence[str],
    decoders: Sequence[str],
    cells: Sequence[str | Path],
    hierarchy: Hierarchy,
    audits: Mapping[str, str | Path] | None = None,
) -> dict[str, pd.DataFrame]:
    """Scores all evaluation sets of one fit.

    Args:
        predictions: one Parquet file a set.
        sets: names of the sets, in the order of `predictions`.
        decoders: names of the decoders.
        cells: cell tables, one a release.
        hierarchy: the types of the run.
        audits: set → its audit, for the sets that have one.

    Returns:
        As `score_tables`.

    Raises:
        UserError: as `read_set_cells`, `read_leaky` and `count_predictions`.
    """
    counts = {}
    studies = {}
    clean = {}
    n_types = len(hierarchy)
    for path, set_name in zip(predictions, sets, strict=True):
        members = read_set_cells(cells, set_name)
        studies[set_name] = names = members.studies
        audit = (audits or {}).get(set_name)
        if audit is not None:
            # Counted as studies of their own: first all clean cells, then all leaky ones.
            leaky = read_leaky(audit, members).astype(np.int32)
            members = replace(members, study=members.study + len(names) * leaky, studies=names * 2)
        for decoder, by_study in count_predictions(path, members, n_types, decoders).items():
            if audit is not None:
                parts = by_study.reshape(2, len(names), n_types, n_types)
                clean[set_name, decoder] = parts[0].sum(axis=0)
                by_study = parts.sum(axis=0)
            counts[set_name, decoder] = by_study
    return score_tables(counts, studies, hierarchy, clean)


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
