"""Two-dimensional embeddings of cells that a file brings along."""

from pathlib import Path

import numpy as np

from hce.inputs import tenx
from hce.inputs.opening import open_store

# The best known first; others with these words in their names follow.
KINDS = ("umap", "tsne")


def read_embedding(path: str | Path) -> tuple[str, np.ndarray] | None:
    """The name and the first two columns, float32 (cells, 2), of a UMAP or t-SNE in obsm.

    None if the file has neither.
    """
    if tenx.is_folder(path):
        return None
    with open_store(path, "r") as store:
        stored = store.get("obsm", {})
        names = [str(name) for name in stored] if hasattr(stored, "keys") else []
        for kind in KINDS:
            for name in sorted((n for n in names if kind in n.lower()), key=len):
                columns = tuple(getattr(stored[name], "shape", ()))[1:]
                if len(columns) == 1 and columns[0] >= 2:
                    return name, np.asarray(stored[name][:, :2], dtype=np.float32)
    return None
