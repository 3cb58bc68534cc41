"""Terms above the types: what may be answered, and what not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hce.errors import UserError
from hce.ontology import Hierarchy
from hce.ontology.terms import MIN_DEPTH, Terms

BLOOD = {
    "CL:0000624": "CD4-positive, alpha-beta T cell",
    "CL:0000625": "CD8-positive, alpha-beta T cell",
    "CL:0000236": "B cell",
    "CL:0000623": "natural killer cell",
    "CL:0000860": "classical monocyte",
    "CL:0000875": "non-classical monocyte",
}


@pytest.fixture
def terms(slim):
    synonyms = {"CL:0000576": {"mono": True}, "CL:0000540": {"nerve cell": True}}
    return Terms.above(Hierarchy.build(BLOOD, slim), slim, synonyms)


def test_t_cells_lymphocytes_and_monocytes_may_be_answered_and_roots_not(terms):
    above = set(terms.labels[terms.n_types :])
    assert "monocyte" in above
    assert "lymphocyte" in above
    assert not above & {"cell", "native cell", "somatic cell", "motile cell", "leukocyte"}
    assert terms.labels[:6] == sorted(BLOOD.values())


def test_of_terms_with_the_same_types_below_only_the_most_specific_is_there(terms):
    rows = {row.tobytes() for row in terms.members}
    assert len(rows) == len(terms)
    row = terms.labels.index("mature alpha-beta T cell")
    assert terms.members[row].sum() == 2


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_reachability_is_that_of_the_ontology_for_any_types(slim, data):
    ids = data.draw(st.sets(st.sampled_from(sorted(slim.names)), min_size=1, max_size=12))
    hierarchy = Hierarchy.build({i: slim.names[i] for i in ids}, slim)
    found = Terms.above(hierarchy, slim)
    ids = found.table["cl_id"].tolist()
    expected = [[a == b or a in slim.ancestors(b) for b in ids] for a in ids]
    np.testing.assert_array_equal(found.reachability, expected)
    depths = [len(slim.ancestors(cl_id)) for cl_id in ids]
    assert found.table["depth"].tolist() == depths
    extra = slice(found.n_types, None)
    assert all(depth >= MIN_DEPTH for depth in depths[extra])
    assert not found.members[extra].all(axis=1).any()
    assert found.members.any(axis=1).all()


def test_what_is_saved_is_read_again_and_other_files_are_refused(terms, tmp_path):
    terms.save(tmp_path / "terms.npz")
    again = Terms.load(tmp_path / "terms.npz")
    assert again.table.to_dict("list") == terms.table.to_dict("list")
    np.testing.assert_array_equal(again.reachability, terms.reachability)
    assert again.n_types == 6
    assert again.synonyms == {"CL:0000576": {"mono": True}}
    (tmp_path / "terms.npz").write_bytes(b"something")
    with pytest.raises(UserError, match="is not a file of terms"):
        Terms.load(tmp_path / "terms.npz")


def test_without_an_ontology_the_types_alone_may_be_answered(terms):
    alone = Terms.only(terms.table.iloc[:6], terms.reachability[:6, :6])
    assert len(alone) == alone.n_types == 6
    assert (alone.table["depth"] == 0).all()
