"""Random hierarchies with predictions, and crediting done cell by cell."""

import networkx as nx
import numpy as np
from hypothesis import strategies as st


@st.composite
def dags_with_predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reachability of a random DAG (several parents allowed), labels and predictions."""
    n = draw(st.integers(2, 9))
    edges = [(a, b) for a in range(n) for b in range(a + 1, n) if draw(st.integers(0, 3)) == 0]
    # A random numbering, so that nothing hangs on parents coming first.
    order = draw(st.permutations(range(n)))
    graph = nx.DiGraph([(order[a], order[b]) for a, b in edges])
    graph.add_nodes_from(range(n))
    reachability = np.eye(n, dtype=bool)
    for node in graph:
        reachability[node, list(nx.descendants(graph, node))] = True
    size = draw(st.integers(1, 60))
    indices = st.lists(st.integers(0, n - 1), min_size=size, max_size=size)
    return reachability, np.array(draw(indices)), np.array(draw(indices))


def credit_one_by_one(
    labels: np.ndarray, predictions: np.ndarray, reachability: np.ndarray
) -> np.ndarray:
    return np.array(
        [
            label if reachability[label, predicted] else predicted
            for label, predicted in zip(labels, predictions, strict=True)
        ]
    )
