"""Open labels: cells whose label is not a type are right, wrong or undecided by the same rule."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from annotators import annotator, make_cells, profiles
from hce.annotate.novelty import Novelty
from hce.annotate.open_labels import (
    ABOVE,
    BELOW,
    BESIDE,
    NONE,
    TYPE,
    cells_with,
    describe_labels,
    score_open_labels,
)
from hce.annotate.run import counts_of
from hce.ontology import Hierarchy
from hce.ontology.terms import Terms
from hce.ontology.vocabularies import make_table
from hce.store.cell_store import CellStore, write_store
from hce.store.shards import write_shard

__all__ = ["annotator"]

# The annotator's types by the names of the ontology.
IDS = {
    "lymphocyte": "CL:0000542",
    "T cell": "CL:0000084",
    "CD4-positive, alpha-beta T cell": "CL:0000624",
    "monocyte": "CL:0000576",
}
CD4, LEUKOCYTE, FIBROBLAST = "CL:0000624", "CL:0000738", "CL:0000057"
CLASSICAL, NAIVE, NATIVE = "CL:0000860", "CL:0000895", "CL:0000003"


@pytest.fixture
def terms(slim):
    labels = {cl_id: label for label, cl_id in IDS.items()}
    return Terms.above(Hierarchy.build(labels, slim), slim)


@pytest.fixture
def model(annotator, terms):
    """The small annotator, whose types are those of the terms in their order."""
    trained = annotator.trained
    order = [list(IDS).index(label) for label in terms.labels[:4]]
    weights = trained.model.state_dict()
    trained.model.load_state_dict({name: value[order] for name, value in weights.items()})
    types = terms.table.iloc[:4][["cl_id", "label"]]
    own = replace(trained, types=types, reachability=terms.reachability[:4, :4])
    return replace(annotator, trained=own, terms=terms)


def stored(folder, model, cells, studies, ids) -> CellStore:
    """A store of cells of some studies, with open labels."""
    numbers = np.arange(cells.n_obs, dtype=np.int64)
    folder.mkdir()
    write_shard(folder / "0.arrow", [(numbers, counts_of(cells.X, np.arange(cells.n_vars)))])
    table = pd.DataFrame({"soma_joinid": numbers, "study": studies, "cl_id": ids})
    return write_store(folder / "store", [folder / "0.arrow"], table, model.trained.genes, {})


def vocabulary(slim, *rows) -> pd.DataFrame:
    counts = pd.DataFrame(rows, columns=["study", "cl_id", "label", "cells"])
    return make_table(counts, slim, "new")


def scored(model, store, table, slim) -> pd.DataFrame:
    given = (model, store, table, "new", slim, 1, 16, torch.device("cpu"))
    return score_open_labels(*given).set_index("cl_id")


def test_a_label_lies_above_below_or_beside_the_types(terms, slim):
    names = [LEUKOCYTE, NAIVE, FIBROBLAST, CD4, CLASSICAL, NATIVE]
    every = terms.with_labels(names, slim)
    ids = every.table["cl_id"].tolist()
    found = describe_labels(every, np.array([ids.index(name) for name in names]))
    assert found["relation"].tolist() == [ABOVE, BELOW, BESIDE, TYPE, BELOW, ABOVE]
    cd4 = "CD4-positive, alpha-beta T cell"
    expected = [None, cd4, NONE, cd4, "monocyte", None]
    assert found["right_answer"].where(found["right_answer"].notna(), None).tolist() == expected


def test_labels_are_terms_of_the_ontology_that_are_never_answered(terms, slim):
    every = terms.with_labels([FIBROBLAST, NAIVE, CD4], slim)
    assert len(every) == len(terms) + 2
    np.testing.assert_array_equal(every.answerable, terms.answerable)
    ids = every.table["cl_id"].tolist()
    expected = [[a == b or a in slim.ancestors(b) for b in ids] for a in ids]
    np.testing.assert_array_equal(every.reachability, expected)


def test_answers_above_the_label_are_right_below_it_undecided_and_beside_it_wrong(
    model, slim, tmp_path
):
    cells = make_cells(80, seed=2)  # cell i shows lymphocyte, T, CD4 T, monocyte in turn
    shown = np.array(["lymphocyte", "T cell", "CD4", "monocyte"])[np.arange(80) % 4]
    ids = np.where(shown == "CD4", NAIVE, np.where(shown == "monocyte", LEUKOCYTE, FIBROBLAST))
    store = stored(tmp_path / "a", model, cells, ["a"] * 80, ids)
    table = vocabulary(
        slim,
        ("a", NAIVE, "naive CD4 T cell", 20),
        ("a", LEUKOCYTE, "leukocyte", 20),
        ("a", FIBROBLAST, "fibroblast", 40),
    )
    found = scored(model, store, table, slim)
    assert found.loc[NAIVE, "right"] > 15  # a CD4 T cell, or something above it
    assert found.loc[LEUKOCYTE, "undecided"] > 15  # a monocyte is a leukocyte
    assert found.loc[LEUKOCYTE, "wrong"] == 0
    assert found.loc[FIBROBLAST, "wrong"] > 30
    # No answer at or above a fibroblast may be given, so that none is the right one.
    silent = found.loc[FIBROBLAST, "cells"] - found.loc[FIBROBLAST, "wrong"]
    assert found.loc[FIBROBLAST, "right"] == silent
    sums = found[["right", "wrong", "undecided", "unanswered"]].sum(axis=1)
    assert (sums == found["cells"]).all()


def test_an_answer_below_the_label_is_wrong_where_the_study_contradicts_it(model, slim, tmp_path):
    cells = make_cells(40, seed=2)[3::4].copy()  # monocytes
    studies = ["a"] * 5 + ["b"] * 5
    store = stored(tmp_path / "a", model, cells, studies, [LEUKOCYTE] * 10)
    table = vocabulary(
        slim,
        ("a", LEUKOCYTE, "leukocyte", 5),
        ("b", LEUKOCYTE, "leukocyte", 5),
        ("b", IDS["monocyte"], "monocyte", 7),  # so b's leukocytes are no monocytes
    )
    found = scored(model, store, table, slim).loc[LEUKOCYTE]
    assert (found["undecided"], found["wrong"]) == (5, 5)


def test_novel_cells_get_no_answer(model, slim, tmp_path):
    store = stored(tmp_path / "a", model, make_cells(40, seed=2), ["a"] * 40, [FIBROBLAST] * 40)
    table = vocabulary(slim, ("a", FIBROBLAST, "fibroblast", 40))
    everything = replace(model, novelty=Novelty(profiles(), 0.0, 0))
    found = scored(everything, store, table, slim).loc[FIBROBLAST]
    assert found["novel"] == found["right"] == 40


def test_without_cells_or_calibration_there_are_no_rows(model, slim, tmp_path):
    table = vocabulary(slim, ("a", FIBROBLAST, "fibroblast", 4))
    store = stored(tmp_path / "a", model, make_cells(4), ["a"] * 4, [FIBROBLAST] * 4)
    assert len(scored(model, store, table, slim)) == 1
    high = model.calibrated_precision.assign(asked=0.95)
    assert scored(replace(model, calibrated_precision=high), store, table, slim).empty
    empty = stored(tmp_path / "b", model, make_cells(4)[:0].copy(), [], [])
    assert scored(model, empty, table, slim).empty


def test_cells_with_a_label_are_counted_under_its_present_term(slim):
    table = vocabulary(
        slim,
        ("a", NAIVE, "naive CD4 T cell", 3),
        ("b", NAIVE, "naive CD4 T cell", 4),
        ("b", CD4, "CD4", 9),
    )
    assert cells_with(table, pd.Series([NAIVE, FIBROBLAST]), slim).tolist() == [7, 0]
