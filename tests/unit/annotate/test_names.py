"""Types are found by what people call them, and a wrong name is answered with the right ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hce.annotate.names import term_number
from hce.errors import UserError
from hce.files import read_tsv
from hce.ontology import Hierarchy
from hce.ontology.synonyms import read_abbreviations, read_synonyms, together
from hce.ontology.terms import Terms

TABLE = pd.DataFrame(
    {
        "cl_id": ["CL:0000084", "CL:0000623", "CL:0000815", "CL:0000899", "CL:0000940"],
        "label": [
            *("T cell", "natural killer cell", "regulatory T cell", "T-helper 17 cell"),
            "mucosal invariant T cell",
        ],
        "depth": 12,
    }
)
SYNONYMS = {
    "CL:0000084": {"T-lymphocyte": True, "immature T cell": False},
    "CL:0000623": {"NK cell": True, "K cell": True, "killer": True},
    "CL:0000815": {"Treg": True},
    "CL:0000899": {"Th17 cell": True, "killer": True},
    "CL:0000940": {"MAIT cell": True},
}
TERMS = Terms(TABLE, np.eye(5, dtype=bool), 5, synonyms=SYNONYMS)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        *(("T cell", 0), ("t-cells", 0), ("T", 0), ("CL:0000084", 0), ("cl_0000084", 0)),
        *(("T lymphocytes", 0), ("NK", 1), ("nk cells", 1), ("Natural Killer", 1)),
        *(("Treg", 2), ("Tregs", 2), ("TH17", 3), ("MAIT", 4), ("MAIT cell", 4)),
    ],
)
def test_a_type_is_found_by_id_label_synonym_and_abbreviation(name, number):
    assert term_number(TERMS, name) == number


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("killer", "that of several types: give one of natural killer cell, T-helper 17 cell"),
        ("regulatory", "did you mean regulatory T cell"),
        ("naturl kiler cell", "did you mean natural killer cell"),
        ("immature T cell", "did you mean T cell"),
        ("xyzzy", "`hce models --types` lists its types"),
    ],
)
def test_a_name_of_none_or_of_several_is_answered_with_names(name, words):
    with pytest.raises(UserError, match=words) as error:
        term_number(TERMS, name)
    assert name in str(error.value)


def test_a_label_comes_before_a_synonym():
    twins = replace(TERMS, synonyms={"CL:0000623": {"T cell": True}})
    assert term_number(twins, "T cell") == 0


def test_everyday_names_find_the_types_of_the_paper(slim):
    root = Path(__file__).parents[3] / "resources/ontology"
    labels = read_tsv(root / "cell_types_164.tsv").set_index("cl_id")["label"].to_dict()
    names = together(
        read_synonyms(root / "cl-slim.obo"), read_abbreviations(root / "abbreviations.tsv")
    )
    terms = Terms.above(Hierarchy.build(labels, slim), slim, names)
    everyday = {
        **{"NK": "natural killer cell", "Treg": "regulatory T cell", "MAIT": "CL:0000940"},
        **{"Th17": "T-helper 17 cell", "T cells": "T cell", "CD8 T": "CL:0000625"},
        **{"lymphocytes": "lymphocyte", "DC": "dendritic cell"},
    }
    for name, wanted in everyday.items():
        assert term_number(terms, name) == term_number(terms, wanted), name
