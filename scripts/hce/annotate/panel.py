"""A model for panels: files that hold the counts of a few of its genes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.inputs.genes import find_genes
from hce.store.cell_store import CellStore
from hce.store.counts import Counts
from hce.store.manifest import read_manifest


@dataclass(frozen=True)
class PanelStore(CellStore):
    """The cells of a store as a panel would have counted them.

    Attributes:
        panel: bool (G,), which genes of the store the panel has; the counts of others are left out.
    """

    panel: np.ndarray

    @classmethod
    def of(cls, path: str | Path, panel: np.ndarray) -> "PanelStore":
        """Opens a store, see `CellStore.open`."""
        return cls(Path(path), read_manifest(path), panel)

    def blocks(self) -> Iterator[Counts]:
        """Streams the counts of the panel's genes, see `CellStore.blocks`."""
        for counts in super().blocks():
            yield counts.of_genes(self.panel)


def read_panel(path: str | Path, genes: pd.DataFrame) -> np.ndarray:
    """Which genes of a model a panel has, bool (G,).

    Args:
        path: a text file with one gene per line, as Ensembl id or symbol; lines that begin with #
            are comments.
        genes: feature_id and feature_name of the model.

    Raises:
        UserError: there is no such file, or fewer than half of its lines are genes of the model.
    """
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The panel {path} cannot be read ({error}): give a text file with one gene per line."
        ) from error
    names = [line for line in lines if line and not line.startswith("#")]
    match = find_genes(pd.DataFrame(index=names), genes)
    unknown = [name for name, gene in zip(names, match.gene_of, strict=True) if gene < 0]
    if len(unknown) > len(names) / 2 or not names:
        example = f", such as {unknown[0]!r}" if unknown else ""
        raise UserError(
            f"Of the {len(names)} lines of panel {path}, {len(unknown)} are not genes of the "
            f"model{example}: give one Ensembl id or symbol per line."
        )
    panel = np.zeros(len(genes), dtype=bool)
    panel[match.found_at] = True
    return panel
