"""Finding a term of a model by what people call it."""

import difflib

import numpy as np

from hce.errors import UserError
from hce.ontology.terms import Terms

# Names that a message proposes.
PROPOSED = 5


def term_number(terms: Terms, name: str) -> int:
    """The position of a type, or of a term above the types, by its CL id, label or a synonym.

    Capitals, hyphens, a plural and the word cell at the end do not count (NK, T-cells); ids may be
    written CL_0000084. A label comes before a synonym.

    Raises:
        UserError: the model has no such term, or several; the message names them or similar ones.
    """
    ids = terms.table["cl_id"]
    found = np.flatnonzero(ids == name.strip().upper().replace("_", ":")).tolist()
    by_label = [number for number, label in enumerate(terms.labels) if _same(label, name)]
    by_synonym = [
        number
        for number, cl_id in enumerate(ids)
        if any(_same(text, name) for text, exact in terms.synonyms.get(cl_id, {}).items() if exact)
    ]
    found = found or by_label or by_synonym
    if len(found) > 1:
        several = ", ".join(terms.labels[number] for number in found)
        raise UserError(f"The name {name!r} is that of several types: give one of {several}.")
    if not found:
        raise UserError(f"The model has no type {name!r}: {_proposal(terms, name)}.")
    return int(found[0])


def _same(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    words = name.lower().replace("-", " ").split()
    if words and len(words[-1]) > 3:
        words[-1] = words[-1].removesuffix("s")
    return " ".join(words[:-1] if words[1:] and words[-1] == "cell" else words)


def _proposal(terms: Terms, name: str) -> str:
    """The terms with a name that holds this one or resembles it, the closest first."""
    plain = _plain(name)
    number_of: dict[str, int] = {}
    for number, (cl_id, label) in enumerate(zip(terms.table["cl_id"], terms.labels, strict=True)):
        for text in (label, *terms.synonyms.get(cl_id, {})):
            number_of.setdefault(_plain(text), number)
    alike = sorted((text for text in number_of if plain in text), key=len)
    close = difflib.get_close_matches(plain, number_of, PROPOSED, cutoff=0.6)
    numbers = list(dict.fromkeys(number_of[text] for text in [*alike, *close]))[:PROPOSED]
    if not numbers:
        return "`hce models --types` lists its types"
    return f"did you mean {', '.join(terms.labels[number] for number in numbers)}"
