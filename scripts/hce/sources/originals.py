"""Makes the file of a study from its public originals, which `resources/pbmc/originals.tsv` names.

Three kinds of studies are known, by the names of their parts:

* libraries of sorted cells: each part is an archive of 10x, called by the label of its cells;
* counts and labels: an archive of 10x, and an h5ad with obs.louvain for the barcodes to keep;
* matrix, barcodes, genes and cells: files of GEO for one condition; cells is a table with a row
  per cell (ind: donor; stim: ctrl or stim; cell: label; multiplets: singlet, doublet or ambs).
"""

import logging
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.errors import UserError
from hce.files import atomic_path
from hce.inputs.cells import checked_blocks, open_cells
from hce.inputs.genes import name_genes

logger = logging.getLogger(__name__)

LABELLED = {"counts", "labels"}
GEO = {"matrix", "barcodes", "genes", "cells"}
# Files of an archive of 10x that are read.
MEMBERS = ("matrix.mtx", "barcodes.tsv", "genes.tsv", "features.tsv")
# Cells that are taken of each library of sorted cells, at random.
SORTED_CELLS, SEED = 400, 1


def build_original(study: str, parts: Mapping[str, Path], target: str | Path) -> None:
    """Makes the h5ad of a study: counts, obs.author_cell_type, obs.donor_id, var.feature_name.

    Args:
        study: its name.
        parts: name of each part → the file that was downloaded.
        target: the h5ad to write.

    Raises:
        UserError: a part cannot be read, or the parts do not belong together.
    """
    names = set(parts)
    if names == LABELLED:
        cells = _labelled(parts)
    elif names == GEO:
        cells = _from_geo(parts)
    else:
        cells = _sorted_libraries(parts)
    if not cells.n_obs:
        raise UserError(
            f"The originals of {study} have no cell in common: fetch them again "
            f"({', '.join(str(path) for path in parts.values())})."
        )
    with atomic_path(target) as temporary:
        cells.write_h5ad(temporary, compression="gzip")
    logger.info("%s: %d cells, %d genes", target, cells.n_obs, cells.n_vars)


def _sorted_libraries(parts: Mapping[str, Path]) -> anndata.AnnData:
    random = np.random.default_rng(SEED)
    libraries = []
    for label, path in parts.items():
        with _unpacked(path) as folder:
            cells = _read_10x(folder)
        if cells.n_obs > SORTED_CELLS:
            chosen = np.sort(random.choice(cells.n_obs, SORTED_CELLS, replace=False))
            cells = cells[chosen].copy()
        # A library is one donor here; which of the donors its cells are from is not published.
        cells.obs = pd.DataFrame(
            {"author_cell_type": label, "donor_id": label},
            index=[f"{label} {barcode}" for barcode in cells.obs_names],
        )
        libraries.append(cells)
    if any(not cells.var_names.equals(libraries[0].var_names) for cells in libraries):
        raise UserError(
            f"The archives {', '.join(map(str, parts.values()))} have different genes: they are "
            "not of one study; fetch them again."
        )
    whole = anndata.concat(libraries)
    whole.var = libraries[0].var
    return whole


def _labelled(parts: Mapping[str, Path]) -> anndata.AnnData:
    with _unpacked(parts["counts"]) as folder:
        cells = _read_10x(folder)
    with open_cells(parts["labels"]) as labelled:
        obs = labelled.obs
    if "louvain" not in obs:
        raise UserError(f"{parts['labels']} has no obs column louvain: fetch it again.")
    labels = obs["louvain"].astype(str)
    kept = cells[cells.obs_names.isin(labels.index)].copy()
    kept.obs["author_cell_type"] = labels.reindex(kept.obs_names).to_numpy()
    kept.obs["donor_id"] = "donor 1"
    return kept


def _from_geo(parts: Mapping[str, Path]) -> anndata.AnnData:
    with tempfile.TemporaryDirectory() as folder:
        for part, name in (
            ("matrix", "matrix.mtx.gz"), ("barcodes", "barcodes.tsv.gz"), ("genes", "genes.tsv.gz")
        ):  # fmt: skip
            shutil.copy(parts[part], Path(folder, name))
        cells = _read_10x(Path(folder))
    try:
        table = pd.read_csv(parts["cells"], sep="\t", index_col=0, compression="gzip", dtype=str)
        of_condition = table[
            (table["stim"] == "ctrl") & (table["multiplets"] == "singlet") & table["cell"].notna()
        ]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"{parts['cells']} is not the table of cells of GSE96583 ({error}): fetch it again."
        ) from error
    kept = cells[cells.obs_names.isin(of_condition.index)].copy()
    own = of_condition.reindex(kept.obs_names)
    kept.obs["author_cell_type"] = own["cell"].to_numpy()
    kept.obs["donor_id"] = ("patient " + own["ind"]).to_numpy()
    return kept


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """A folder with the files of a 10x archive, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with tarfile.open(path) as archive:
                for member in archive:
                    name = Path(member.name).name
                    if member.isfile() and name.removesuffix(".gz") in MEMBERS:
                        source = archive.extractfile(member)
                        with open(Path(folder, name), "wb") as file:
                            shutil.copyfileobj(source, file)  # type: ignore[arg-type]
        except (tarfile.TarError, OSError, EOFError) as error:
            reason = (str(error).splitlines() or ["it ends early"])[0]
            raise UserError(
                f"{path} is not an archive of 10x Genomics ({reason}): fetch it again."
            ) from error
        yield Path(folder)


def _read_10x(folder: Path) -> anndata.AnnData:
    """The cells of a folder of 10x: counts, feature_name, Ensembl ids as the index of var."""
    with open_cells(folder) as cells:
        place = cells.places["X"]
        counts = sp.vstack(list(checked_blocks(place)), format="csr").astype(np.float32)
        genes, barcodes = name_genes(place.var), cells.obs.index
    var = pd.DataFrame(
        {"feature_name": genes["feature_name"].to_numpy()}, index=genes["feature_id"]
    )
    return anndata.AnnData(counts, pd.DataFrame(index=barcodes), var)
