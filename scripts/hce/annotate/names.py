"""Finding a term of a model by what people call it."""

import difflib

import numpy as np

from hce.errors import UserError
from hce.ontology.terms import Terms

# Names that a message proposes.
PROPOSED = 5


def term_number(terms: Terms, name: str) -> int:
    """The position of a type, or of a term above the types, by its CL id or label.

    Capitals, hyphens and a plural do not count; ids may be written CL_0000084.

    Raises:
        UserError: the model has no such term; the message names similar ones.
    """
    labels = [_plain(label) for label in terms.labels]
    wanted = {_plain(name), _plain(name).removesuffix("s")}
    of_id = terms.table["cl_id"] == name.strip().upper().replace("_", ":")
    found = np.flatnonzero(of_id.to_numpy() | np.isin(labels, list(wanted)))
    if not len(found):
        raise UserError(f"The model has no type {name!r}: {_proposal(terms, labels, name)}.")
    return int(found[0])


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").split())


def _proposal(terms: Terms, labels: list[str], name: str) -> str:
    plain = _plain(name)
    alike = [number for number, label in enumerate(labels) if plain in label]
    close = difflib.get_close_matches(plain, labels, PROPOSED, cutoff=0.6)
    numbers = list(dict.fromkeys([*alike, *map(labels.index, close)]))[:PROPOSED]
    if not numbers:
        return "`hce models --types` lists its types"
    return f"did you mean {', '.join(terms.labels[number] for number in numbers)}"
