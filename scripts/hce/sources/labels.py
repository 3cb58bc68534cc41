"""Which term of the Cell Ontology each label of a study is."""

import csv
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from hce.errors import UserError
from hce.ontology import Ontology

logger = logging.getLogger(__name__)

MAPPING_COLUMNS = ("study", "author_cell_type", "cell_type_ontology_term_id")
DROP = "drop"
_TERM = re.compile(r"(?:^|[/#])([A-Za-z]+)[:_](\d+)$")


def terms_of(
    labels: pd.Series, row: Mapping[str, str], manifest: Path, path: Path, ontology: Ontology
) -> pd.Series:
    """The term of each cell, by the mapping table or because its label is one.

    Args:
        labels: label of each cell.
        row: the study's row of the manifest.
        manifest: the manifest, beside which the mapping table lies.
        path: the file of the study.
        ontology: has the terms.

    Returns:
        A CL id, or `DROP`, for each cell.

    Raises:
        UserError: a label is neither mapped nor a term, or the table is wrong.
    """
    mapping = {}
    if row.get("mapping"):
        mapping = _read_mapping(manifest.parent / row["mapping"], row["study"], ontology)
    for label in sorted(set(labels) - mapping.keys()):
        term = mapping.get(_unquoted(label), read_term(label, ontology))
        if term is not None:
            mapping[label] = term
            continue
        where = manifest.parent / row["mapping"] if row.get("mapping") else "a mapping table"
        raise UserError(
            f"Label {label!r} of column {row['label_column']} in {path} is not mapped: add it to "
            f"{where} for study {row['study']}, as a CL term or as {DROP!r}."
        )
    return labels.map(mapping)


def read_term(text: str, ontology: Ontology) -> str | None:
    """The current term that a label names by its id, or None.

    Ids may be written as CL:0000084, CL_0000084 or an IRI that ends so, perhaps in quotes; an
    obsolete one is followed to its replacement.
    """
    match = _TERM.search(text.strip().strip("\"'<>"))
    if match is None:
        return None
    term = f"{match[1]}:{match[2]}"
    current = ontology.current(term)
    if current is not None and current != term:
        logger.warning(
            "%s is obsolete: its cells are of %s (%s).", term, current, ontology.names[current]
        )
    return current


def _read_mapping(path: Path, study: str, ontology: Ontology) -> dict[str, str]:
    """Author's label → CL id or `drop`, for one study."""
    table = read_table(path, MAPPING_COLUMNS, "column mapping of the manifest")
    table = table[table["study"] == study]
    mapping: dict[str, str] = {}
    for label, term in zip(
        table["author_cell_type"], table["cell_type_ontology_term_id"], strict=True
    ):
        known = DROP if term == DROP else read_term(term, ontology)
        if known is None:
            raise UserError(
                f"Table {path} maps {label!r} of study {study} to {term!r}, which is not a term of "
                f"ontology {ontology.version}: correct it or write {DROP!r}."
            )
        term = known
        if mapping.setdefault(label, term) != term:
            raise UserError(
                f"Table {path} maps {label!r} of study {study} to both {mapping[label]} and "
                f"{term}: keep one."
            )
    return mapping


def read_table(path: Path, columns: Sequence[str], named_in: str) -> pd.DataFrame:
    """Reads a TSV of strings; nothing in it counts as missing.

    Raises:
        UserError: it does not exist, cannot be read or lacks a column.
    """
    if not path.is_file():
        raise UserError(f"Table {path} does not exist: correct {named_in}.")
    try:
        table = pd.read_csv(
            path, sep="\t", dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE
        )
    except ValueError as error:
        raise UserError(f"Table {path} cannot be read as TSV: {error}.") from error
    table = table.rename(columns=_unquoted).map(_unquoted)
    if missing := [column for column in columns if column not in table]:
        raise UserError(
            f"Table {path} has no column {missing[0]}; it needs {', '.join(columns)}, separated "
            "by tabs."
        )
    return table


def _unquoted(text: str) -> str:
    """A field of a table without the quotes around it; quotes within a label are its own."""
    whole = len(text) > 1 and text.startswith('"') and text.endswith('"')
    return text[1:-1].replace('""', '"') if whole else text
