"""Human genes under the symbols they have had."""

from collections.abc import Mapping
from functools import cache
from importlib import resources

import pandas as pd

TABLE = "renamed_genes.tsv"


@cache
def read_renamed() -> dict[str, tuple[str, ...]]:
    """Ensembl id of each renamed gene → its symbols, the one approved in July 2024 first.

    Source: HUGO Gene Nomenclature Committee, see the head of `renamed_genes.tsv`. Symbols that are
    or were those of several genes are not in it, so that each leads to one gene.
    """
    with resources.files("hce.inputs").joinpath(TABLE).open(encoding="utf-8") as file:
        table = pd.read_csv(file, sep="\t", comment="#", dtype=str, keep_default_na=False)
    symbols = table["symbol"] + "|" + table["previous"]
    return dict(zip(table["feature_id"], map(tuple, symbols.str.split("|")), strict=True))


def other_symbols(ids: Mapping[str, int], names: Mapping[str, int]) -> dict[str, int]:
    """The symbols that genes of a model have in files of another year → their positions.

    Args:
        ids: Ensembl id of each gene of the model → its position.
        names: its symbol there → its position, for genes whose id HGNC does not know.

    Returns:
        Symbols that are not names in the model themselves.
    """
    found: dict[str, int] = {}
    for gene, symbols in read_renamed().items():
        known = [ids[gene]] if gene in ids else [names[s] for s in symbols if s in names]
        if len(set(known)) == 1:
            found |= {symbol: known[0] for symbol in symbols if symbol not in names}
    return found
