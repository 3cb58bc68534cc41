"""Which features are the genes of a model, however they are called."""

import numpy as np
import pandas as pd
import pytest

from hce.inputs.genes import are_genes, find_genes, match_genes, name_genes

SYMBOLS = ["CD3E", "HLA-A", "HLA-DRB1", "MT-CO1", "AL627309.1", "AL627309.5", "7SK"]
IDS = [f"ENSG{i:011d}" for i in range(len(SYMBOLS))]
MODEL = pd.DataFrame({"feature_id": IDS, "feature_name": SYMBOLS})


def found(var: pd.DataFrame) -> list[int]:
    return match_genes(var, MODEL, "File a", min_share=0).gene_of.tolist()


@pytest.mark.parametrize("column", ["gene_ids", "feature_id", "feature_name", "gene_symbols", None])
@pytest.mark.parametrize("names", [IDS, SYMBOLS, [f"{name}.12" for name in IDS]])
def test_are_found_in_whatever_column_they_stand(column, names):
    var = pd.DataFrame(index=names)
    if column is not None:
        var = pd.DataFrame({column: names, "chromosome": "1"}, index=list("abcdefg"))
    assert found(var) == list(range(7))


def test_are_found_as_r_writes_them_and_those_that_differ_only_in_signs_are_not_confused():
    names = ["CD3E", "HLA.A", "HLA.DRB1", "MT.CO1", "AL627309.1", "AL627309-5", "X7SK"]
    match = match_genes(pd.DataFrame(index=names), MODEL, "File a", min_share=0)
    assert match.gene_of.tolist() == [0, 1, 2, 3, 4, 5, -1]
    assert match.by_spelling == 4
    assert "4 by name as R spells it" in match.report()
    twins = pd.DataFrame({"feature_id": ["a", "b"], "feature_name": ["A-1", "A.1"]})
    assert match_genes(pd.DataFrame(index=["A_1"]), twins, "x", min_share=0).gene_of.tolist() == [
        -1
    ]


@pytest.mark.parametrize("prefix", ["GRCh38_", "GRCh38______", "hg19_"])
def test_are_found_behind_the_name_of_a_genome(prefix):
    names = [f"{prefix}{name}" for name in SYMBOLS] + ["mm10___Cd3e"]
    assert found(pd.DataFrame(index=names)) == [*range(7), -1]


def test_antibodies_are_left_out_and_do_not_count_as_genes_that_stand_twice():
    kinds = ["Antibody Capture"] + ["Gene Expression"] * 7
    var = pd.DataFrame({"feature_types": kinds}, index=["CD3E", *SYMBOLS])
    match = match_genes(var, MODEL, "File a", min_share=0)
    assert match.gene_of.tolist() == [-1, *range(7)]
    assert not match.repeated
    assert are_genes(var).tolist() == [False] + [True] * 7
    assert find_genes(var, MODEL).found == 7


def test_ids_and_symbols_of_a_study_to_train_on_are_taken_from_the_columns_that_have_them():
    var = pd.DataFrame({"gene_symbols": SYMBOLS, "gene_ids": [f"{n}.3" for n in IDS]}, index=IDS)
    for made in (var, var.set_index("gene_symbols", drop=False)):
        named = name_genes(made)
        assert named["feature_id"].tolist() == IDS
        assert named["feature_name"].tolist() == SYMBOLS
    plain = name_genes(pd.DataFrame(index=SYMBOLS))
    assert plain["feature_id"].tolist() == plain["feature_name"].tolist() == SYMBOLS
    assert np.array_equal(plain.index, np.arange(7))
