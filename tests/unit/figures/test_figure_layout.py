"""What figures share: the layout of the hierarchy, names, and the order of losses."""

from itertools import combinations
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.figures import dag, style, tables
from hce.files import read_tsv

TYPES = Path(__file__).parents[3] / "resources" / "ontology" / "cell_types_164.tsv"


def test_cross_entropy_comes_first_and_hce_is_compared_with_it():
    assert tables.in_order(["hce_log", "hce", "ce", "hce"]) == ["ce", "hce_log", "hce"]
    losses = ["hce_log", "hce", "ce"]
    assert tables.compared_loss(losses, "ce", "hce") == "hce"
    assert tables.compared_loss(losses, "ce", "hce_log") == "hce_log"
    assert tables.compared_loss(["ce", "mixed"], "ce", "hce") == "mixed"
    assert tables.compared_loss(["ce"], "ce", "hce") is None


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("effector memory CD8-positive, alpha-beta T cell", "effector memory CD8+ αβ T cell"),
        ("CD14-positive, CD16-negative classical monocyte", "CD14+, CD16− classical monocyte"),
        ("CD8-alpha-alpha-positive, alpha-beta intraepithelial T cell",
         "CD8αα+ αβ intraepithelial T cell"),
        ("double-positive, alpha-beta thymocyte", "double-positive, αβ thymocyte"),
    ],
)  # fmt: skip
def test_only_markers_and_chains_become_symbols(label, expected):
    assert style.short(label) == expected


def test_short_names_stay_distinct():
    assert read_tsv(TYPES)["label"].map(style.short).is_unique


@st.composite
def acyclic_graphs(draw) -> nx.DiGraph:
    n = draw(st.integers(1, 12))
    pairs = draw(st.sets(st.sampled_from(list(combinations(range(n), 2))))) if n > 1 else set()
    graph = nx.DiGraph()
    graph.add_nodes_from((f"CL:{i}", {"label": f"type {i}"}) for i in range(n))
    graph.add_edges_from((f"CL:{a}", f"CL:{b}") for a, b in pairs)
    return graph


@given(acyclic_graphs())
@settings(deadline=None)
def test_layout_has_a_row_a_type_and_brackets_that_cross_no_name(graph):
    components = dag.arrange(graph)
    assert sorted(n for part in components for n in part.row) == sorted(graph)
    edges = [edge for part in components for edge in (*part.tree, *part.others)]
    assert sorted(edges) == sorted(graph.edges)
    for part in components:
        assert sorted(part.row.values()) == list(range(len(part)))
        assert all(part.layer[parent] < part.layer[child] for parent, child in part.tree)
        assert all(part.layer[parent] < part.layer[child] for parent, child in part.others)
        assert len({child for _, child in part.tree}) == len(part.tree)
        for parent, child in part.tree:
            passed = [n for n, r in part.row.items() if part.row[parent] < r < part.row[child]]
            assert part.row[parent] < part.row[child]
            assert all(part.layer[n] > part.layer[parent] for n in passed)
