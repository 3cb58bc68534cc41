"""Terms above the types: what may be answered although no study labels it.

A run distinguishes types; a cell that cannot be told to be one of several T cells may still be
called a T cell. Terms are the types and those of the ontology above them, but for terms near its
root (motile cell), terms above all types (which every cell would be) and, of terms with the same
types below, all but the most specific.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hce.errors import UserError
from hce.files import atomic_path
from hce.ontology.hierarchy import Hierarchy, Ontology, check_reachability

# With fewer terms above it a term is near the root: epithelial cell has four, motile cell two.
MIN_DEPTH = 4


@dataclass(frozen=True)
class Terms:
    """The types of a model and the terms above them.

    Attributes:
        table: cl_id, label and depth (terms above it in the whole ontology), one row per term:
            the C types in their order, then the others by their label.
        reachability: bool (U, U), [i, j] where term j is i or below it.
        n_types: C.
        withheld: positions of terms that a model does not tell from others, and are not answered.
        synonyms: cl_id → other name → whether it means just that term, see `synonyms`.
    """

    table: pd.DataFrame
    reachability: np.ndarray
    n_types: int
    withheld: tuple[int, ...] = ()
    synonyms: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)

    @classmethod
    def above(
        cls,
        hierarchy: Hierarchy,
        ontology: Ontology,
        synonyms: Mapping[str, Mapping[str, bool]] | None = None,
    ) -> "Terms":
        """The types of a run and the terms of the ontology above them, with their synonyms."""
        current = [ontology.current(cl_id) for cl_id in hierarchy.types["cl_id"]]
        ancestors = {t: ontology.ancestors(t) for t in current if t is not None}
        depth = {t: len(ontology.ancestors(t)) for t in frozenset().union(*ancestors.values())}
        below = {t: frozenset(c for c in ancestors if t in ancestors[c]) for t in depth}
        deepest: dict[frozenset[str], str] = {}
        for term in sorted(depth, key=lambda t: (-depth[t], t)):
            if term not in ancestors and depth[term] >= MIN_DEPTH:
                deepest.setdefault(below[term], term)
        # A type above the same types says the same; a term above all types says nothing.
        taken = {below.get(t, frozenset()) | {t} for t in ancestors} | {frozenset(ancestors)}
        chosen = [term for members, term in deepest.items() if members not in taken]
        chosen.sort(key=lambda term: ontology.names[term])
        table = pd.DataFrame(
            {
                "cl_id": [*hierarchy.types["cl_id"], *chosen],
                "label": [*hierarchy.types["label"], *(ontology.names[t] for t in chosen)],
                "depth": [*hierarchy.types["n_ancestors"], *(depth[t] for t in chosen)],
            }
        )
        every = [*current, *chosen]
        reachability = _extended(hierarchy.reachability, every, ontology)
        own = {t: dict((synonyms or {})[t]) for t in table["cl_id"] if t in (synonyms or {})}
        return cls(table, reachability, len(hierarchy), synonyms=own)

    @classmethod
    def only(cls, types: pd.DataFrame, reachability: np.ndarray) -> "Terms":
        """The types alone, where no ontology is at hand; depth counts the types above.

        Args:
            types: cl_id and label.
            reachability: bool (C, C).
        """
        depth = reachability.sum(axis=0) - 1
        return cls(types[["cl_id", "label"]].assign(depth=depth), reachability, len(types))

    def with_labels(self, cl_ids: Iterable[str], ontology: Ontology) -> "Terms":
        """These terms and, withheld, those labels of cells that are none of them.

        Args:
            cl_ids: terms of the labels, all of them terms of the ontology.
            ontology: the ontology.
        """
        own = [ontology.current(cl_id) for cl_id in self.table["cl_id"]]
        current = {ontology.current(cl_id) for cl_id in cl_ids}
        added = sorted(term for term in current if term is not None and term not in own)
        rows = [(t, ontology.names[t], len(ontology.ancestors(t))) for t in added]
        more = pd.DataFrame(rows, columns=list(self.table)).astype(self.table.dtypes)
        withheld = (*self.withheld, *range(len(self), len(self) + len(added)))
        return replace(
            self,
            table=pd.concat([self.table, more], ignore_index=True),
            reachability=_extended(self.reachability, [*own, *added], ontology),
            withheld=withheld,
        )

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def members(self) -> np.ndarray:
        """Which types a term is or lies above, bool (U, C)."""
        return self.reachability[:, : self.n_types]

    @cached_property
    def answerable(self) -> np.ndarray:
        """Positions of the terms that may be answered, int64."""
        return np.setdiff1d(np.arange(len(self)), np.array(self.withheld, dtype=np.int64))

    @cached_property
    def labels(self) -> list[str]:
        """Labels in the order of the terms."""
        return self.table["label"].tolist()

    def as_hierarchy(self) -> Hierarchy:
        """The terms in the place of types, for what takes the label and reachability of types."""
        return Hierarchy(self.table, self.reachability)

    def save(self, path: str | Path) -> None:
        """Writes an .npz file, atomically."""
        with atomic_path(path) as temporary:
            np.savez_compressed(
                temporary,
                cl_id=self.table["cl_id"].to_numpy(str),
                label=self.table["label"].to_numpy(str),
                depth=self.table["depth"].to_numpy(np.int32),
                reachability=self.reachability,
                n_types=self.n_types,
                synonyms=json.dumps(self.synonyms),
            )

    @classmethod
    def load(cls, path: str | Path) -> "Terms":
        """Reads what `save` wrote.

        Raises:
            UserError: the file is not one of terms.
        """
        try:
            with np.load(path) as arrays:
                table = pd.DataFrame({name: arrays[name] for name in ("cl_id", "label", "depth")})
                synonyms = json.loads(str(arrays["synonyms"]))
                sizes = (arrays["reachability"], int(arrays["n_types"]))
                found = cls(table, *sizes, synonyms=synonyms)
            check_reachability(found.reachability, len(table))
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} is not a file of terms ({error}): delete it.") from error
        return found


def _extended(known: np.ndarray, terms: Sequence[str | None], ontology: Ontology) -> np.ndarray:
    """The reachability of terms, bool (U, U), of which that of the first is known."""
    families = [frozenset() if t is None else ontology.ancestors(t) for t in terms]
    first = len(known)
    reachability = np.eye(len(terms), dtype=bool)
    reachability[:first, :first] = known
    for row in range(first, len(terms)):
        reachability[row] |= [terms[row] in family for family in families]
    for row in range(first):
        reachability[row, first:] = [terms[row] in family for family in families[first:]]
    return reachability
