"""Random hierarchies with predictions and studies, and crediting done cell by cell."""

import networkx as nx
import numpy as np
from hypothesis import strategies as st

from hce.ontology import Hierarchy, Ontology


@st.composite
def dags(draw: st.DrawFn) -> nx.DiGraph:
    """A random DAG of 2 to 9 nodes, several parents allowed, edges from parent to child."""
    n = draw(st.integers(2, 9))
    edges = [(a, b) for a in range(n) for b in range(a + 1, n) if draw(st.integers(0, 3)) == 0]
    # A random numbering, so that nothing hangs on parents coming first.
    order = draw(st.permutations(range(n)))
    graph = nx.DiGraph([(order[a], order[b]) for a, b in edges])
    graph.add_nodes_from(range(n))
    return graph


@st.composite
def dags_with_predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reachability of a random DAG, labels and predictions."""
    graph = draw(dags())
    n = len(graph)
    reachability = np.eye(n, dtype=bool)
    for node in graph:
        reachability[node, list(nx.descendants(graph, node))] = True
    size = draw(st.integers(1, 60))
    indices = st.lists(st.integers(0, n - 1), min_size=size, max_size=size)
    return reachability, np.array(draw(indices)), np.array(draw(indices))


@st.composite
def dags_with_studies(
    draw: st.DrawFn,
) -> tuple[Ontology, Hierarchy, dict[str, list[str]]]:
    """An ontology, a hierarchy of some of its terms, and the terms that each study uses."""
    graph = draw(dags())
    names = {f"CL:{node}": f"term {node}" for node in graph}
    is_a = nx.DiGraph([(f"CL:{child}", f"CL:{parent}") for parent, child in graph.edges])
    is_a.add_nodes_from(names)
    ontology = Ontology("random", names, is_a)
    some = st.lists(st.sampled_from(sorted(names)), min_size=1, unique=True)
    hierarchy = Hierarchy.build({term: names[term] for term in draw(some)}, ontology)
    studies = {f"study {i}": draw(some) for i in range(draw(st.integers(1, 3)))}
    return ontology, hierarchy, studies


def credit_one_by_one(
    labels: np.ndarray, predictions: np.ndarray, reachability: np.ndarray
) -> np.ndarray:
    return np.array(
        [
            label if reachability[label, predicted] else predicted
            for label, predicted in zip(labels, predictions, strict=True)
        ]
    )
