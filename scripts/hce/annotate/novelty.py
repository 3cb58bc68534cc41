"""Whether a cell is of no type that the model was trained on.

The probabilities of a model do not say it: they sum to 1 whatever the cell is. The novelty of a
cell is the mean surprise of its counts, −Σ_g q_g log p_g, in nats per count: q are the shares of
the genes in its counts, and p their mean shares in the training cells of a type. Of the few types
that the model finds most probable, the one that makes it smallest counts. A new study shifts many
genes a little, which costs little; a type of another tissue has many counts in genes that no known
type has, which costs much. It is the same for all classes of models.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numba import njit
from torch import Tensor

from hce.batches.in_memory import Batches
from hce.models import takes_sparse
from hce.models.trained_model import TrainedModel
from hce.store.cell_store import CellStore
from hce.store.counts import Counts

# The most probable types of a cell; the one that surprises least counts.
CANDIDATES = 3
# Part of a type's shares that is spread over all genes, so that none is impossible.
SPREAD = 0.01
# Shares of the held-out cells that are above the threshold, as it takes their answer away, and that
# have fewer genes than the smallest number.
BEYOND, BELOW = 0.002, 0.01
COLUMNS = ["set", "study", "cells", "novelty", "novel", "few_genes"]


@dataclass(frozen=True)
class Novelty:
    """What the cells of known types look like.

    Attributes:
        log_shares: float32 (C, G), log p, see `log_shares`.
        threshold: cells with a larger novelty are novel.
        few_genes: cells with fewer genes are of low quality.
    """

    log_shares: np.ndarray
    threshold: float
    few_genes: int

    @classmethod
    def calibrated(cls, log_shares: np.ndarray, held_out: pd.DataFrame) -> "Novelty":
        """The thresholds that hold for all but a few of the held-out cells.

        Args:
            log_shares: see above.
            held_out: novelty and genes of each cell, see `score_store`.
        """
        threshold = float(held_out["novelty"].quantile(1 - BEYOND))
        return cls(log_shares, threshold, int(held_out["genes"].quantile(BELOW)))

    def among(self, found: np.ndarray) -> "Novelty":
        """The same for cells that were looked at for some of the genes only, bool (G,)."""
        if found.all():
            return self
        rest = np.exp(self.log_shares[:, found].astype(np.float64)).sum(axis=1, keepdims=True)
        return replace(self, log_shares=(self.log_shares - np.log(rest)).astype(np.float32))

    def of(self, counts: Counts, probabilities: Tensor) -> np.ndarray:
        """The novelty of cells, float32 (n,); NaN without counts.

        Args:
            counts: of the model's genes.
            probabilities: of the model, (n, C).
        """
        few = min(CANDIDATES, probabilities.shape[1])
        candidates = probabilities.topk(few, dim=1).indices.cpu().numpy()
        surprise = np.empty(len(counts), np.float32)
        _surprise(
            *(counts.indptr, counts.genes, counts.values, counts.kind != "counts"),
            *(candidates, self.log_shares, surprise),
        )
        return surprise

    def read(self, counts: Counts, probabilities: Tensor) -> dict[str, np.ndarray]:
        """novelty, see `of`; novel (bool) and few_genes (bool) of cells."""
        novelty = self.of(counts, probabilities)
        few_genes = np.diff(counts.indptr) < self.few_genes
        return {"novelty": novelty, "novel": novelty > self.threshold, "few_genes": few_genes}

    def of_clusters(self, novelty: np.ndarray, codes: np.ndarray) -> dict[str, np.ndarray]:
        """The mean novelty of the cluster of each cell, and whether it is novel.

        Args:
            novelty: of the cells.
            codes: int (cells,), cluster of each cell; −1: none.
        """
        mean = pd.Series(novelty).groupby(codes).transform("mean").to_numpy(np.float32)
        mean = np.where(codes < 0, np.float32(np.nan), mean)
        return {"novelty": mean, "novel": mean > self.threshold}


def log_shares(store: CellStore, n_types: int) -> np.ndarray:
    """The logarithm of the mean shares of genes in the cells of each type.

    Args:
        store: training cells.
        n_types: C.

    Returns:
        float16 (C, G), natural logarithms; a type without cells has the same share of all genes.
    """
    sums = np.zeros((n_types, len(store.genes)))
    labels = store.cells(["label"])["label"].to_numpy()
    start = 0
    for counts in store.blocks():
        add_shares(counts, labels[start : start + len(counts)], sums)
        start += len(counts)
    cells = sums.sum(axis=1, keepdims=True)
    mean = np.divide(sums, cells, out=np.full_like(sums, 1 / sums.shape[1]), where=cells > 0)
    return np.log((1 - SPREAD) * mean + SPREAD / sums.shape[1]).astype(np.float16)


def add_shares(counts: Counts, labels: np.ndarray, sums: np.ndarray) -> None:
    """Adds the shares of genes in the counts of cells to sums.

    Args:
        counts: of cells.
        labels: int (cells,), the row of each cell; −1: none.
        sums: float64 (rows, G), added to.
    """
    logged = counts.kind != "counts"
    _add_shares(counts.indptr, counts.genes, counts.values, logged, labels, sums)


@torch.no_grad()
def score_store(
    trained: TrainedModel,
    log_shares: np.ndarray,
    store: CellStore,
    batch_size: int,
    device: torch.device,
) -> pd.DataFrame:
    """The novelty of every cell of a store, streaming.

    Args:
        trained: the model; moved to the device with its loss.
        log_shares: float32 (C, G), see above.
        store: cells over the model's genes.
        batch_size: cells at a time.
        device: where the model runs.

    Returns:
        study, novelty (float32) and genes (int64: how many the cell has counts of), one row per
        cell.
    """
    trained.to(device)
    scale = Novelty(log_shares, np.inf, 0)
    cells = store.cells(["study"])
    novelty, genes = [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for counts in store.blocks():
        nothing = np.zeros(len(counts), np.int64)  # no label is asked for
        sparse = takes_sparse(trained.model)
        batches = Batches(
            counts, nothing, len(trained.genes), batch_size, device, sparse=sparse
        ).in_order()
        found = torch.cat([trained.probabilities(expression) for expression, _ in batches])
        novelty.append(scale.of(counts, found))
        genes.append(np.diff(counts.indptr))
    return pd.DataFrame(
        {
            "study": cells["study"],
            "novelty": np.concatenate(novelty),
            "genes": np.concatenate(genes),
        }
    )


def by_study(novelty: Novelty, scored: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One row per set and study: `COLUMNS`.

    Args:
        novelty: with its thresholds.
        scored: set → result of `score_store`.

    Returns:
        cells, novelty (mean), novel and few_genes (shares of the cells).
    """
    parts = [
        table.assign(
            set=name,
            novel=table["novelty"] > novelty.threshold,
            few_genes=table["genes"] < novelty.few_genes,
        )
        for name, table in scored.items()
    ]
    groups = pd.concat(parts).groupby(["set", "study"], observed=True, sort=False)
    means = groups[["novelty", "novel", "few_genes"]].mean()
    return means.assign(cells=groups.size()).reset_index()[COLUMNS]


@njit(nogil=True, cache=True)
def _surprise(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    logged: bool,
    candidates: np.ndarray,
    log_shares: np.ndarray,
    out: np.ndarray,
) -> None:
    sums = np.empty(candidates.shape[1])
    for cell in range(indptr.shape[0] - 1):
        sums[:] = 0.0
        total = 0.0
        for k in range(indptr[cell], indptr[cell + 1]):
            value = np.expm1(values[k]) if logged else float(values[k])
            total += value
            for j in range(sums.shape[0]):
                sums[j] += value * log_shares[candidates[cell, j], genes[k]]
        out[cell] = -sums.max() / total if total > 0 else np.nan


@njit(nogil=True, cache=True)
def _add_shares(
    indptr: np.ndarray,
    genes: np.ndarray,
    values: np.ndarray,
    logged: bool,
    labels: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Adds the shares of the genes of each cell to the row of its label; −1: to none."""
    for cell in range(indptr.shape[0] - 1):
        if labels[cell] < 0:
            continue
        total = 0.0
        for k in range(indptr[cell], indptr[cell + 1]):
            total += np.expm1(values[k]) if logged else float(values[k])
        for k in range(indptr[cell], indptr[cell + 1]):
            value = np.expm1(values[k]) if logged else float(values[k])
            sums[labels[cell], genes[k]] += value / total
