"""Which columns of a user's matrix are the genes of a model."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.inputs.gene_names import species_of, without_version

logger = logging.getLogger(__name__)

# With fewer of a model's genes its answers mean little.
MIN_SHARE = 0.5
# Names that a message lists.
SHOWN = 5


@dataclass(frozen=True)
class GeneMatch:
    """The genes of a model in a matrix.

    Attributes:
        gene_of: int32 (columns), the model's gene of each column, or −1.
        missing: names of the model's genes that no column holds: they count as zero.
        repeated: names of genes that several columns hold: the first one is taken.
        by_id: genes found by their Ensembl id; the others by name.
        n_genes: of the model.
    """

    gene_of: np.ndarray
    missing: Sequence[str]
    repeated: Sequence[str]
    by_id: int
    n_genes: int

    @property
    def found(self) -> int:
        """How many of the model's genes the matrix holds."""
        return self.n_genes - len(self.missing)

    def report(self) -> str:
        """A sentence for people."""
        text = f"{self.found:,} of the model's {self.n_genes:,} genes found"
        text += f" ({self.by_id:,} by Ensembl id, {self.found - self.by_id:,} by name)"
        if self.missing:
            text += f"; {_some(self.missing)} missing and taken as zero"
        if self.repeated:
            text += f"; {_some(self.repeated)} held more than once, the first column is taken"
        return text + "."


def match_genes(
    var: pd.DataFrame,
    genes: pd.DataFrame,
    holder: str,
    *,
    min_share: float = MIN_SHARE,
    by_name: bool = True,
) -> GeneMatch:
    """Finds the genes of models in a table of genes, by Ensembl id and else by name.

    Training and annotation match genes here, so that both mean the same by a gene.

    Ids and names are looked for in the index and in every column of text; versions of ids
    (ENSG00000141510.17) do not count.

    Args:
        var: the table of genes of the matrix.
        genes: feature_id and feature_name of the models, in their order.
        holder: whose table it is, for messages, such as "File a.h5ad".
        min_share: share of the genes that have to be there.
        by_name: whether a gene whose id is not there is looked for by its name.

    Raises:
        UserError: there are fewer of the genes; says what seems to be wrong.
    """
    columns = _text_columns(var)
    gene_of = np.full(len(var), -1, dtype=np.int32)
    ids: dict[str, int] = {}
    for i, name in enumerate(genes["feature_id"]):
        ids.setdefault(without_version(name), i)
    names: dict[str, int] = {}
    for i, name in enumerate(genes["feature_name"]):
        names.setdefault(name, i)
    by_id = _best([[ids.get(without_version(n), -1) for n in column] for column in columns])
    # Where a model knows no Ensembl ids, its ids are names.
    is_id = np.array([species_of(name) is not None for name in genes["feature_id"]], dtype=bool)
    named = [[names.get(name, -1) if by_name else -1 for name in column] for column in columns]
    taken = np.zeros(len(genes), dtype=bool)
    repeated = []
    for found in (by_id, _best(named)):
        for column in np.flatnonzero((found >= 0) & (gene_of < 0)):
            if taken[found[column]]:
                repeated.append(genes["feature_name"].iloc[found[column]])
            else:
                gene_of[column] = found[column]
                taken[found[column]] = True
    match = GeneMatch(
        gene_of,
        genes["feature_name"][~taken].tolist(),
        list(dict.fromkeys(repeated)),
        int((taken & is_id & np.isin(np.arange(len(genes)), by_id)).sum()),
        len(genes),
    )
    if match.found < min_share * len(genes):
        raise UserError(_why_so_few(match, columns, list(genes["feature_name"]), ids, holder))
    logger.info("%s", match.report())
    return match


def _text_columns(var: pd.DataFrame) -> list[list[str]]:
    """The index, as text, and all columns that hold text."""
    texts = [
        values
        for values in (var[column] for column in var)
        if isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind in "OUT"
    ]
    columns = [values.astype(str).tolist() for values in texts]
    return [var.index.astype(str).tolist(), *columns]


def _best(found: Iterable[Sequence[int]]) -> np.ndarray:
    """Of several columns the one that finds the most genes."""
    arrays = [np.array(column, dtype=np.int32) for column in found]
    return max(arrays, key=lambda array: len(np.unique(array[array >= 0])))


def _why_so_few(
    match: GeneMatch,
    columns: Sequence[Sequence[str]],
    names: Sequence[str],
    ids: dict[str, int],
    holder: str,
) -> str:
    """One sentence on a matrix that lacks most of a model's genes."""
    start = f"{holder} holds {match.found:,} of the model's {match.n_genes:,} genes: "
    prefixes = {species_of(name) for column in columns for name in column} - {None}
    own = {species_of(name) for name in ids} - {None}
    if prefixes and own and not prefixes & own:
        return start + (
            f"its Ensembl ids begin with {min(map(str, prefixes))}, the model's with "
            f"{min(map(str, own))}, so it is another species; map its genes to their orthologues "
            "first."
        )

    def share(change: Callable[[str], str]) -> float:
        known = {change(name) for name in names}
        return max(len(known & {change(n) for n in column}) / len(known) for column in columns)

    if share(str) >= MIN_SHARE:
        return start + (
            "the others agree by name only, and are matched by their id; give the table the ids "
            "of the same annotation."
        )
    if share(str.upper) >= MIN_SHARE:
        return start + (
            "the others agree only if capitals do not count, as names of mouse genes do; a "
            "model of human cells needs human genes."
        )
    if share(lambda name: re.sub(r"[._-]\d+$", "", name)) >= MIN_SHARE:
        ending = re.compile(r".*[._-]\d+")
        example = next((n for column in columns for n in column if ending.fullmatch(n)), "")
        return start + (
            f"its names end in versions or numbers, such as {example!r}; remove these from var."
        )
    return start + (
        f"they are named otherwise, such as {columns[0][0] if columns[0] else ''!r} where the "
        f"model has {names[0]!r}, or the matrix is cut to selected genes; give it all genes, with "
        "symbols or Ensembl ids in var, or name the layer that has them."
    )


def _some(names: Sequence[str]) -> str:
    """The first few names and how many more."""
    shown = ", ".join(names[:SHOWN])
    more = len(names) - SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown
