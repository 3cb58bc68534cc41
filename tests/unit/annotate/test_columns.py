"""Columns beside the type: runners-up, terms above the types, levels; and the table at the end."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from annotators import LABELS, R, annotator, cells, make_cells, model_path, truth
from hce.annotate import annotate, load_annotator
from hce.annotate.annotator import save_annotator
from hce.annotate.explain import describe
from hce.annotate.labels import Reader
from hce.annotate.shown import type_table
from hce.cli import main
from hce.ontology.terms import Terms

__all__ = ["annotator", "cells", "model_path"]


def test_the_runners_up_are_the_most_probable_of_the_other_types(cells, annotator):
    p = truth(cells)
    largest = -np.sort(-p, axis=1)
    annotate(cells, annotator)
    named = [cells.obs[f"hce_{name}cell_type"].astype(str) for name in ("", "second_", "third_")]
    for place, (name, found) in enumerate(zip(("", "second_", "third_"), named, strict=True)):
        of_name = p[np.arange(30), [LABELS.index(label) for label in found]]
        for expected in (largest[:, place], of_name):
            np.testing.assert_allclose(
                cells.obs[f"hce_{name}probability"], expected, rtol=1e-3, atol=1e-6
            )
    assert all(len({*labels}) == 3 for labels in zip(*named, strict=True))


def test_with_two_types_there_is_one_runner_up():
    reader = Reader(torch.eye(2, dtype=torch.bool), None, None)
    read = reader.read(torch.tensor([[0.3, 0.7]]))
    assert read["second"].tolist() == [0]
    assert "third" not in read


@pytest.fixture
def with_terms(annotator):
    """The annotator with a term above lymphocyte and monocyte (10) and one of CD4 T cells (13)."""
    reach = np.eye(5, dtype=bool)
    reach[:4, :4] = R
    reach[4, [0, 1, 2, 3]] = True
    table = annotator.trained.types.assign(depth=[11, 12, 16, 15])
    above = pd.DataFrame({"cl_id": ["CL:0000842"], "label": ["mononuclear cell"], "depth": [10]})
    table = pd.concat([table, above], ignore_index=True)
    return replace(annotator, terms=Terms(table, reach, 4))


def test_a_cell_between_two_branches_is_answered_by_the_term_above_both(with_terms, cells):
    mixed = cells[:4].copy()
    mixed.X = sp.csr_matrix(np.tile(np.repeat([0, 9, 0, 9], 10), (4, 1)).astype(np.float32))
    annotate(mixed, with_terms)
    assert set(mixed.obs["hce_back_off_cell_type"]) == {"mononuclear cell"}
    assert set(mixed.obs["hce_back_off_cell_type_ontology_term_id"]) == {"CL:0000842"}
    assert (mixed.obs["hce_back_off_probability"] > 0.99).all()
    assert set(mixed.obs["hce_cell_type"]) <= {"T cell", "monocyte"}


def test_a_withheld_type_is_not_answered_but_what_lies_above_it(with_terms, cells, tmp_path):
    annotate(cells, with_terms)
    before = cells.obs["hce_back_off_cell_type"].astype(str)
    assert "CD4 T cell" in set(before)
    less = replace(with_terms, terms=replace(with_terms.answers, withheld=(2,)))
    save_annotator(tmp_path / "a.hce", less)
    annotate(cells, tmp_path / "a.hce", overwrite=True)
    after = cells.obs["hce_back_off_cell_type"].astype(str)
    assert set(after[before == "CD4 T cell"]) == {"T cell"}
    assert (after == before)[before != "CD4 T cell"].all()
    assert "withheld:    CD4 T cell" in describe(load_annotator(tmp_path / "a.hce"))


def test_levels_and_depths_are_answered_in_columns_of_their_own(with_terms, cells):
    s = truth(cells) @ R.T
    annotate(cells, with_terms, levels=["t cells", "CL_0000576"], depths=[12])
    expected = np.where(s[:, 1] >= 0.8, "T cell", np.where(s[:, 3] >= 0.8, "monocyte", "unknown"))
    assert cells.obs["hce_level_cell_type"].tolist() == expected.tolist()
    found = cells.obs["hce_depth_12_cell_type"]
    assert set(found) <= {"lymphocyte", "T cell", "mononuclear cell"}
    monocytes = cells.obs["hce_back_off_cell_type"] == "monocyte"
    assert set(found[monocytes]) == {"mononuclear cell"}
    annotate(cells, with_terms, overwrite=True)
    assert "hce_level_cell_type" not in cells.obs


def test_the_terms_travel_with_the_file(with_terms, tmp_path, cells, capsys):
    save_annotator(tmp_path / "a.hce", with_terms)
    again = load_annotator(tmp_path / "a.hce")
    assert again.answers.labels == [*LABELS, "mononuclear cell"]
    np.testing.assert_array_equal(again.answers.reachability, with_terms.answers.reachability)
    assert again.promise(0.9) == with_terms.promise(0.9)
    annotate(cells, again, types=["mononuclear cell"])
    assert main(["explain", "mononuclear cell", "--model", str(tmp_path / "a.hce")]) == 0
    assert "├─ lymphocyte" in capsys.readouterr().out


def test_a_table_of_types_is_shown_at_the_end(annotator, cells, tmp_path, model_path, capsys):
    annotate(cells, annotator)
    shown = capsys.readouterr().out
    counts = cells.obs["hce_back_off_cell_type"].value_counts()
    for name, number in counts.items():
        line = next(line for line in shown.splitlines() if line.startswith(name))
        assert f" {number} " in line
        assert f"{number / 30:.1%}" in line
    assert "Precision is calibrated to 0.9 on 8 new studies" in shown
    make_cells().write_h5ad(tmp_path / "cells.h5ad")
    arguments = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(model_path)]
    assert main([*arguments, "--out", str(tmp_path / "out.tsv")]) == 0
    assert shown in capsys.readouterr().out
    many = pd.DataFrame({"hce_cell_type": [f"t{i}" for i in range(25)], "hce_probability": 0.5})
    assert "5 more" in type_table(many)


def test_types_that_are_left_out_are_no_runners_up():
    reader = Reader(torch.eye(4, dtype=torch.bool), None, None)
    read = reader.read(torch.tensor([[0.4, 0.0, 0.6, 0.0], [0.0, 1.0, 0.0, 0.0]]))
    assert read["second"].tolist() == [0, -1]
    assert read["third"].tolist() == [-1, -1]
