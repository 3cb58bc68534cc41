"""The Cell Ontology and the hierarchy of the types that a run distinguishes.

Only `is_a` relations are used. Reachability is the closure over the whole ontology, so two types
are also related if the terms between them are not among the types of the run.
"""

import gzip
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hce import checksums
from hce.errors import UserError
from hce.files import atomic_path, check_sha256, read_parquet

# Slow to import. Most jobs load an existing hierarchy and need neither networkx nor obonet.
if TYPE_CHECKING:
    import networkx as nx

logger = logging.getLogger(__name__)

HIERARCHY_TABLE = "hierarchy.parquet"
REACHABILITY = "reachability.npz"


@dataclass(frozen=True)
class Ontology:
    """Terms and `is_a` relations of one ontology release.

    Attributes:
        version: the `data-version` line of the file, or "unknown".
        names: term id → name, without obsolete terms.
        is_a: directed graph with an edge from each term to each of its direct parents.
        obsolete: id → name of the obsolete terms.
        replaced: id → current id, for terms that were replaced by or merged into another.
    """

    version: str
    names: Mapping[str, str]
    is_a: "nx.DiGraph"
    obsolete: Mapping[str, str] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)

    def current(self, term: str) -> str | None:
        """The current id of a term, or None if the ontology no longer has it."""
        return term if term in self.names else self.replaced.get(term)

    def ancestors(self, term: str) -> frozenset[str]:
        """All strict ancestors of a current term, by id."""
        import networkx as nx

        return frozenset(nx.descendants(self.is_a, term))


def read_ontology(path: str | Path, sha256: str | None = None) -> Ontology:
    """Reads an OBO file (plain or gzip).

    Args:
        path: the file.
        sha256: expected checksum, 64 hexadecimal digits; not compared when None.

    Raises:
        UserError: the file is missing, has another checksum, is not an OBO file, is truncated
            (it refers to a parent of the same ontology that it does not define) or has a cycle.
    """
    import networkx as nx
    import obonet

    path = Path(path)
    if not path.is_file():
        raise UserError(f"Ontology file {path} does not exist: check ontology.file in the config.")
    check_sha256(path, sha256, "ontology.sha256")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as handle:
            graph = obonet.read_obo(handle, ignore_obsolete=False)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError) as error:
        raise UserError(
            f"Ontology file {path} cannot be read as OBO ({error}): it is truncated or of "
            "another format; fetch it again."
        ) from error

    terms = {term: data for term, data in graph.nodes(data=True) if "name" in data}
    obsolete = {
        term: data["name"] for term, data in terms.items() if data.get("is_obsolete") == "true"
    }
    names = {term: data["name"] for term, data in terms.items() if term not in obsolete}
    is_a = nx.DiGraph()
    is_a.add_nodes_from(names)
    for child, parent, relation in graph.edges(keys=True):
        if relation != "is_a" or child in obsolete:
            continue
        if parent not in names and parent.partition(":")[0] != child.partition(":")[0]:
            continue  # cl-base.obo, for example, leaves out the terms of other ontologies
        for term in (child, parent):
            if term not in names:
                raise UserError(
                    f"Ontology file {path} refers to {term} but does not define it: the file is "
                    "truncated; fetch it again."
                )
        is_a.add_edge(child, parent)
    if not names:
        raise UserError(f"Ontology file {path} has no terms: it is truncated or not an OBO file.")
    if not nx.is_directed_acyclic_graph(is_a):
        cycle = " -> ".join(edge[0] for edge in nx.find_cycle(is_a))
        raise UserError(f"Ontology file {path} has a cycle of is_a relations: {cycle}.")
    version = str(graph.graph.get("data-version", "unknown"))
    return Ontology(version, names, is_a, obsolete, _replacements(terms, names))


def _replacements(
    terms: Mapping[str, Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, str]:
    """Id → current id of obsolete and merged terms, from `replaced_by`, `alt_id` and `consider`.

    Chains are followed to their end. `consider` is only a suggestion: it is followed if there is no
    replacement and exactly one suggestion.
    """
    following: dict[str, str] = {}
    for term, data in terms.items():
        for merged in data.get("alt_id", ()):
            following.setdefault(merged, term)
    for term, data in terms.items():
        if term in names:
            continue
        replacements = data.get("replaced_by") or data.get("consider", [])
        if len(replacements) == 1:
            following[term] = replacements[0]
    replaced = {}
    for term in following.keys() - names.keys():
        seen = {term}
        target = following[term]
        while target not in names and target in following and target not in seen:
            seen.add(target)
            target = following[target]
        if target in names:
            replaced[term] = target
    return replaced


def describe_terms(labels: Mapping[str, str], ontology: Ontology) -> pd.DataFrame:
    """The status in an ontology of the terms of a release's cells.

    Args:
        labels: cl_id → label in the cells.
        ontology: the ontology.

    Returns:
        One row per term, sorted by cl_id: cl_id, label, name (in the ontology, or missing), status
        and replacement (cl_id, or missing). The status is `current`, `renamed` (the name differs
        from the label), `replaced` (obsolete or merged, with a replacement), `obsolete` (without a
        unique replacement) or `missing` (no such term).
    """
    rows = []
    for cl_id in sorted(labels):
        name = ontology.names.get(cl_id, ontology.obsolete.get(cl_id))
        replacement = ontology.replaced.get(cl_id)
        if cl_id in ontology.names:
            status = "current" if name == labels[cl_id] else "renamed"
        elif replacement is not None:
            status = "replaced"
        else:
            status = "missing" if name is None else "obsolete"
        rows.append((cl_id, labels[cl_id], name, status, replacement))
    return pd.DataFrame(rows, columns=["cl_id", "label", "name", "status", "replacement"])


def check_reachability(reachability: np.ndarray, n_types: int) -> None:
    """Checks that a matrix can be the reachability of a hierarchy with this number of types.

    Raises:
        ValueError: it cannot be; the message describes the contradiction.
    """
    if reachability.dtype != bool or reachability.shape != (n_types, n_types):
        raise ValueError(f"its hierarchy is not one of its {n_types} types")
    if not reachability.diagonal().all():
        raise ValueError("in its hierarchy a type is not below itself")
    if (reachability & reachability.T).sum() > n_types:
        raise ValueError("in its hierarchy two types are below each other")
    steps = reachability.astype(np.float32)
    if ((steps @ steps > 0) != reachability).any():
        raise ValueError("in its hierarchy a type below another lacks one that is above both")


@dataclass(frozen=True)
class Hierarchy:
    """The types of a run and their relations.

    Attributes:
        types: one row per type, ordered by `index`: index (int32), cl_id, label, parents (list of
            the cl_ids of the direct parents among the types), kind ("leaf" or "internal"),
            connected (bool: has an ancestor or descendant among the types), depth (int32:
            edges on the longest chain of types above it), n_ancestors (int32: strict ancestors
            in the whole ontology).
        reachability: bool (C, C); [i, j] is True if j is i or a descendant of i. This is
            the matrix R of the paper.
    """

    types: pd.DataFrame
    reachability: np.ndarray

    @classmethod
    def build(cls, labels: Mapping[str, str], ontology: Ontology) -> "Hierarchy":
        """Builds the hierarchy over a set of types.

        Types are numbered in code-point order of their labels, like those of the published
        checkpoints.

        Args:
            labels: cl_id → label of the types. An obsolete id keeps its label and has the
                relations of the term that replaces it.
            ontology: the ontology that defines their relations.

        Raises:
            UserError: a type is not a term of the ontology, or two types share a label or a term.
        """
        import networkx as nx

        current: dict[str, str] = {}  # term of the ontology → id of the type
        for cl_id in sorted(labels):
            term = ontology.current(cl_id)
            if term is None:
                raise UserError(
                    f"Ontology {ontology.version} has no current term {cl_id} "
                    f"({labels[cl_id]}): choose another ontology.release or correct the term."
                )
            if (other := current.setdefault(term, cl_id)) != cl_id:
                raise UserError(
                    f"{other} ({labels[other]}) and {cl_id} ({labels[cl_id]}) are the same term in "
                    f"ontology {ontology.version}, {term}: choose another ontology.release."
                )
            if term != cl_id:
                logger.info("%s (%s) has the relations of %s", cl_id, labels[cl_id], term)
        ids = sorted(labels, key=lambda cl_id: labels[cl_id])
        for first, second in pairwise(ids):
            if labels[first] == labels[second]:
                raise UserError(f"{first} and {second} share the label {labels[first]!r}.")
        index = {cl_id: i for i, cl_id in enumerate(ids)}
        term_of = {cl_id: term for term, cl_id in current.items()}
        above = [ontology.ancestors(term_of[cl_id]) for cl_id in ids]
        reachability = np.eye(len(ids), dtype=bool)
        for child, ancestors in enumerate(above):
            for ancestor in ancestors & current.keys():
                reachability[index[current[ancestor]], child] = True

        below = nx.from_numpy_array(
            reachability & ~np.eye(len(ids), dtype=bool), create_using=nx.DiGraph
        )
        direct = nx.transitive_reduction(below)
        depth = np.zeros(len(ids), dtype=np.int32)
        for node in nx.topological_sort(direct):
            depth[node] = max(
                (depth[parent] + 1 for parent in direct.predecessors(node)), default=0
            )
        types = pd.DataFrame(
            {
                "index": np.arange(len(ids), dtype=np.int32),
                "cl_id": ids,
                "label": [labels[cl_id] for cl_id in ids],
                "parents": [
                    sorted(ids[p] for p in direct.predecessors(i)) for i in range(len(ids))
                ],
                "kind": ["internal" if direct.out_degree(i) else "leaf" for i in range(len(ids))],
                "connected": [direct.degree(i) > 0 for i in range(len(ids))],
                "depth": depth,
                "n_ancestors": np.array([len(a) for a in above], dtype=np.int32),
            }
        )
        return cls(types, reachability)

    @classmethod
    def load(cls, folder: str | Path) -> "Hierarchy":
        """Reads a hierarchy written by `save`.

        Raises:
            UserError: a file is not as it was written.
        """
        folder = Path(folder)
        for name in (HIERARCHY_TABLE, REACHABILITY):  # jobs name one of the two as their input
            checksums.verify(folder / name)
        with np.load(folder / REACHABILITY) as arrays:
            reachability = arrays["reachability"]
        return cls(read_parquet(folder / HIERARCHY_TABLE), reachability)

    def save(self, folder: str | Path) -> None:
        """Writes `hierarchy.parquet` and `reachability.npz` into a folder."""
        folder = Path(folder)
        with atomic_path(folder / HIERARCHY_TABLE) as temporary:
            self.types.to_parquet(temporary, index=False)
        with atomic_path(folder / REACHABILITY) as temporary:
            np.savez_compressed(temporary, reachability=self.reachability)

    def __len__(self) -> int:
        return len(self.types)

    @cached_property
    def labels(self) -> list[str]:
        """Labels in index order."""
        return self.types["label"].tolist()

    @cached_property
    def edges(self) -> list[tuple[int, int]]:
        """Direct (parent, child) pairs of indices."""
        index = {cl_id: i for i, cl_id in enumerate(self.types["cl_id"])}
        return [
            (index[parent], child)
            for child, parents in enumerate(self.types["parents"])
            for parent in parents
        ]
