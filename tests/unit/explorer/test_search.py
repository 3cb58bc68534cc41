"""The search finds types by the names that people use, the obvious one first."""

import pandas as pd
import pytest

from conftest import REPOSITORY
from hce.explorer.data import explorer_data
from hce.metrics import KINDS
from hce.ontology.synonyms import read_abbreviations, read_synonyms, together

ONTOLOGY = REPOSITORY / "resources/ontology"
EVERYDAY = {
    "NK": "natural killer cell",
    "Treg": "regulatory T cell",
    "Th17": "T-helper 17 cell",
    "MAIT": "mucosal invariant T cell",
    "CD8 T": "CD8-positive, alpha-beta T cell",
    "CD4+ T cells": "CD4-positive, alpha-beta T cell",
    "T cells": "T cell",
    "B cell": "B cell",
    "gdT": "gamma-delta T cell",
    "γδ T cell": "gamma-delta T cell",
    "NKT": "mature NK T cell",
    "Tfh": "T follicular helper cell",
    "plasma": "plasma cell",
    "pDC": "plasmacytoid dendritic cell",
    "DC": "dendritic cell",
    "monocytes": "monocyte",
    "CD14 monocyte": "CD14-positive monocyte",
    "macro": "macrophage",
    "mast": "mast cell",
    "neutrophils": "neutrophil",
    "RBC": "erythrocyte",
    "HSC": "hematopoietic stem cell",
    "microglia": "microglial cell",
    "OPC": "oligodendrocyte precursor cell",
    "oligo": "oligodendrocyte",
    "cardiomyocyte": "cardiac muscle cell",
    "AT2": "type II pneumocyte",
    "lymphatic endothelial": "endothelial cell of lymphatic vessel",
    "naive CD4": "naive thymus-derived CD4-positive, alpha-beta T cell",
    "memory B": "memory B cell",
}


@pytest.fixture(scope="module")
def data(hierarchy):
    """The paper's types, with a score each and nothing else."""
    types = hierarchy.types[["index", "cl_id", "label"]]
    head = {"model": "mlp", "loss": "ce", "seed": 0, "set": "id", "decoder": "argmax"}
    scores = types.assign(cells=1, **head, **{f"{kind}_f1": 0.5 for kind in KINDS})
    right = pd.DataFrame({"label": types["index"], "prediction": types["index"], "cells": 1})
    changes = ["model", "loss", "decoder", "set", "score", "index", "change"]
    strata = ["model", "loss", "decoder", "set", "kind", "stratum"]
    tables = {
        "overall": pd.DataFrame(columns=[*head, "score", "value"]),
        "bootstrap": pd.DataFrame(columns=[*head, "score", "change"]),
        "per_type": scores,
        "type_changes": pd.DataFrame(columns=changes),
        "type_genes": pd.DataFrame(columns=["model", "loss"]),
        "confusion": right.assign(**head),
        "per_stratum": pd.DataFrame(columns=strata),
        "stratum_changes": pd.DataFrame(columns=[*strata, "score"]),
        "data_types": types.assign(train_cells=1, cells_id=1),
    }
    studies = pd.DataFrame(columns=["set", "study", "title", "label", "cells"])
    synonyms = together(
        read_synonyms(ONTOLOGY / "cl-slim.obo"),
        read_abbreviations(ONTOLOGY / "abbreviations.tsv"),
    )
    return explorer_data(tables, hierarchy.types, studies, "test", None, 0.05, synonyms)


@pytest.fixture
def page(data, visit):
    return visit(data)


def first(page, query):
    page.get_by_role("combobox", name="Find a cell type").fill(query)
    return page.locator("#results [role=option] span").first.inner_text()


def test_everyday_names_find_the_right_type_first(page, data):
    found = {query: first(page, query) for query in EVERYDAY}
    wrong = {
        query: found[query]
        for query, type_ in EVERYDAY.items()
        if not found[query].startswith(type_)
    }
    assert wrong == {}


def test_a_name_that_is_not_the_label_is_shown_beside_it(page):
    assert first(page, "Treg") == "regulatory T cell Treg"
    assert first(page, "regulatory") == "regulatory T cell"


def test_ids_are_found(page):
    assert first(page, "cl:0000084") == "T cell"
    assert first(page, "0000623") == "natural killer cell"


def test_every_abbreviation_is_of_a_term_and_not_a_synonym_already():
    synonyms = read_synonyms(ONTOLOGY / "cl-slim.obo")
    table = pd.read_csv(ONTOLOGY / "abbreviations.tsv", sep="\t")
    terms = (ONTOLOGY / "cl-slim.obo").read_text()
    for cl_id, name, reason in table.itertuples(index=False):
        assert f"id: {cl_id}\n" in terms
        assert not synonyms.get(cl_id, {}).get(name), name
        assert reason


def test_synonyms_say_whether_they_mean_just_the_type(tmp_path):
    file = tmp_path / "some.obo"
    file.write_text(
        '[Term]\nid: CL:1\nname: a\nsynonym: "A \\"x\\"" EXACT abbreviation []\n'
        'synonym: "b" BROAD []\n\n[Typedef]\nid: part_of\nsynonym: "c" EXACT []\n'
    )
    assert read_synonyms(file) == {"CL:1": {'A "x"': True, "b": False}}
