"""How names of genes are written."""

import re

ENSEMBL_ID = r"ENS[A-Z]*G\d{6,}"
_VERSIONED_ID = re.compile(rf"({ENSEMBL_ID})\.\d+")


def without_version(name: str) -> str:
    """An Ensembl id without its version (ENSG00000141510.17); other names as they are.

    A symbol may end in a number that is no version: AL627309.1 and AL627309.5 are two genes.
    """
    match = _VERSIONED_ID.fullmatch(name)
    return match.group(1) if match else name


def species_of(name: str) -> str | None:
    """The prefix of an Ensembl gene id that names its species (ENSG: human, ENSMUSG: mouse)."""
    match = re.fullmatch(r"(ENS[A-Z]*G)\d{6,}(\.\d+)?", name)
    return match.group(1) if match else None
