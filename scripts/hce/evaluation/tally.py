"""One pass over the predictions of a set: all that its scores need, in bounded memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import scipy.sparse as sp

from hce.errors import UserError
from hce.evaluation.calibration_error import CHANCES, accumulate, no_bins
from hce.evaluation.strata import SetCells

# Bounds the memory of a pass; the size does not change the counts.
BATCH = 1 << 20


@dataclass(frozen=True)
class Tally:
    """The predictions of a set by one decoder, counted.

    Only the combinations of group, label and prediction that occur are listed.

    Attributes:
        n_types: C.
        group: int64 (k,), row of `SetCells.groups`.
        label: int64 (k,).
        prediction: int64 (k,).
        cells: int64 (k,), how many.
        bins: float64 (2, chances, bins, 3) of cells that are not leaky and that are, see
            `reliability.accumulate`.
    """

    n_types: int
    group: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    cells: np.ndarray
    bins: np.ndarray

    def confusion(self, keep: np.ndarray | None = None) -> np.ndarray:
        """Counts by label and prediction, int64 (C, C), of the groups with `keep` (bool), or all.

        Args:
            keep: bool (groups,).
        """
        chosen = slice(None) if keep is None else keep[self.group]
        key = (self.label * self.n_types + self.prediction)[chosen]
        return self._sum(key, self.cells[chosen], 1)[0]

    def by(self, strata: sp.csr_matrix) -> np.ndarray:
        """Counts by stratum, label and prediction, int64 (S, C, C).

        Args:
            strata: csr (groups, S), an entry for each stratum of a group.
        """
        chosen = strata[self.group]
        entry = np.repeat(np.arange(len(self.group)), np.diff(chosen.indptr))
        key = (chosen.indices.astype(np.int64) * self.n_types + self.label[entry]) * self.n_types
        return self._sum(key + self.prediction[entry], self.cells[entry], chosen.shape[1])

    def credit(self, right: np.ndarray) -> "Tally":
        """The same cells with right answers counted as the label, as `metrics.credit` does it.

        Args:
            right: bool (k,), the entries whose prediction counts as right.
        """
        return replace(self, prediction=np.where(right, self.label, self.prediction))

    def _sum(self, key: np.ndarray, cells: np.ndarray, n_strata: int) -> np.ndarray:
        shape = (n_strata, self.n_types, self.n_types)
        # Sums of float64 are exact up to 2 ** 53 cells.
        sums = np.bincount(key, weights=cells, minlength=int(np.prod(shape)))
        return sums.astype(np.int64).reshape(shape)


def tally_predictions(
    path: str | Path, cells: SetCells, reachability: np.ndarray, decoders: Sequence[str]
) -> dict[str, Tally]:
    """Counts the predictions of a set in one pass.

    Args:
        path: predictions of one set (Parquet), see `prediction.predict`.
        cells: the cells of that set, in the same order.
        reachability: bool (C, C).
        decoders: names of the decoders to count.

    Returns:
        Decoder → its tally.

    Raises:
        UserError: a column is missing, the cells or their order differ, a probability is
            missing, or a label or prediction is no type index.
    """
    columns = ["soma_joinid", "label"]
    for decoder in decoders:
        columns += [f"{name}_{decoder}" for name in ("prediction", *CHANCES)]
    n_types = len(reachability)
    leaky = cells.groups["leaky"].to_numpy(bool)
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in decoders}
    bins = {name: no_bins() for name in decoders}
    with pq.ParquetFile(path) as file:
        if missing := [name for name in columns if name not in file.schema_arrow.names]:
            raise UserError(
                f"Predictions {path} have no column {missing[0]}: delete the file and run again, "
                "or correct decoders in the config."
            )
        start = 0
        for batch in file.iter_batches(BATCH, columns=columns):
            rows = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in columns}
            stop = start + batch.num_rows
            if not np.array_equal(rows["soma_joinid"], cells.soma_joinid[start:stop]):
                raise _other_cells(path)
            group = cells.group[start:stop]
            _check(path, "label", rows["label"], n_types)
            of_label = group.astype(np.int64) * n_types + rows["label"]
            for decoder in decoders:
                prediction = rows[f"prediction_{decoder}"]
                _check(path, f"prediction_{decoder}", prediction, n_types)
                chances = [rows[f"{name}_{decoder}"] for name in CHANCES]
                for name, values in zip(CHANCES, chances, strict=True):
                    if lost := int(np.isnan(values).sum()):
                        raise UserError(
                            f"Predictions {path} have {lost:,} missing values in "
                            f"{name}_{decoder}: the fit diverged; lower its learning rate in the "
                            "config and fit it again."
                        )
                found[decoder].append(_count(of_label * n_types + prediction))
                hits = (
                    rows["label"] == prediction,
                    reachability[prediction, rows["label"]],
                    reachability[rows["label"], prediction],
                )
                accumulate(bins[decoder], leaky[group], chances, hits)
            start = stop
        if start != len(cells.soma_joinid):
            raise _other_cells(path)
    return {name: _tally(found[name], bins[name], n_types) for name in decoders}


def _count(key: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The keys that occur, and how often."""
    return np.unique(key, return_counts=True)


def _tally(parts: list[tuple[np.ndarray, np.ndarray]], bins: np.ndarray, n_types: int) -> Tally:
    """Puts the counts of all batches together."""
    keys = np.concatenate([key for key, _ in parts])
    unique, where = np.unique(keys, return_inverse=True)
    cells = np.bincount(where, weights=np.concatenate([cells for _, cells in parts]))
    rest, prediction = np.divmod(unique, n_types)
    group, label = np.divmod(rest, n_types)
    return Tally(n_types, group, label, prediction, cells.astype(np.int64), bins)


def _check(path: str | Path, column: str, values: np.ndarray, n_types: int) -> None:
    if len(values) and (values.min() < 0 or values.max() >= n_types):
        raise UserError(
            f"Predictions {path} do not fit the {n_types} types of the hierarchy (a {column} lies "
            f"outside 0 to {n_types - 1}: found {values.min()} to {values.max()}): delete the file "
            "and fit again."
        )


def _other_cells(path: str | Path) -> UserError:
    return UserError(
        f"Predictions {path} do not list the cells of the cell table in its order: they were made "
        "from another store; delete them and run again."
    )
