"""The Cell Ontology and the hierarchy of the types that a run distinguishes.

Only `is_a` relations count. Reachability follows the closure over the whole ontology, so two
types are related also where the terms between them are not among the types of the run.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import obonet
import pandas as pd

from hce.errors import UserError
from hce.files import atomic_path, sha256_of

HIERARCHY_TABLE = "hierarchy.parquet"
REACHABILITY = "reachability.npz"


@dataclass(frozen=True)
class Ontology:
    """Terms and `is_a` relations of one ontology release.

    Attributes:
        version: the `data-version` line of the file, or "unknown".
        names: term id → name, obsolete terms left out.
        is_a: directed graph, an edge from each term to each of its direct parents.
    """

    version: str
    names: Mapping[str, str]
    is_a: nx.DiGraph

    def ancestors(self, term: str) -> frozenset[str]:
        """All strict ancestors of a term, by id."""
        return frozenset(nx.descendants(self.is_a, term))


def read_ontology(path: str | Path, sha256: str | None = None) -> Ontology:
    """Reads an OBO file (plain or gzip).

    Args:
        path: the file.
        sha256: expected checksum, 64 hexadecimal digits; not compared when None.

    Raises:
        UserError: the file is missing, has another checksum, is no OBO file, is truncated
            (a parent is referred to but never defined) or has a cycle.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"Ontology file {path} does not exist: check ontology.file in the config.")
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise UserError(
            f"Ontology file {path} has sha256 {found}, but {sha256} was expected: delete it to "
            "fetch it again, or correct ontology.sha256 in the config."
        )
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as handle:
            graph = obonet.read_obo(handle, ignore_obsolete=True)
    except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError) as error:
        raise UserError(
            f"Ontology file {path} cannot be read as OBO ({error}): it is truncated or of "
            "another format; fetch it again."
        ) from error

    names = {term: data["name"] for term, data in graph.nodes(data=True) if "name" in data}
    is_a = nx.DiGraph()
    is_a.add_nodes_from(names)
    for child, parent, relation in graph.edges(keys=True):
        if relation != "is_a":
            continue
        for term in (child, parent):
            if term not in names:
                raise UserError(
                    f"Ontology file {path} refers to {term} but does not define it: the file is "
                    "truncated; fetch it again."
                )
        is_a.add_edge(child, parent)
    if not names:
        raise UserError(f"Ontology file {path} holds no terms: it is truncated or no OBO file.")
    if not nx.is_directed_acyclic_graph(is_a):
        cycle = " -> ".join(edge[0] for edge in nx.find_cycle(is_a))
        raise UserError(f"Ontology file {path} has a cycle of is_a relations: {cycle}.")
    return Ontology(str(graph.graph.get("data-version", "unknown")), names, is_a)


@dataclass(frozen=True)
class Hierarchy:
    """The types of a run and which of them lies below which.

    Attributes:
        types: a row a type, ordered by `index`: index (int32), cl_id, label, parents (list of
            the cl_ids of the direct parents among the types), kind ("leaf" or "internal"),
            connected (bool: has an ancestor or descendant among the types), depth (int32:
            edges on the longest chain of types above it), n_ancestors (int32: strict ancestors
            in the whole ontology).
        reachability: bool (C, C); [i, j] is True where j is i or a descendant of i. This is
            the matrix R of the paper.
    """

    types: pd.DataFrame
    reachability: np.ndarray

    @classmethod
    def build(cls, labels: Mapping[str, str], ontology: Ontology) -> "Hierarchy":
        """Builds the hierarchy over a set of types.

        Types are numbered in code-point order of their labels, as the published checkpoints
        are.

        Args:
            labels: cl_id → label of the types.
            ontology: the ontology that relates them.

        Raises:
            UserError: a type is not a term of the ontology, or two types share a label.
        """
        if missing := sorted(set(labels) - set(ontology.names)):
            raise UserError(
                f"Ontology {ontology.version} has no current term {missing[0]} "
                f"({labels[missing[0]]}): choose another ontology.release or correct the term."
            )
        ids = sorted(labels, key=lambda cl_id: labels[cl_id])
        for first, second in pairwise(ids):
            if labels[first] == labels[second]:
                raise UserError(f"{first} and {second} share the label {labels[first]!r}.")
        index = {cl_id: i for i, cl_id in enumerate(ids)}
        above = [ontology.ancestors(cl_id) for cl_id in ids]
        reachability = np.eye(len(ids), dtype=bool)
        for child, ancestors in enumerate(above):
            for ancestor in ancestors & index.keys():
                reachability[index[ancestor], child] = True

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
        """Reads a hierarchy written by `save`."""
        folder = Path(folder)
        with np.load(folder / REACHABILITY) as arrays:
            reachability = arrays["reachability"]
        return cls(pd.read_parquet(folder / HIERARCHY_TABLE), reachability)

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
