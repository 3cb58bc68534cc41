"""Other names of types, by which a reader may search for them."""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

from hce.files import read_tsv

_TERM = re.compile(r"^id: (\S+)")
_SYNONYM = re.compile(r'^synonym: "((?:[^"\\]|\\.)*)" (EXACT|BROAD|NARROW|RELATED)\b')


def read_synonyms(path: str | Path) -> dict[str, dict[str, bool]]:
    """Reads the synonyms of an OBO file (plain or gzip).

    Args:
        path: the file.

    Returns:
        Term id → synonym → whether it means just that type (EXACT), in the order of the file.
    """
    found: dict[str, dict[str, bool]] = {}
    opener = gzip.open if Path(path).suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        term = stanza = None
        for line in lines:
            if line.startswith("["):
                term, stanza = None, line.strip()
            elif stanza == "[Term]" and (named := _TERM.match(line)):
                term = named[1]
            elif term and (synonym := _SYNONYM.match(line)):
                text = re.sub(r"\\(.)", r"\1", synonym[1])
                found.setdefault(term, {})[text] = synonym[2] == "EXACT"
    return found


def read_abbreviations(path: str | Path) -> dict[str, dict[str, bool]]:
    """Reads abbreviations that are usual and not in the ontology, in the form of the synonyms.

    Args:
        path: table with the columns cl_id, name and reason.
    """
    found: dict[str, dict[str, bool]] = {}
    for cl_id, name in read_tsv(path)[["cl_id", "name"]].itertuples(index=False):
        found.setdefault(cl_id, {})[str(name)] = True
    return found


def together(*some: Mapping[str, Mapping[str, bool]]) -> dict[str, dict[str, bool]]:
    """Several sets of synonyms as one."""
    terms = dict.fromkeys(term for part in some for term in part)
    return {term: {k: v for part in some for k, v in part.get(term, {}).items()} for term in terms}
