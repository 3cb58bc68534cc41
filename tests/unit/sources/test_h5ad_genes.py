"""Which studies and genes the releases from h5ad files have."""

import os
from pathlib import Path

import cellxgene_census
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from h5ad_folder import FIRST, RELEASES, SECOND, cells, fails
from hce.errors import UserError
from hce.inputs.cells import open_cells
from hce.inputs.counts import find_counts
from hce.inputs.genes import match_genes
from hce.sources.h5ad import h5ad_release, missing_genes, read_manifest, shared_genes
from hce.sources.soma import HUMAN

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("HCE_TEST_DATA", ROOT / ".." / "shared" / "data"))


def test_releases_hold_kept_cells_and_shared_genes_of_their_studies(folder, ontology):
    folder.write()
    for release, studies in ((RELEASES[0], ["old"]), (RELEASES[1], ["old", "new"])):
        with cellxgene_census.open_soma(uri=str(folder.build_written(ontology, release))) as census:
            read = cellxgene_census.get_anndata(census, HUMAN)
        assert read.obs["dataset_id"].tolist() == [name for name in studies for _ in range(4)]
        assert read.obs["cell_type"].tolist() == ["B cell", "T cell"] * 2 * len(studies)
        assert read.obs["donor_id"].tolist() == ["p1", "p2", "p2", "p1"] * len(studies)
        assert set(read.obs["tissue_general"]) == {"blood"}
        assert read.var["feature_name"].tolist() == ["G2", "G1"]
        assert read.var["feature_id"].tolist() == [SECOND, FIRST]
        keep = [0, 1, 3, 4]
        expected = [folder.files["old"].X.toarray()[keep]]
        if "new" in studies:
            expected.append(np.asarray(folder.files["new"].X)[keep][:, [1, 0]])
        np.testing.assert_array_equal(read.X.toarray(), np.vstack(expected))
    assay = read.obs.groupby("dataset_id", observed=True)["assay"].unique().map(list).to_dict()
    assert assay == {"new": ["10x 3' transcription profiling"], "old": ["10x 3' v2"]}


def test_without_ensembl_ids_the_symbols_are_the_ids(folder, ontology):
    folder.files["new"] = cells(["G1", "G2"], ["G1", "G2"], 2)
    folder.write()
    genes = shared_genes(folder.read(ontology), RELEASES[0])
    assert genes["feature_id"].tolist() == genes["feature_name"].tolist() == ["G2", "G1"]


def test_a_study_with_ids_alone_shares_genes_with_one_of_symbols_by_a_third_that_has_both(
    folder, ontology
):
    folder.files["old"].var = pd.DataFrame(index=[f"{SECOND}.4", f"{FIRST}.2"])
    folder.write()
    genes = shared_genes(folder.read(ontology), RELEASES[0])
    assert genes["feature_name"].tolist() == ["G2", "G1"]
    assert genes["feature_id"].tolist() == [SECOND, FIRST]


def test_genes_that_a_new_study_lacks_are_zero_there_and_counted(folder, ontology, caplog):
    folder.files["old"] = cells(["G3", "G2", "G1"], ["G3", "G2", "G1"], 1, sp.csc_matrix)
    folder.files["new"] = cells(["other", "G2"], ["other", "G2"], 2, np.asarray)
    folder.write()
    studies = folder.read(ontology)
    genes = shared_genes(studies, RELEASES[0])
    assert genes["feature_name"].tolist() == ["G3", "G2", "G1"]
    old, new = h5ad_release(studies, genes, RELEASES, RELEASES[1])
    keep = [0, 1, 3, 4]
    np.testing.assert_array_equal(old.counts.toarray(), folder.files["old"].X.toarray()[keep])
    expected = np.zeros((4, 3))
    expected[:, 1] = np.asarray(folder.files["new"].X)[keep, 1]
    np.testing.assert_array_equal(new.counts.toarray(), expected)
    assert missing_genes(studies, genes, RELEASES[1])["value"].tolist() == [3, 2]
    assert "new.h5ad lacks 2 of the 3 genes" in caplog.text
    assert missing_genes(studies, genes, RELEASES[0])["value"].tolist() == [3, 0]


def test_a_small_panel_among_the_reference_still_decides(folder, ontology):
    folder.rows.loc[len(folder.rows)] = {**folder.rows.loc[0], "study": "panel", "file": "p.h5ad"}
    folder.mapping = pd.concat([folder.mapping, folder.mapping.assign(study="panel")])
    folder.files["p"] = cells(["G1"], ["G1"], 3)
    folder.write()
    assert shared_genes(folder.read(ontology), RELEASES[0])["feature_name"].tolist() == ["G1"]


def test_any_study_can_be_the_new_one(folder, ontology):
    folder.write()
    studies = read_manifest(folder.manifest, folder.path, RELEASES, ontology, new_study="old")
    genes = shared_genes(studies, RELEASES[0])
    assert genes["feature_id"].tolist() == [FIRST, SECOND, "ENSG00000000003"]
    found = [
        [study.dataset_id for study in h5ad_release(studies, genes, RELEASES, release)]
        for release in RELEASES
    ]
    assert found == [["new"], ["old", "new"]]
    with pytest.raises(UserError, match=r"no study elsewhere, .*new_study .* has old, new"):
        read_manifest(folder.manifest, folder.path, RELEASES, ontology, new_study="elsewhere")


def test_of_two_genes_with_one_symbol_the_first_is_taken(folder, ontology):
    folder.files["new"] = cells([FIRST, SECOND, "ENSG00000000003"], ["G1", "G1", "G2"], 2)
    folder.write()
    studies = folder.read(ontology)
    genes = shared_genes(studies, RELEASES[0])
    assert genes["feature_id"].tolist() == ["ENSG00000000003", FIRST]
    new = list(h5ad_release(studies, genes, RELEASES, RELEASES[1]))[1]
    expected = folder.files["new"].X.toarray()[[0, 1, 3, 4]][:, [2, 0]]
    np.testing.assert_array_equal(new.counts.toarray(), expected)


def test_files_without_a_shared_gene_are_named(folder, ontology):
    folder.files["new"].var["feature_name"] = ["x", "y", "z"]
    folder.write()
    fails(folder, ontology, "new.h5ad", "none of the 2 genes", "feature_name")
    folder.rows["release"] = [RELEASES[0], RELEASES[0]]
    folder.rows.loc[2] = {**folder.rows.loc[0], "study": "third", "release": RELEASES[1]}
    folder.mapping = pd.concat([folder.mapping, folder.mapping.assign(study="third")])
    folder.write()
    fails(folder, ontology, "old.h5ad", "new.h5ad", "No gene name", "feature_name")


def test_genes_that_were_renamed_are_the_same_in_files_of_different_years(folder, ontology):
    # MARCH1 is MARCHF1 today and GRAMD3 is GRAMD2B; the new file has MARCH1 under both names.
    folder.files["old"] = cells(["MARCH1", "GRAMD3", "G1"], ["MARCH1", "GRAMD3", "G1"], 1)
    new = ["MARCHF1", "GRAMD2B", "G1", "MARCH1"]
    folder.files["new"] = cells(new, new, 2)
    folder.write()
    studies = folder.read(ontology)
    genes = shared_genes(studies, RELEASES[0])
    assert genes["feature_name"].tolist() == ["MARCH1", "GRAMD3", "G1"]
    assert missing_genes(studies, genes, RELEASES[1])["value"].tolist() == [3, 0]
    read = list(h5ad_release(studies, genes, RELEASES, RELEASES[1]))[1]
    expected = folder.files["new"].X.toarray()[[0, 1, 3, 4]][:, [3, 1, 2]]
    np.testing.assert_array_equal(read.counts.toarray(), expected)


@pytest.mark.skipif(not (DATA / "pbmc").is_dir(), reason="HCE_TEST_DATA has no folder pbmc")
def test_the_real_pbmc_studies_are_read(ontology):
    releases = [*RELEASES, "2024-07-01"]
    studies = read_manifest(
        ROOT / "resources" / "pbmc" / "manifest.tsv", DATA / "pbmc", releases, ontology
    )
    assert {s.row["study"]: len(s.kept) for s in studies} == {
        "zheng2017": 3874,
        "pbmc3k": 2638,
        "pbmc4k": 2150,
        "kang2018": 6384,
    }
    genes = shared_genes(studies, RELEASES[0])
    assert len(genes) == 13_358
    lacking = [missing_genes(studies, genes, release)["value"].iloc[-1] for release in releases]
    assert lacking == [0, 287, 690]
    # An annotation finds the same genes in the same columns, and besides those that R spells.
    for study in studies[2:]:
        with open_cells(study.path) as opened:
            match = match_genes(find_counts(opened, study.layer).var, genes, "File", min_share=0)
        columns = study.genes["column"].reindex(genes["feature_name"])
        found = np.flatnonzero(columns.notna())
        assert len(set(match.found_at) - set(found)) == match.by_spelling < 2
        np.testing.assert_array_equal(match.gene_of[columns.iloc[found].astype(int)], found)
    assert genes["feature_id"].str.startswith("ENSG").all()
    assert genes["feature_id"].is_unique
