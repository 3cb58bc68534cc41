"""Which matrix of a file holds the raw counts, decided by what is in all of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import scipy.sparse as sp

from hce.errors import UserError
from hce.inputs.cells import Cells, Place

# Cells that are looked at to tell what a matrix holds.
LOOK_CELLS = 1000
# A matrix with this share of the genes of the best one has them all.
ENOUGH_GENES = 0.98
# Parts and estimates of counts, which are counts of something else than the cell.
_PARTS = re.compile(r"ambig|unsplice|nascent|intron|background|ambient|soup|empty|binar|mask", re.I)
_NEAR = 1e-3
_ROWS = 50  # whose values are compared with one another


@dataclass(frozen=True)
class Kind:
    """What the values of a matrix seem to be.

    Attributes:
        name: "counts"; "fractions" or "near-integers", which are rounded on demand; "binarised",
            which is taken only by name; or "other", which is never taken.
        words: the same with an example, such as "values such as 0.37, as normalised data do".
    """

    name: str
    words: str


@dataclass(frozen=True)
class Choice:
    """The matrix that is read as counts.

    Attributes:
        place: the matrix.
        kind: what it holds, in words.
        others: name → what the other matrices hold, or why they were not taken.
    """

    place: Place
    kind: str
    others: dict[str, str]

    def report(self) -> str:
        """A sentence for people."""
        how = ", which are rounded" if self.place.rounded else ""
        text = f"Counts are read from {self.place.name}: it holds {self.kind}{how}"
        others = [f"{name} holds {what}" for name, what in self.others.items()]
        return "; ".join([text, *others]) + "."


@dataclass(frozen=True)
class _Look:
    """What the first cells of a matrix show.

    Attributes:
        kind: of its values.
        genes: how many of the wanted genes it has.
        total: the median of the sums of its cells.
    """

    kind: Kind
    genes: int
    total: float


def choose_counts(
    cells: Cells,
    layer: str | None = None,
    *,
    rounded: bool = False,
    genes_of: Callable[[pd.DataFrame], int] = len,
) -> Choice:
    """Finds the raw counts: of the matrices that hold some, the one with the most in a cell.

    Of matrices with fewer genes than others, such as the variable ones, none is taken; nor by
    itself one that is named as a part of the counts (unspliced, ambiguous, background, …) or holds
    nothing but 0 and 1.

    Args:
        cells: where to look.
        layer: the place to take ("X", "raw" or a layer); None: all are compared.
        rounded: whether fractions of counts may be rounded.
        genes_of: how many of the wanted genes a table of genes has.

    Raises:
        UserError: there is no such place, or there are no counts where they are looked for.
    """
    named = [*cells.places, *cells.unread]
    if layer is not None and layer not in named:
        raise UserError(
            f"File {cells.file} has no layer {layer!r}: name one of {', '.join(named)}."
        )
    places = {name: place for name, place in cells.places.items() if layer in (None, name)}
    # Layers share a table of genes.
    genes = {id(place.var): genes_of(place.var) for place in places.values()}
    looks = {name: _look(place, genes[id(place.var)]) for name, place in places.items()}
    usable = [name for name, look in looks.items() if _is_usable(name, look, layer, rounded)]
    if not usable:
        raise _no_counts(cells, looks, layer, rounded)
    most = max(looks[name].genes for name in usable)
    whole = [name for name in usable if looks[name].genes >= ENOUGH_GENES * most]
    exact = [name for name in whole if looks[name].kind.name in ("counts", "binarised")]
    best = max(exact or whole, key=lambda name: looks[name].total)
    others = {name: _why_not(look, looks[best]) for name, look in looks.items() if name != best}
    place = replace(cells.places[best], rounded=not exact)
    return Choice(place, looks[best].kind.words, others)


def find_counts(cells: Cells, layer: str | None = None, rounded: bool = False) -> Place:
    """The matrix that holds the raw counts, see `choose_counts`."""
    return choose_counts(cells, layer, rounded=rounded).place


def _is_usable(name: str, look: _Look, layer: str | None, rounded: bool) -> bool:
    kinds = ["counts"] + ["fractions", "near-integers"] * rounded + ["binarised"] * bool(layer)
    return look.kind.name in kinds and (layer is not None or _PARTS.search(name) is None)


def _why_not(look: _Look, best: _Look) -> str:
    if look.kind.name == "counts" and look.genes < ENOUGH_GENES * best.genes:
        return f"counts of {look.genes:,} genes only"
    return look.kind.words


def _no_counts(
    cells: Cells, looks: dict[str, _Look], layer: str | None, rounded: bool
) -> UserError:
    told = {name: f"holds {look.kind.words}" for name, look in looks.items()}
    told |= {name: why for name, why in cells.unread.items() if layer in (None, name)}
    found = "; ".join(f"{name} {what}" for name, what in told.items())
    start = f"File {cells.file} holds no raw counts where they were looked for ({found}): "
    kinds = {look.kind.name for look in looks.values()}
    if not rounded and kinds & {"fractions", "near-integers"}:
        return UserError(
            start + "to read such values rounded, give --round (in Python, rounded=True)."
        )
    if kinds & {"counts", "binarised"}:
        return UserError(
            start + "parts of the counts and binarised counts are taken only where you name them "
            "with --layer."
        )
    return UserError(start + "put them into X or a layer, or name their layer.")


def _look(place: Place, genes: int) -> _Look:
    """Looks at the first cells of a matrix that are not empty."""
    for block in place.blocks(LOOK_CELLS):
        if np.any(block.data):
            sums = np.asarray(block.sum(axis=1)).ravel()
            return _Look(kind_of_values(block), genes, float(np.median(sums)))
    return _Look(Kind("other", "nothing but zeros"), genes, 0.0)


def kind_of_values(block: sp.csr_matrix) -> Kind:
    """What values seem to be.

    Args:
        block: (cells, genes), not all zero.
    """
    values = block.data[block.data != 0]
    if not np.isfinite(values).all():
        return Kind("other", "values that are missing or infinite")
    if (values < 0).any():
        return Kind("other", f"negative values such as {values.min():.4g}, as scaled data do")
    broken = values[values % 1 != 0]
    if not len(broken):
        if values.max() == 1:
            return Kind("binarised", "nothing but 0 and 1, as binarised counts do")
        return Kind("counts", "counts")
    example = f"values such as {broken[0]:.4g}"
    if values.max() >= 1 and (np.abs(broken - np.rint(broken)) <= _NEAR).all():
        return Kind("near-integers", f"{example}, as counts do that were logged and unlogged")
    if _has_levels(block, np.asarray):
        return Kind("other", f"{example}, as normalised data do")
    is_small = values.max() < 20
    if is_small and (_has_levels(block, np.expm1) or len(broken) > 0.9 * len(values)):
        return Kind("other", f"{example}, as log-transformed data do")
    if len(broken) > 0.98 * len(values):
        return Kind("other", f"{example}, as normalised data do")
    words = "as SoupX, CellBender and methods that share counts out (EM) give"
    return Kind("fractions", f"fractions such as {broken[0]:.4g}, {words}")


def _has_levels(block: sp.csr_matrix, change: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether the values of a cell are multiples of its smallest: counts times one factor."""
    multiples = []
    for row in range(min(_ROWS, block.shape[0])):
        values = block.data[block.indptr[row] : block.indptr[row + 1]].astype(np.float64)
        values = change(values[values > 0])
        if len(values) > 1:
            ratios = values / values.min()
            ratios = ratios[ratios < 30]
            multiples.append(np.mean(np.abs(ratios - np.rint(ratios)) < 0.02))
    return bool(multiples) and float(np.median(multiples)) > 0.95
