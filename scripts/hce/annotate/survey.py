"""What the page of an annotated file shows beside its columns: markers, depth, an embedding."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.annotate.annotator import Annotator
from hce.annotate.labels import PREFIX
from hce.annotate.markers import check_markers
from hce.annotate.run import Annotation, batches_of
from hce.errors import UserError
from hce.inputs.cells import Place, open_cells
from hce.inputs.embeddings import read_embedding
from hce.store.counts import TARGET_TOTAL, Counts

# Cells of the embedding at most, drawn at random.
DRAWN = 20_000
COMPONENTS, NEIGHBOURS = 30, 15


@dataclass(frozen=True)
class Survey:
    """What a second reading of an annotated file gives.

    Attributes:
        drawn: int64, positions of the cells in the embedding.
        embedding: float32 (drawn, 2).
        embedded_by: name of the embedding in the file, or how it was computed.
        genes: int64 (cells), how many of the model's genes have counts.
        markers: type, gene, found, expected, elsewhere and agrees, see `markers`.
    """

    drawn: np.ndarray
    embedding: np.ndarray
    embedded_by: str
    genes: np.ndarray
    markers: pd.DataFrame


def check_embedding(source: str | Path) -> None:
    """Checks that a page can show an embedding.

    Raises:
        UserError: the file has none, and scanpy, which would compute one, is not installed.
    """
    if importlib.util.find_spec("scanpy") is None and read_embedding(source) is None:
        raise UserError(
            f"The report shows an embedding, but {source} has none (obsm X_umap or X_tsne), and "
            "scanpy, which would compute one, is not installed: install it, or add an embedding."
        )


def survey(source: str | Path, annotation: Annotation, annotator: Annotator) -> Survey:
    """Reads an annotated file once more, in blocks.

    Raises:
        UserError: see `check_embedding` and `open_cells`.
    """
    check_embedding(source)
    labels = annotator.trained.types["label"].tolist()
    called = pd.Index(labels).get_indexer(annotation.obs[f"{PREFIX}cell_type"].astype(str))
    brought = read_embedding(source)
    n_cells, n_genes = len(called), annotation.genes.n_genes
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.permutation(n_cells)[:DRAWN])
    sums = np.zeros((len(labels), n_genes))
    kept: list[sp.csr_matrix] = []
    seen: list[np.ndarray] = []
    with open_cells(source) as cells:
        place = _place(cells.places, annotation.uns)
        for start, counts in batches_of(place, annotation.genes.gene_of):
            scaled = _scaled(counts, n_genes)
            own = called[start : start + len(counts)]
            groups = sp.csr_matrix(
                (np.ones((own >= 0).sum()), (own[own >= 0], np.flatnonzero(own >= 0))),
                shape=(len(labels), len(counts)),
            )
            sums += (groups @ scaled).toarray()
            seen.append(np.diff(counts.indptr))
            if brought is None:
                inside = drawn[(drawn >= start) & (drawn < start + len(counts))]
                kept.append(scaled[inside - start].log1p())
    name, embedding = brought or ("UMAP, computed for this page", None)
    embedding = _umap(sp.vstack(kept)) if embedding is None else embedding[drawn]
    size = np.bincount(called[called >= 0], minlength=len(labels))
    markers = check_markers(
        annotator, np.arange(len(labels)), sums, size, annotation.genes.found_at
    )
    return Survey(drawn, embedding, name, np.concatenate(seen), markers)


def _place(places: Mapping[str, Place], uns: Mapping[str, Any]) -> Place:
    place = places[uns["counts"]]
    return Place(place.name, place.file, place.matrix, place.var, bool(uns["counts_rounded"]))


def _scaled(counts: Counts, n_genes: int) -> sp.csr_matrix:
    """Counts per 10,000, (cells, genes)."""
    values = counts.values.astype(np.float64)
    lengths = np.diff(counts.indptr)
    totals = np.bincount(np.repeat(np.arange(len(counts)), lengths), values, len(counts))
    scaled = values * TARGET_TOTAL / np.repeat(totals, lengths)
    return sp.csr_matrix(
        (scaled.astype(np.float32), counts.genes.astype(np.int32), counts.indptr),
        shape=(len(counts), n_genes),
    )


def _umap(expression: sp.csr_matrix) -> np.ndarray:
    """A UMAP of cells, float32 (cells, 2); of very few cells two principal components."""
    import scanpy  # type: ignore[import-untyped]
    from anndata import AnnData

    cells = AnnData(expression)
    scanpy.pp.pca(cells, n_comps=min(COMPONENTS, *(size - 1 for size in expression.shape)))
    if len(expression.indptr) - 1 <= NEIGHBOURS:
        return np.asarray(cells.obsm["X_pca"][:, :2], dtype=np.float32)
    scanpy.pp.neighbors(cells, n_neighbors=NEIGHBOURS)
    scanpy.tl.umap(cells)
    return np.asarray(cells.obsm["X_umap"], dtype=np.float32)
