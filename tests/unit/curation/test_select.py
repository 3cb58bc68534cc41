import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from hce.curation.cells import read_release_cells
from hce.curation.class_weights import class_weights, describe_types
from hce.curation.open_cells import select_open_cells
from hce.curation.select import (
    TypeCriteria,
    check_types,
    select_genes,
    select_new_studies,
    select_types,
)
from hce.curation.split import split_reference, split_units
from hce.errors import UserError

LABELS = {"CL:0000236": "B cell", "CL:0000084": "T cell", "CL:0000624": "CD4 T", "X": "odd"}


def cells_table(rows: list[tuple[str, str, str]]) -> pd.DataFrame:
    """Cells of (study, donor, cl_id)."""
    studies, donors, ids = zip(*rows, strict=True)
    table = pd.DataFrame(
        {
            "soma_joinid": np.arange(len(rows), dtype=np.int64) * 2 + 5,
            "dataset_id": studies,
            "donor_id": donors,
            "assay": "10x 3' v3",
            "cell_type": [LABELS.get(i, f"label of {i}") for i in ids],
            "cell_type_ontology_term_id": ids,
            "tissue": "blood",
            "tissue_general": "blood",
            "disease": "normal",
        }
    )
    strings = [c for c in table if c != "soma_joinid"]
    return table.astype({c: "category" for c in strings})


class TestMissingValues:
    """pandas gives a missing category the number −1, which to NumPy is the last one."""

    def cells(self, column):
        cells = cells_table([("s", "d", "CL:0000236"), ("t", "e", "CL:0000084")] * 40)
        cells.loc[3:5, column] = None
        return cells

    @pytest.mark.parametrize("column", ["cell_type", "dataset_id", "donor_id", "tissue", "assay"])
    def test_are_refused_with_column_and_number(self, column):
        sentence = f"Column {column} of the release's cells is missing in 3 of"
        with pytest.raises(UserError, match=sentence):
            select_new_studies(self.cells(column), [], types_of("B cell", "T cell"), "ood")
        split = {"unit": "donor", "seed": 1, "val": 0.2, "test": 0.2, "multiple_of": 1}
        with pytest.raises(UserError, match=sentence):
            split_reference(self.cells(column), ["B cell", "T cell"], split)

    @pytest.mark.parametrize("column", ["dataset_id", "donor_id"])
    def test_of_donors_are_refused_where_types_are_counted(self, column, slim):
        with pytest.raises(UserError, match=f"Column {column} of the release's cells is missing"):
            select_types(self.cells(column), slim, TypeCriteria("CL:0000000", 1, 0, 0))

    def test_of_cells_of_other_types_do_not_matter(self):
        cells = self.cells("tissue")
        cells.loc[3:5, "cell_type"] = cells["cell_type"].iloc[0]
        found, _ = select_new_studies(cells, [], types_of("T cell"), "ood")
        assert len(found) == 38


def published_split(names: list[str], seed: int) -> tuple[list[str], list[str], list[str]]:
    """The published order of steps on names: unique, shuffle in place, cut from the end."""
    units = pd.unique(np.array(names, dtype=object))
    np.random.default_rng(seed).shuffle(units)
    v = t = math.ceil(0.15 * len(units))
    n = len(units)
    return list(units[: n - v - t]), list(units[n - v - t : n - t]), list(units[n - t :])


def test_the_split_of_a_toy_list_is_the_recorded_one():
    units = np.array([0, 0, 1, 2, 1, 3, 4, 5, 6, 6, 7, 8, 9, 9])
    parts = split_units(units, seed=1, val=0.15, test=0.15)
    assert {name: rows.tolist() for name, rows in parts.items()} == {
        "train": [6, 0, 1, 4, 2, 10, 3, 11],
        "val": [13, 12, 7],
        "id": [9, 8, 5],
    }


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=8, max_size=60), st.integers(0, 5))
def test_the_split_equals_the_published_steps_on_names(names, seed):
    codes = pd.factorize(np.array(names, dtype=object))[0]
    parts = split_units(codes, seed, 0.15, 0.15)
    rng = np.random.default_rng(seed)
    for name, expected in zip(parts, published_split(names, seed), strict=True):
        rows = np.array([i for i, unit in enumerate(names) if unit in expected], dtype=int)
        assert parts[name].tolist() == rng.permutation(rows).tolist()


def test_class_weights_equal_scikit_learns_balanced_ones():
    labels = np.array([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights(labels, 3) == pytest.approx(expected)


def test_a_type_without_cells_has_weight_zero():
    assert class_weights(np.array([0, 0]), 2).tolist() == [0.5, 0.0]


@pytest.fixture
def toy():
    """40 donors in two studies; B cells in all, T cells in half, an unknown term in some."""
    rows = []
    for donor in range(20):
        for study in ("s1", "s2"):
            rows += [(study, f"d{donor}", "CL:0000236")] * 3
            if donor % 2:
                rows.append((study, f"d{donor}", "CL:0000084"))
                rows.append((study, f"d{donor}", "X"))
    rows += [("s1", "d0", "CL:0000624")] * 30  # many cells of one donor
    return cells_table(rows)


class TestSelectTypes:
    def select(self, cells, slim, **thresholds):
        defaults = {"root": "CL:0000003", "min_cells": 1, "min_donors": 0, "min_ancestors": 7}
        return select_types(cells, slim, TypeCriteria(**(defaults | thresholds)))

    def test_cells_and_donors_are_counted_over_pairs_of_study_and_donor(self, toy, slim):
        types, _ = self.select(toy, slim)
        found = types.set_index("cl_id")[["cells", "donors"]].to_dict("index")
        assert found["CL:0000236"] == {"cells": 120, "donors": 40}
        assert found["CL:0000084"] == {"cells": 20, "donors": 20}

    def test_cells_reach_and_donors_exceed_their_thresholds(self, toy, slim):
        def chosen(**thresholds):
            return set(self.select(toy, slim, **thresholds)[0]["cl_id"])

        assert chosen(min_cells=20) == {"CL:0000236", "CL:0000084", "CL:0000624"}
        assert chosen(min_cells=21) == {"CL:0000236", "CL:0000624"}
        assert chosen(min_donors=19) == {"CL:0000236", "CL:0000084"}
        with pytest.raises(UserError, match="leaves 1 types"):
            chosen(min_donors=20)

    def test_ancestors_exceed_their_threshold(self, toy, slim):
        n = {cl_id: len(slim.ancestors(cl_id)) for cl_id in ("CL:0000084", "CL:0000624")}
        assert n["CL:0000084"] < n["CL:0000624"]
        least = n["CL:0000084"] - 1
        assert "CL:0000084" in set(self.select(toy, slim, min_ancestors=least)[0]["cl_id"])
        above = self.select(toy, slim, min_ancestors=least + 1)[0]
        assert set(above["cl_id"]) == {"CL:0000236", "CL:0000624"}

    def test_the_report_says_what_each_criterion_leaves(self, toy, slim):
        _, report = self.select(toy, slim, min_donors=19)
        assert report["value"].tolist() == [4, 3, 3, 3, 2, 2, 2]

    def test_a_label_with_two_terms_is_refused(self, toy, slim):
        toy["cell_type"] = "same"
        toy["cell_type"] = toy["cell_type"].astype("category")
        with pytest.raises(UserError, match="one label two meanings"):
            self.select(toy, slim)


def types_of(*labels: str) -> pd.DataFrame:
    """cl_id and label of some types, in this order."""
    ids = {label: cl_id for cl_id, label in LABELS.items()}
    return pd.DataFrame({"cl_id": [ids[label] for label in labels], "label": labels})


SPLIT = {"unit": "donor", "seed": 1, "val": 0.15, "test": 0.15, "multiple_of": 4}


class TestSplitReference:
    def test_the_report_describes_the_cells_of_the_types(self, toy):
        report = dict(split_reference(toy, ["B cell", "T cell"], SPLIT).report.to_numpy())
        kept = toy[toy["cell_type"].isin(["B cell", "T cell"])]
        assert len(kept) < len(toy)
        assert report["cells of the types"] == len(kept)
        assert report["first soma_joinid of the types"] == kept["soma_joinid"].iloc[0]
        assert report["last soma_joinid of the types"] == kept["soma_joinid"].iloc[-1]
        assert report["diseases"] == len(set(kept["disease"]))
        pairs = set(zip(kept["tissue_general"], kept["cell_type"], strict=True))
        assert report["pairs of tissue_general and type"] == len(pairs)

    def test_diseases_that_are_joined_count_one_by_one(self, toy):
        joined = np.resize(["normal", "flu || normal", "flu || asthma || obesity"], len(toy))
        toy["disease"] = pd.Categorical(joined)
        report = dict(split_reference(toy, ["B cell", "T cell"], SPLIT).report.to_numpy())
        assert report["diseases"] == 4

    def test_no_donor_is_in_two_parts_and_parts_are_cut(self, toy):
        split = split_reference(toy, ["B cell", "T cell"], SPLIT)
        assert (split.cells.groupby("donor", observed=True)["set"].nunique() == 1).all()
        assert (split.cells["set"].value_counts() % 4 == 0).all()
        assert set(split.cells["label"]) == {0, 1}
        assert split.cells.index.equals(pd.RangeIndex(len(split.cells)))

    def test_weights_count_training_cells_before_the_cut(self, toy, hierarchy):
        labels = ["B cell", "T cell"]
        split = split_reference(toy, labels, SPLIT | {"multiple_of": 19})
        types = describe_types(hierarchy.types.iloc[:2], split)
        assert types["train_cells"].sum() > (split.cells["set"] == "train").sum()
        assert types["cells"].tolist() == [120, 20]
        assert types["donors"].tolist() == [40, 20]

    def test_with_unit_cell_donors_may_be_shared(self, toy):
        split = split_reference(toy, ["B cell", "T cell"], SPLIT | {"unit": "cell"})
        assert (split.cells.groupby("donor", observed=True)["set"].nunique() > 1).any()

    def test_a_part_smaller_than_the_multiple_is_refused(self, toy):
        with pytest.raises(UserError, match=r"split\.multiple_of = 1024"):
            split_reference(toy, ["B cell", "T cell"], SPLIT | {"multiple_of": 1024})

    def test_a_type_without_training_cells_is_refused_with_its_name(self, toy):
        labels = ["B cell", "T cell", "absent cell"]
        with pytest.raises(UserError, match=r"no cells of 1 of the 3 types \(the first is absent"):
            split_reference(toy, labels, SPLIT)


def test_new_studies_are_those_the_reference_lacks_and_types_match_by_label(toy):
    cells, report = select_new_studies(toy, ["s1", "s9"], types_of("B cell", "T cell"), "ood")
    assert set(cells["study"]) == {"s2"}
    assert set(cells["set"]) == {"ood"}
    assert cells["soma_joinid"].is_monotonic_increasing
    assert report.set_index("quantity")["value"].to_dict() == {
        "cells in new studies": 80,
        "ood cells": 70,
        "ood studies": 1,
        "ood donors": 20,
        "ood types": 2,
    }


class TestMatch:
    """In the newer release T cell has another label, and B cell's is now that of the term X."""

    TYPES = types_of("B cell", "T cell")

    @pytest.fixture
    def renamed(self, toy):
        names = {"T cell": "T lymphocyte", "odd": "B cell"}
        return toy.assign(cell_type=toy["cell_type"].astype(str).replace(names).astype("category"))

    @pytest.mark.parametrize(
        ("match", "terms"),
        [("label", {0: {"CL:0000236", "X"}}), ("cl_id", {0: {"CL:0000236"}, 1: {"CL:0000084"}})],
    )
    def test_by_id_renamed_types_keep_their_cells_and_by_label_they_lose_them(
        self, renamed, match, terms
    ):
        cells, _ = select_new_studies(renamed, ["s1"], self.TYPES, "ood", match)
        own = renamed.set_index("soma_joinid")["cell_type_ontology_term_id"]
        found = cells["soma_joinid"].map(own).groupby(cells["label"]).agg(set).to_dict()
        assert found == terms
        assert (own[own.index.isin(cells["soma_joinid"])].count()) == len(cells)

    @pytest.mark.parametrize("match", ["label", "cl_id"])
    def test_the_report_lists_what_either_way_loses(self, renamed, match):
        _, report = select_new_studies(renamed, ["s1"], self.TYPES, "ood", match)
        values = report.set_index("quantity")["value"]
        assert values[values.index.str.contains("lost")].to_dict() == {
            "cells of B cell (X): B cell by label, lost by CL id": 10,
            "cells of T lymphocyte (CL:0000084): lost by label, T cell by CL id": 10,
        }


def test_words_of_a_releases_cells_are_read_as_categories(tmp_path):
    columns = {"dataset_id": ["a", "b", "b", "c"], "tissue": ["lung", "blood", "eye", "lung"]}
    table = pd.DataFrame({"soma_joinid": [1, 2, 3, 4], **columns}).astype(
        dict.fromkeys(columns, "category")
    )
    table.to_parquet(tmp_path / "c", row_group_size=2)
    cells = read_release_cells(tmp_path / "c")
    assert cells["soma_joinid"].tolist() == [1, 2, 3, 4]
    assert isinstance(cells["tissue"].dtype, pd.CategoricalDtype)
    assert cells["tissue"].tolist() == columns["tissue"]
    cells = read_release_cells(tmp_path / "c", without=["b"])
    assert cells["soma_joinid"].tolist() == [1, 4]
    assert cells["dataset_id"].tolist() == ["a", "c"]


def test_a_release_without_new_studies_is_refused(toy):
    with pytest.raises(UserError, match="set ood is empty: the reference release has every study"):
        select_new_studies(toy, ["s1", "s2"], types_of("B cell"), "ood")


def test_genes_are_matched_by_name_and_keep_the_releases_order():
    genes = pd.DataFrame(
        {"soma_joinid": [0, 1, 2], "feature_id": list("abc"), "feature_name": ["X", "Y", "Z"]}
    )
    assert select_genes(genes, ["Z", "X", "?"], 0.5)["feature_id"].tolist() == ["a", "c"]
    assert len(select_genes(genes, None, 1.0)) == 3
    for share, names in ((0.0, ["?"]), (0.7, ["Z", "X", "?"])):
        with pytest.raises(UserError, match=r"genes of data\.genes . are among"):
            select_genes(genes, names, share)


class TestCheckTypes:
    EXPECTED = pd.DataFrame({"cl_id": ["CL:1", "CL:2"], "label": ["a", "b"], "in_ood_80": 1})

    def test_the_expected_types_pass_in_any_order(self):
        check_types(self.EXPECTED.iloc[::-1], self.EXPECTED, "x.tsv")

    def test_lost_and_won_types_are_named_with_the_cure(self):
        types = pd.DataFrame({"cl_id": ["CL:1", "CL:3"], "label": ["a", "c"]})
        with pytest.raises(UserError) as error:
            check_types(types, self.EXPECTED, "x.tsv")
        assert "the 2 of x.tsv, 1 missing: b (CL:2); 1 unexpected: c (CL:3)" in str(error.value)
        assert "curation.expected_types to null" in str(error.value)

    def test_only_the_first_ten_of_many_are_named(self):
        many = pd.DataFrame({"cl_id": [f"CL:{i:02}" for i in range(12)], "label": "x"})
        with pytest.raises(UserError, match=r"12 unexpected: x \(CL:00\).*x \(CL:09\), \.\.\.:"):
            check_types(pd.concat([self.EXPECTED, many]), self.EXPECTED, "x.tsv")

    def test_a_type_with_another_label_is_missing_and_unexpected(self):
        renamed = self.EXPECTED.assign(label=["a", "B"])
        with pytest.raises(UserError, match=r"1 missing: b \(CL:2\); 1 unexpected: B \(CL:2\)"):
            check_types(renamed, self.EXPECTED, "x.tsv")


def test_open_cells_are_those_of_new_studies_whose_label_is_a_term_and_not_a_type():
    rows = [
        ("old", "d", "CL:0000084"),
        ("new", "e", "CL:0000236"),
        ("new", "e", "CL:0000084"),
        ("new", "f", "CL:0000624"),
        ("new", "f", "X"),
    ]
    cells = cells_table(rows)
    vocabularies = pd.DataFrame({"cl_id": [row[2] for row in rows]})
    vocabularies["known"] = vocabularies["cl_id"] != "X"  # not a term of the ontology
    types = types_of("B cell", "CD4 T")
    found = select_open_cells(cells, ["old"], types, vocabularies)
    assert found["soma_joinid"].tolist() == [9]
    assert found[["study", "cl_id"]].to_numpy().tolist() == [["new", "CL:0000084"]]
    # A type that the release calls otherwise is found by its id, and then the cell is not open.
    renamed = types.assign(label=["B cell", "another name"])
    found = select_open_cells(cells, ["old"], renamed, vocabularies)
    assert found["soma_joinid"].tolist() == [9, 11]
    found = select_open_cells(cells, ["old"], renamed, vocabularies, match="cl_id")
    assert found["soma_joinid"].tolist() == [9]


def test_of_many_open_cells_of_a_study_and_label_some_are_drawn(monkeypatch):
    monkeypatch.setattr("hce.curation.open_cells.MOST", 30)
    cells = cells_table([("new", "e", "CL:0000084")] * 100 + [("other", "e", "CL:0000084")] * 20)
    vocabularies = pd.DataFrame({"cl_id": ["CL:0000084"], "known": [True]})
    found = select_open_cells(cells, [], types_of("B cell"), vocabularies)
    assert found.groupby("study", observed=True).size().to_dict() == {"new": 30, "other": 20}
    assert found["soma_joinid"].is_monotonic_increasing
    assert found["soma_joinid"].iloc[:30].max() > 5 + 2 * 60  # from all of them
    assert found.equals(select_open_cells(cells, [], types_of("B cell"), vocabularies))
