"""Augmentation vectors: what sets one donor apart from another, within a type.

MLP and TabNet are trained on cells that a random vector shifts either way, so that they see the
same type as other donors would show it. Source: Fischer et al., Nature Communications 15, 6611,
2024, and the published code of the paper. Its draws are in part unseeded, so that its vectors can
be loaded, but not computed again.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.cluster import KMeans

from hce.batches.densify import Densifier
from hce.errors import UserError
from hce.models.published_checkpoints import read_augmentations
from hce.store.categories import codes_of
from hce.store.cell_store import CellStore
from hce.store.counts import Counts

logger = logging.getLogger(__name__)

# Cells that are dense at a time.
CHUNK = 1024


@dataclass(frozen=True)
class AugmentationSpec:
    """How vectors are made, as the config's `augmentation`.

    Attributes:
        cells: cells drawn at most, without replacement, each with a chance ∝ 1 / cells of its type.
        pairs: pairs of donors drawn at most within a type, and one less than there are.
        threshold: changes up to this size are set to 0.
        clip: changes beyond this size are set to it.
        clusters: of k-means over the vectors.
        min_cluster: a cluster is kept with more vectors than this.
        vectors: vectors sampled from the clusters that are kept.
        seed: of every draw.
    """

    cells: int
    pairs: int
    threshold: float
    clip: float
    clusters: int
    min_cluster: int
    vectors: int
    seed: int


def make_vectors(store: CellStore, spec: AugmentationSpec) -> tuple[np.ndarray, pd.DataFrame]:
    """Computes augmentation vectors from training cells.

    Memory holds the drawn cells as counts and the vectors without their zeros, whatever the size
    of the store.

    Args:
        store: the training cells; its cell table has label and donor.
        spec: how.

    Returns:
        The vectors, float32 (at most spec.vectors, genes), none where no type has three donors;
        and a report: quantity, value.
    """
    table = store.cells()
    rng = np.random.default_rng(spec.seed)
    drawn = draw_cells(table["label"].to_numpy(), spec.cells, rng)
    chosen = table.iloc[drawn]
    labels = chosen["label"].to_numpy().astype(np.int64)
    donors = codes_of(chosen["donor"], str(store.path))
    counts = _read(store, drawn)
    n_genes = len(store.genes)
    parts = []
    for label in np.unique(labels):
        cells = np.flatnonzero(labels == label)
        pairs = draw_pairs(np.unique(donors[cells]), spec.pairs, rng)
        if len(pairs):
            change = _differences(counts, cells, donors[cells], pairs, n_genes)
            change[np.abs(change) <= spec.threshold] = 0
            parts.append(sp.csr_matrix(np.clip(change, -spec.clip, spec.clip)))
    every = sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, n_genes), dtype="f4")
    kept = np.arange(every.shape[0])
    if len(kept) > spec.vectors:
        kept = _in_large_clusters(every, spec)
        sample = np.random.default_rng(spec.seed)
        kept = np.sort(sample.choice(kept, spec.vectors, replace=False))
    if len(kept) == 0:
        logger.warning(
            "No augmentation is possible, because no type has cells of three donors: models are "
            "trained without."
        )
    vectors = every[kept]
    report = [
        ("cells drawn", len(drawn)),
        ("types with three donors", len(parts)),
        ("differences between donors", every.shape[0]),
        ("vectors", len(kept)),
        ("changes beyond the threshold, %", _non_zeros(every)),
        ("0.995 quantile of the size of changes", _quantile(every, 0.995)),
        ("non-zeros of the vectors, %", _non_zeros(vectors)),
    ]
    return vectors.toarray(), pd.DataFrame(report, columns=["quantity", "value"])


def _non_zeros(vectors: sp.csr_matrix) -> float:
    """Share of the entries that are not zero, in per cent; NaN where there are none."""
    size = np.prod(vectors.shape)
    return 100 * vectors.nnz / size if size else np.nan


def _quantile(vectors: sp.csr_matrix, share: float) -> float:
    """The size that this share of all entries, zeros among them, does not exceed; NaN without."""
    size = int(np.prod(vectors.shape))
    beyond = size - int(np.ceil(share * size))  # entries that may be larger
    if not size:
        return np.nan
    if beyond >= vectors.nnz:
        return 0.0
    place = vectors.nnz - 1 - beyond
    return float(np.partition(np.abs(vectors.data), place)[place])


def read_published_vectors(path: str | Path, n_genes: int) -> np.ndarray:
    """Reads vectors made elsewhere, float32 (vectors, genes).

    Args:
        path: a file of numpy (.npy), or a published checkpoint (.ckpt) of a model trained on them.
        n_genes: columns that it must have.

    Raises:
        UserError: it cannot be read, or has other genes or values that are not finite.
    """
    try:
        if Path(path).suffix == ".ckpt":
            vectors = read_augmentations(path)
        else:
            vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"Config key augmentation.published names {path}, which is no array of numpy: give a "
            f".npy file ({error})."
        ) from error
    if vectors.ndim != 2 or vectors.shape[1] != n_genes or not np.isfinite(vectors).all():
        raise UserError(
            f"{path} (augmentation.published) has the shape {vectors.shape}, but must have a "
            f"finite value for each of the run's {n_genes} genes: use other vectors, or null."
        )
    return vectors.astype(np.float32)


def draw_cells(labels: np.ndarray, n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of cells drawn without replacement, each ∝ 1 / cells of its type; ascending."""
    if len(labels) <= n_cells:
        return np.arange(len(labels))
    chance = 1.0 / np.bincount(labels)[labels]
    return np.sort(rng.choice(len(labels), n_cells, replace=False, p=chance / chance.sum()))


def draw_pairs(donors: np.ndarray, n_pairs: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct unordered pairs of distinct donors, integer (pairs, 2).

    As in the published code it is one less than the donors allow, and at most n_pairs: two donors
    give none.
    """
    first, second = np.triu_indices(len(donors), k=1)
    number = max(min(len(first) - 1, n_pairs), 0)
    some = np.empty(0, np.int64)
    if number:
        some = rng.choice(len(first), number, replace=False)
    return np.column_stack([donors[first[some]], donors[second[some]]])


def _read(store: CellStore, cells: np.ndarray) -> Counts:
    """The counts of some cells, given by ascending position, in one pass over the store."""
    parts, start = [], 0
    for block in store.blocks():
        low, high = np.searchsorted(cells, (start, start + len(block)))
        if high > low:
            parts.append(block.take(cells[low:high] - start))
        start += len(block)
    return Counts.concatenate(parts)


def _differences(
    counts: Counts,
    cells: np.ndarray,
    donors: np.ndarray,
    pairs: np.ndarray,
    n_genes: int,
) -> np.ndarray:
    """Differences of mean log-expression between the donors of each pair, float32 (pairs, genes).

    Args:
        counts: of all drawn cells.
        cells: those of one type.
        donors: the donor of each of them.
        pairs: (pairs, 2), see `draw_pairs`.
        n_genes: columns.
    """
    needed = np.unique(pairs)
    sums = np.zeros((len(needed), n_genes))
    wanted = np.flatnonzero(np.isin(donors, needed))
    row_of = np.searchsorted(needed, donors[wanted])
    densify = Densifier(n_genes, CHUNK)
    for start in range(0, len(wanted), CHUNK):
        part = wanted[start : start + CHUNK]
        rows = row_of[start : start + CHUNK]
        expression = densify(counts, cells[part], None).numpy()
        membership = sp.csr_matrix(
            (np.ones(len(part)), (rows, np.arange(len(part)))), shape=(len(needed), len(part))
        )
        sums += membership @ expression
    means = (sums / np.bincount(row_of)[:, None]).astype(np.float32)
    first, second = np.searchsorted(needed, pairs).T
    return means[first] - means[second]


def _in_large_clusters(vectors: sp.csr_matrix, spec: AugmentationSpec) -> np.ndarray:
    """Positions of the vectors in large clusters; of all where those hold too few."""
    clusters = min(spec.clusters, vectors.shape[0])
    found = KMeans(clusters, n_init=1, random_state=spec.seed).fit_predict(vectors)
    large = np.bincount(found)[found] > spec.min_cluster
    if large.sum() < spec.vectors:
        logger.info(
            "clusters of more than %d vectors hold %d, fewer than %d: all %d are sampled from",
            spec.min_cluster,
            large.sum(),
            spec.vectors,
            vectors.shape[0],
        )
        return np.arange(vectors.shape[0])
    return np.flatnonzero(large)
