import gzip
import hashlib

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import many_flips
from hce import checksums
from hce.errors import UserError
from hce.ontology import Hierarchy, Ontology, read_ontology


@st.composite
def ontologies(draw):
    """Random DAGs of terms with several parents, and a subset of terms as types."""
    n = draw(st.integers(2, 14))
    terms = [f"X:{i:04d}" for i in range(n)]
    graph = nx.DiGraph()
    graph.add_nodes_from(terms)
    for child in range(1, n):
        parents = draw(st.sets(st.integers(0, child - 1), max_size=3))
        graph.add_edges_from((terms[child], terms[parent]) for parent in parents)
    chosen = draw(st.sets(st.sampled_from(terms), min_size=1))
    return Ontology("test", {term: f"name {term}" for term in terms}, graph), chosen


@given(ontologies())
def test_reachability_is_the_closure_over_all_terms_also_those_that_are_no_types(case):
    ontology, chosen = case
    hierarchy = Hierarchy.build({term: ontology.names[term] for term in chosen}, ontology)
    ids = hierarchy.types["cl_id"].tolist()
    for i, above in enumerate(ids):
        for j, below in enumerate(ids):
            assert hierarchy.reachability[i, j] == nx.has_path(ontology.is_a, below, above)


@given(ontologies())
def test_direct_edges_generate_the_reachability_and_none_is_redundant(case):
    ontology, chosen = case
    hierarchy = Hierarchy.build({term: ontology.names[term] for term in chosen}, ontology)

    def closure(edges):
        graph = nx.DiGraph(edges)
        graph.add_nodes_from(range(len(hierarchy)))
        matrix = np.eye(len(hierarchy), dtype=bool)
        for node in graph:
            matrix[node, list(nx.descendants(graph, node))] = True
        return matrix

    assert (closure(hierarchy.edges) == hierarchy.reachability).all()
    for edge in hierarchy.edges:
        rest = [other for other in hierarchy.edges if other != edge]
        assert (closure(rest) != hierarchy.reachability).any()


def test_the_164_types_have_the_published_structure(hierarchy):
    types = hierarchy.types
    assert len(hierarchy) == 164
    assert hierarchy.reachability.sum() - 164 == 381
    assert len(hierarchy.edges) == 124
    assert (types["kind"] == "leaf").sum() == 118
    assert types["connected"].sum() == 124
    assert (types["parents"].str.len() == 2).sum() == 9
    assert types["depth"].max() == 7
    assert types["n_ancestors"].min() == 8
    assert types["label"].tolist() == sorted(types["label"])


def test_the_slim_relates_the_164_types_as_the_whole_release_does(hierarchy, real_data):
    whole = read_ontology(real_data / "ontology/cl-simple-2022-12-15.obo.gz")
    labels = dict(zip(hierarchy.types["cl_id"], hierarchy.types["label"], strict=True))
    other = Hierarchy.build(labels, whole)
    assert (other.reachability == hierarchy.reachability).all()
    assert (other.types["n_ancestors"] == hierarchy.types["n_ancestors"]).all()


def test_a_saved_hierarchy_comes_back_equal(hierarchy, tmp_path):
    hierarchy.save(tmp_path)
    loaded = Hierarchy.load(tmp_path)
    assert (loaded.reachability == hierarchy.reachability).all()
    assert loaded.edges == hierarchy.edges
    assert loaded.labels == hierarchy.labels


class TestBadInput:
    @pytest.fixture
    def text(self, repository):
        return (repository / "resources/ontology/cl-slim.obo").read_text()

    def test_a_truncated_file_is_refused_with_the_undefined_term(self, text, tmp_path):
        file = tmp_path / "cut.obo"
        file.write_text(text[: len(text) // 2])
        with pytest.raises(UserError, match=r"cut\.obo.*truncated"):
            read_ontology(file)

    def test_a_parent_of_another_ontology_may_be_left_out(self, tmp_path):
        path = tmp_path / "base.obo"
        text = "[Term]\nid: CL:1\nname: a\n\n[Term]\nid: CL:2\nname: b\nis_a: CL:1\nis_a: GO:5\n"
        path.write_text(text)
        assert list(read_ontology(path).is_a.edges) == [("CL:2", "CL:1")]
        path.write_text(text.replace("GO:5", "CL:5"))
        with pytest.raises(UserError, match="refers to CL:5 but does not define it"):
            read_ontology(path)

    def test_a_truncated_gzip_file_is_refused(self, text, tmp_path):
        file = tmp_path / "cut.obo.gz"
        file.write_bytes(gzip.compress(text.encode())[:3000])
        with pytest.raises(UserError, match=r"cut\.obo\.gz.*fetch it again"):
            read_ontology(file)

    def test_another_checksum_is_refused_and_the_right_one_accepted(self, text, tmp_path):
        file = tmp_path / "cl.obo"
        file.write_text(text)
        right = hashlib.sha256(text.encode()).hexdigest()
        assert len(read_ontology(file, right).names) == 338
        with pytest.raises(UserError, match=r"cl\.obo has sha256.*ontology\.sha256"):
            read_ontology(file, "0" * 64)

    @pytest.mark.parametrize("content", ["", "<html>not found</html>", "\x00\x01\x02"])
    def test_another_format_is_refused(self, content, tmp_path):
        file = tmp_path / "cl.obo"
        file.write_text(content)
        with pytest.raises(UserError, match=r"cl\.obo"):
            read_ontology(file)

    @pytest.mark.parametrize("name", ["hierarchy.parquet", "reachability.npz"])
    def test_a_hierarchy_that_changed_since_it_was_written_is_refused(
        self, hierarchy, tmp_path, name
    ):
        hierarchy.save(tmp_path)
        checksums.record(tmp_path / name)
        assert (Hierarchy.load(tmp_path).reachability == hierarchy.reachability).all()
        for _ in many_flips(tmp_path / name, 20):
            with pytest.raises(UserError, match=f"{name} is not as it was written"):
                Hierarchy.load(tmp_path)

    def test_a_cycle_is_refused(self, tmp_path):
        file = tmp_path / "cl.obo"
        file.write_text(
            "format-version: 1.2\n\n[Term]\nid: X:1\nname: a\nis_a: X:2\n\n"
            "[Term]\nid: X:2\nname: b\nis_a: X:1\n"
        )
        with pytest.raises(UserError, match="cycle"):
            read_ontology(file)

    def test_a_type_that_is_no_term_is_named(self, slim):
        with pytest.raises(UserError, match=r"CL:9999999 \(made up\)"):
            Hierarchy.build({"CL:9999999": "made up"}, slim)

    def test_two_types_of_one_label_are_refused(self, slim):
        with pytest.raises(UserError, match="share the label"):
            Hierarchy.build({"CL:0000084": "T cell", "CL:0000236": "T cell"}, slim)
