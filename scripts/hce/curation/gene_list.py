"""Reads lists of gene names."""

from pathlib import Path

from hce.errors import UserError
from hce.files import read_parquet, read_tsv

# The second is the column of scTab's published list.
NAME_COLUMNS = ("feature_name", "gene_names")


def read_gene_names(path: str | Path) -> list[str]:
    """Gene names from a text file (one per line), a TSV or a Parquet file.

    Tables need a column feature_name (or gene_names, as in scTab's list).

    Raises:
        UserError: the file is missing, empty or of another format.
    """
    path = Path(path)
    try:
        if path.suffix in (".parquet", ".tsv"):
            table = read_parquet(path) if path.suffix == ".parquet" else read_tsv(path)
            column = next((name for name in NAME_COLUMNS if name in table), None)
            if column is None:
                raise ValueError("it has no column feature_name")
            names = table[column].tolist()
        else:
            names = path.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise UserError(
            f"Gene list {path} (data.genes) cannot be read: {str(error).splitlines()[0]}."
        ) from error
    if not names:
        raise UserError(f"Gene list {path} (data.genes) is empty.")
    return names
