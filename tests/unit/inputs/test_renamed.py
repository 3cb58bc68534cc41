"""Genes are found under the symbols they had in other years, and never under another gene's."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from hce.files import read_parquet
from hce.inputs.genes import match_genes
from hce.inputs.renamed import other_symbols, read_renamed

# As HGNC has them: MARCHF1 was MARCH1, GRAMD2B was GRAMD3, H2AZ1 was H2AZ and H2AFZ.
IDS = ["ENSG00000145416", "ENSG00000155324", "ENSG00000164032"]
NEW = ["MARCHF1", "GRAMD2B", "H2AZ1"]
OLD = ["MARCH1", "GRAMD3", "H2AFZ"]


def match(names: list[str], model: list[str], ids: list[str] = IDS):
    genes = pd.DataFrame({"feature_id": ids, "feature_name": model})
    return match_genes(pd.DataFrame(index=names), genes, "File a", min_share=0)


@pytest.mark.parametrize("ids", [IDS, OLD], ids=["a model with ids", "a model without"])
@pytest.mark.parametrize(("names", "model"), [(OLD, NEW), (NEW, OLD), (["x", "y", "H2AZ"], OLD)])
def test_are_found_by_earlier_and_later_symbols(names, model, ids):
    found = match(names, model, model if ids is OLD else ids)
    wanted = [0, 1, 2] if "x" not in names else [-1, -1, 2]
    assert found.gene_of.tolist() == wanted
    assert found.renamed == sum(place >= 0 for place in wanted)
    assert f"{found.renamed} by an earlier or later symbol" in found.report()


def test_a_symbol_of_the_model_is_that_gene_and_its_own_column_comes_first():
    # MARCH1 is a gene of this model under that very name, whatever HGNC says.
    assert match(["MARCH1"], ["MARCHF1", "MARCH1", "H2AZ1"]).gene_of.tolist() == [1]
    both = match(["H2AFZ", "H2AZ1"], NEW)
    assert both.gene_of.tolist() == [-1, 2]
    assert not both.repeated
    # The model has two genes that are one today: which is meant cannot be told.
    assert not other_symbols({}, {"H2AZ": 0, "H2AFZ": 1})


def test_each_symbol_of_the_table_leads_to_one_gene():
    table = read_renamed()
    symbols = [symbol for found in table.values() for symbol in found]
    assert len(symbols) == len(set(symbols)) > 15_000
    assert all(gene.startswith("ENSG") for gene in table)


def test_genes_that_symbols_of_2017_lead_to_are_those_of_the_files_own_ids(real_data):
    var = ad.read_h5ad(real_data / "pbmc" / "zheng2017.h5ad", backed="r").var
    names = read_parquet(real_data / "protein_coding_features.parquet")["gene_names"]
    genes = pd.DataFrame({"feature_id": names.index, "feature_name": names.to_numpy()})
    by_id = match_genes(var, genes, "by id")
    by_symbol = match_genes(var.set_index("feature_name"), genes, "by symbol")
    assert by_symbol.by_id == 0
    assert by_symbol.renamed > 750
    both = (by_id.gene_of >= 0) & (by_symbol.gene_of >= 0)
    # Those that differ stand in two columns, of which each way takes another.
    assert np.count_nonzero((by_id.gene_of != by_symbol.gene_of) & both) < 15
    assert both.sum() > 13_500
