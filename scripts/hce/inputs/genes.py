"""Which columns of a user's matrix are the genes of a model."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.inputs.gene_names import species_of, spelling, without_genome, without_version
from hce.inputs.renamed import other_symbols

logger = logging.getLogger(__name__)

# With fewer of a model's genes its answers mean little.
MIN_SHARE = 0.5
# Names that a message lists.
SHOWN = 5
# Columns that say what a feature is, and what genes are called there.
FEATURE_TYPES = ("feature_types", "feature_type")
GENE = "Gene Expression"
# Columns of symbols, the first that is there is taken.
NAME_COLUMNS = ("feature_name", "gene_symbols", "gene_symbol", "gene_name", "gene_names", "symbol")


@dataclass(frozen=True)
class GeneMatch:
    """The genes of a model in a matrix.

    Attributes:
        gene_of: int32 (columns), the model's gene of each column, or −1.
        missing: names of the model's genes that no column holds: they count as zero.
        repeated: names of genes that several columns hold: the first one is taken.
        by_id: genes found by their Ensembl id; the others by name.
        n_genes: of the model.
        wanted: how many of these were looked for.
        by_spelling: genes found by their name without regard to signs, as in HLA.A.
        renamed: genes found by an earlier or later symbol.
    """

    gene_of: np.ndarray
    missing: Sequence[str]
    repeated: Sequence[str]
    by_id: int
    n_genes: int
    wanted: int
    by_spelling: int = 0
    renamed: int = 0

    @property
    def found(self) -> int:
        """How many of the model's genes the matrix holds."""
        return self.wanted - len(self.missing)

    @property
    def found_at(self) -> np.ndarray:
        """Positions of the model's genes that the matrix holds, ascending."""
        return np.unique(self.gene_of[self.gene_of >= 0])

    def report(self) -> str:
        """A sentence for people."""
        of = "genes" if self.wanted == self.n_genes else "genes on its panel"
        text = f"{self.found:,} of the model's {self.wanted:,} {of} found"
        by_name = self.found - self.by_id - self.by_spelling - self.renamed
        text += f" ({self.by_id:,} by Ensembl id, {by_name:,} by name"
        text += f", {self.by_spelling:,} by name as R spells it" if self.by_spelling else ""
        text += f", {self.renamed:,} by an earlier or later symbol)" if self.renamed else ")"
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
    wanted: np.ndarray | None = None,
) -> GeneMatch:
    """Finds the genes of models in a table of genes, by Ensembl id and else by name.

    Training and annotation match genes here, so that both mean the same by a gene.

    Ids and names are looked for in the index and in every column of text, and the best of these is
    taken; versions of ids (ENSG00000141510.17) and genomes before names (GRCh38_CD3E) do not count.
    Names that are left are looked for without regard to signs (HLA.A), and then among the symbols
    that human genes had before or got later (`other_symbols`). Features that are not genes, such as
    antibodies, are left out.

    Args:
        var: the table of genes of the matrix.
        genes: feature_id and feature_name of the models, in their order.
        holder: whose table it is, for messages, such as "File a.h5ad".
        min_share: share of the genes that have to be there.
        by_name: whether a gene whose id is not there is looked for by its name.
        wanted: which of the genes are looked for, bool (G,); None: all.

    Raises:
        UserError: there are fewer of the genes; says what seems to be wrong.
    """
    columns = _text_columns(var)
    match = _match(columns, are_genes(var), genes, by_name, wanted)
    if match.found < min_share * match.wanted:
        raise UserError(_why_so_few(match, columns, genes, holder))
    logger.info("%s", match.report())
    return match


def find_genes(
    var: pd.DataFrame, genes: pd.DataFrame, wanted: np.ndarray | None = None
) -> GeneMatch:
    """As `match_genes`, however few of the genes there are, and without a word in the log."""
    return _match(_text_columns(var), are_genes(var), genes, True, wanted)


def _match(
    columns: Sequence[Sequence[str]],
    are_genes: np.ndarray,
    genes: pd.DataFrame,
    by_name: bool,
    wanted: np.ndarray | None,
) -> GeneMatch:
    """See `match_genes`; columns are names of the features, which are genes or not."""
    gene_of = np.full(len(are_genes), -1, dtype=np.int32)
    ids = _first(map(without_version, genes["feature_id"]))
    names = _first(genes["feature_name"]) if by_name else {}
    by_id, exactly = _best(ids, without_version, columns), _best(names, str, columns)
    by_spelling = _best(_spellings(names), spelling, columns)
    renamed = _best(other_symbols(ids, names) if by_name else {}, str, columns)
    wanted = np.ones(len(genes), dtype=bool) if wanted is None else wanted
    taken = np.zeros(len(genes), dtype=bool)
    repeated, counted = [], []
    for found in (by_id, exactly, by_spelling, renamed):
        for column in np.flatnonzero((found >= 0) & wanted[found] & (gene_of < 0) & are_genes):
            if not taken[found[column]]:
                gene_of[column] = found[column]
                taken[found[column]] = True
            elif found is by_id or found is exactly:
                repeated.append(genes["feature_name"].iloc[found[column]])
        counted.append(int(taken.sum()))
    # Where a model knows no Ensembl ids, its ids are names.
    is_id = np.array([species_of(name) is not None for name in genes["feature_id"]], dtype=bool)
    return GeneMatch(
        gene_of,
        genes["feature_name"][wanted & ~taken].tolist(),
        list(dict.fromkeys(repeated)),
        int((taken & is_id & np.isin(np.arange(len(genes)), by_id)).sum()),
        len(genes),
        int(wanted.sum()),
        counted[2] - counted[1],
        counted[3] - counted[2],
    )


def are_genes(var: pd.DataFrame) -> np.ndarray:
    """Which features are genes, bool (features): all, unless a column says what each is."""
    for column in FEATURE_TYPES:
        if column in var and (var[column].astype(str) == GENE).any():
            return (var[column].astype(str) == GENE).to_numpy()
    return np.ones(len(var), dtype=bool)


def name_genes(var: pd.DataFrame) -> pd.DataFrame:
    """The id and the symbol of each feature of a study that a model is trained on.

    Returns:
        feature_id: of the index and the columns of text the first that holds Ensembl ids, without
        versions, else the index. feature_name: of `NAME_COLUMNS` the first that is there, else the
        index.
    """
    columns = _text_columns(var)
    ids = next((c for c in columns if sum(species_of(n) is not None for n in c) > len(c) / 2), None)
    named = next((column for column in NAME_COLUMNS if column in var), None)
    names = columns[0] if named is None else _text_columns(var[[named]])[1]
    ids = columns[0] if ids is None else [without_version(name) for name in ids]
    return pd.DataFrame({"feature_id": ids, "feature_name": names}, index=range(len(var)))


def _text_columns(var: pd.DataFrame) -> list[list[str]]:
    """The index, as text, and all columns that hold text; genomes before names are left out."""
    texts = [
        values
        for values in (var[column] for column in var)
        if isinstance(values.dtype, pd.CategoricalDtype) or values.dtype.kind in "OUT"
    ]
    columns = [var.index.astype(str), *(values.astype(str) for values in texts)]
    return [[without_genome(name) for name in column] for column in columns]


def _first(names: Iterable[str]) -> dict[str, int]:
    """Name → its first position."""
    found: dict[str, int] = {}
    for number, name in enumerate(names):
        found.setdefault(name, number)
    return found


def _spellings(names: dict[str, int]) -> dict[str, int]:
    """The names without regard to signs, but for those that several share."""
    often = Counter(map(spelling, names))
    return {spelling(name): i for name, i in names.items() if often[spelling(name)] == 1}


def _best(
    known: dict[str, int], change: Callable[[str], str], columns: Sequence[Sequence[str]]
) -> np.ndarray:
    """The known name of each feature, or −1, by the column that finds the most."""
    arrays = [
        np.array([known.get(change(name), -1) for name in column], dtype=np.int32)
        for column in columns
    ]
    return max(arrays, key=lambda array: len(np.unique(array[array >= 0])))


def _why_so_few(
    match: GeneMatch,
    columns: Sequence[Sequence[str]],
    genes: pd.DataFrame,
    holder: str,
) -> str:
    """One sentence on a matrix that lacks most of a model's genes."""
    names = genes["feature_name"].tolist()
    start = f"{holder} holds {match.found:,} of the model's {match.wanted:,} genes: "
    prefixes = {species_of(name) for column in columns for name in column} - {None}
    own = {species_of(name) for name in genes["feature_id"]} - {None}
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
