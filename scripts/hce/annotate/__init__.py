"""Annotating your own cells with a trained model.

from hce.annotate import annotate
annotate(adata, "mlp_hce.hce")
adata.obs["hce_back_off_cell_type"]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hce.annotate.annotator import Annotator, load_annotator
from hce.annotate.labels import is_own
from hce.annotate.run import OBSM_KEY, UNS_KEY, Annotation, Options, annotate_cells
from hce.annotate.shown import type_table
from hce.files import scratch_folder
from hce.inputs.cells import cells_of, open_cells
from hce.progress import Progress

if TYPE_CHECKING:  # slow to import, and not needed to calibrate a model
    from anndata import AnnData

__all__ = ["Annotation", "Annotator", "Options", "annotate", "annotate_file", "load_annotator"]


def annotate(
    adata: "AnnData",
    model: str | Path | Annotator,
    *,
    probability: float | None = 0.9,
    layer: str | None = None,
    types: Sequence[str] | None = None,
    vote: str | None = None,
    probabilities: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    rounded: bool = False,
    panel: bool = False,
    levels: Sequence[str] = (),
    depths: Sequence[int] = (),
) -> None:
    """Adds the types of a model to `adata.obs`, and their provenance to `adata.uns["hce"]`.

    Prints a table of the types.

    Counts are never altered. `labels.columns` describes the columns.

    Args:
        adata: cells with raw counts in X, raw or a layer; in memory or backed, or a view of one in
            memory.
        model: a model file, or a loaded model.
        probability: the calibrated precision of the back-off; None: no back-off.
        layer: where the raw counts are ("X", "raw" or a layer); None: searched for.
        types: CL ids or labels of the plausible types; None: all.
        vote: column of obs whose clusters vote.
        probabilities: whether to add the probabilities of all types to `adata.obsm`.
        overwrite: whether to replace columns of an earlier annotation.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        rounded: whether fractions of counts (SoupX, CellBender, EM) are rounded and read.
        panel: whether fewer than half of the model's genes are enough.
        levels: terms, of which the back-off gives one in a column of its own.
        depths: for each, the back-off gives a term of at most this depth in a column of its own.

    Raises:
        UserError: see `run.annotate_cells`; the AnnData is then unchanged.
    """
    options = Options(
        *(probability, layer, types, vote, probabilities, overwrite, device),
        *(rounded, panel, levels, depths),
    )
    annotator = model if isinstance(model, Annotator) else load_annotator(model)
    annotation = annotate_cells(cells_of(adata), annotator, options)
    for name in [name for name in adata.obs if is_own(name)]:
        del adata.obs[name]
    for name, column in annotation.obs.items():
        adata.obs[name] = column
    adata.uns[UNS_KEY] = {
        key: np.array(value, dtype=object) if isinstance(value, list) else value
        for key, value in annotation.uns.items()
    }
    if annotation.probabilities is not None:
        adata.obsm[OBSM_KEY] = annotation.probabilities
    else:
        adata.obsm.pop(OBSM_KEY, None)
    print(type_table(annotation.obs, annotation.uns))


def annotate_file(
    source: str | Path,
    model: str | Path | Annotator,
    out: str | Path,
    options: Options | None = None,
    progress: type[Progress] = Progress,
    force: bool = False,
) -> Annotation:
    """Annotates a file; the source is not altered, and the output is complete or absent.

    Args:
        source: h5ad or zarr, or an .h5 or a folder of 10x.
        model: a model file, or a loaded model.
        out: .h5ad (.zarr for a zarr), or .tsv or .parquet.
        options: what to annotate.
        progress: reports progress, like `Progress`.
        force: whether an existing folder that is not ours may be replaced.

    Raises:
        UserError: see `run.annotate_cells`, `inputs.open_cells` and `outputs.write_annotation`.
    """
    from hce.annotate.outputs import check_output, write_annotation

    check_output(source, out, force)
    options = options or Options()
    annotator = model if isinstance(model, Annotator) else load_annotator(model)
    with scratch_folder(out) as scratch:
        with open_cells(source) as cells:
            annotation = annotate_cells(cells, annotator, options, scratch, progress)
        write_annotation(source, out, annotation)
    return annotation
