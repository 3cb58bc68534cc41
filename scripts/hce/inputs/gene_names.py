"""How names of genes are written."""

import re

ENSEMBL_ID = r"ENS[A-Z]*G\d{6,}"
_GENOME = re.compile(r"(?:GRCh3[78]|hg19|hg38)_+")
_SIGN = re.compile(r"[^A-Za-z0-9]")
_VERSIONED_ID = re.compile(rf"({ENSEMBL_ID})\.\d+")


def without_version(name: str) -> str:
    """An Ensembl id without its version (ENSG00000141510.17); other names as they are.

    A symbol may end in a number that is not a version: AL627309.1 and AL627309.5 are two genes.
    """
    match = _VERSIONED_ID.fullmatch(name)
    return match.group(1) if match else name


def species_of(name: str) -> str | None:
    """The prefix of an Ensembl gene id that names its species (ENSG: human, ENSMUSG: mouse)."""
    match = re.fullmatch(r"(ENS[A-Z]*G)\d{6,}(\.\d+)?", name)
    return match.group(1) if match else None


def without_genome(name: str) -> str:
    """A name without the genome that Cell Ranger writes before it (GRCh38_CD3E)."""
    return _GENOME.sub("", name, count=1) if _GENOME.match(name) else name


def spelling(name: str) -> str:
    """What is left of a name in R and Seurat, which write HLA-A and Y_RNA as HLA.A and Y-RNA."""
    return _SIGN.sub(".", name)
