"""Releases from h5ad files, and what is said when a file or a table is wrong."""

import os
from pathlib import Path

import anndata
import cellxgene_census
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from hce.errors import UserError
from hce.inputs.cells import checked_blocks
from hce.ontology import read_ontology
from hce.sources.h5ad import (
    h5ad_release,
    missing_genes,
    read_manifest,
    shared_genes,
)
from hce.sources.soma import HUMAN, write_census

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("HCE_TEST_DATA", ROOT / ".." / "shared" / "data"))
RELEASES = ["2023-05-15", "2023-12-15"]
FIRST, SECOND = (f"ENSG0000000000{i}" for i in (1, 2))


@pytest.fixture(scope="module")
def ontology():
    return read_ontology(ROOT / "resources" / "ontology" / "cl-slim.obo")


def cells(var_names, symbols, seed, form=sp.csr_matrix):
    """Six cells with three labels, of which "?" is left out."""
    counts = np.random.default_rng(seed).poisson(2, (6, len(var_names))).astype(np.float32)
    return anndata.AnnData(
        X=form(counts),
        obs=pd.DataFrame(
            {"label": ["B", "T", "?"] * 2, "person": ["p1", "p2"] * 3},
            index=[f"cell{i}" for i in range(6)],
        ),
        var=pd.DataFrame({"feature_name": symbols}, index=var_names),
    )


class Folder:
    """A manifest, its mapping and two files, to be spoilt by a test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest = path / "manifest.tsv"
        self.files = {
            "old": cells(["G2", "G1"], ["G2", "G1"], 1, sp.csc_matrix),
            "new": cells([FIRST, SECOND, "ENSG00000000003"], ["G1", "G2", "other"], 2, np.asarray),
        }
        self.rows = pd.DataFrame(
            {
                "study": ["old", "new"],
                "file": ["old.h5ad", "new.h5ad"],
                "release": RELEASES,
                "label_column": "label",
                "donor_column": "person",
                "mapping": "mapping.tsv",
                "assay": ["10x 3' v2", ""],
                "tissue": "blood",
            }
        )
        self.mapping = pd.DataFrame(
            [
                (study, label, term)
                for study in ("old", "new")
                for label, term in (("B", "CL:0000236"), ("T", "CL:0000084"), ("?", "drop"))
            ],
            columns=["study", "author_cell_type", "cell_type_ontology_term_id"],
        )

    def write(self) -> None:
        for name, file in self.files.items():
            file.write_h5ad(self.path / f"{name}.h5ad")
        self.rows.to_csv(self.manifest, sep="\t", index=False)
        self.mapping.to_csv(self.path / "mapping.tsv", sep="\t", index=False)

    def read(self, ontology):
        return read_manifest(self.manifest, self.path, RELEASES, ontology)

    def build(self, ontology, release=RELEASES[1]):
        self.write()
        return self.build_written(ontology, release)

    def build_written(self, ontology, release=RELEASES[1]):
        studies = self.read(ontology)
        genes = shared_genes(studies, RELEASES[0])
        target = self.path / "census" / release
        write_census(
            target, release, h5ad_release(studies, genes, RELEASES, release), {HUMAN: genes}
        )
        return target


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def fails(folder, ontology, *words):
    """The build ends with one sentence that holds the words, and leaves nothing."""
    with pytest.raises(UserError) as error:
        folder.build_written(ontology)
    message = str(error.value)
    for word in words:
        assert word in message
    assert "\n" not in message
    left = folder.path / "census"
    assert not left.exists() or not list(left.iterdir())


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


def test_integer_counts_of_any_dtype_are_taken(folder, ontology):
    folder.files["old"].X = folder.files["old"].X.astype(np.int32)
    folder.build(ontology)


def test_missing_file_is_named(folder, ontology):
    folder.write()
    (folder.path / "new.h5ad").unlink()
    fails(folder, ontology, str(folder.path / "new.h5ad"), "does not exist", "data.h5ad.dir")


@pytest.mark.parametrize("keep", [0.5, 0.01])
def test_truncated_file_is_named(folder, ontology, keep):
    folder.write()
    file = folder.path / "new.h5ad"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * keep)])
    fails(folder, ontology, str(file), "truncated")


def test_file_without_counts_is_named(folder, ontology):
    folder.write()
    with h5py.File(folder.path / "new.h5ad", "a") as file:
        del file["X"]
    fails(folder, ontology, "new.h5ad", "is empty: it has 6 cells and 0 matrices")


@pytest.mark.parametrize("column", ["study", "release", "mapping"])
def test_missing_manifest_column_is_named(folder, ontology, column):
    folder.rows = folder.rows.drop(columns=column)
    folder.write()
    fails(folder, ontology, "manifest.tsv", f"no column {column}")


def test_empty_manifest_cell_is_named(folder, ontology):
    folder.rows.loc[1, "donor_column"] = ""
    folder.write()
    fails(folder, ontology, "manifest.tsv", "no donor_column for study new")


def test_study_named_twice_is_named(folder, ontology):
    folder.rows["study"] = "old"
    folder.write()
    fails(folder, ontology, "manifest.tsv", "study old twice")


def test_unknown_release_and_release_without_study_are_named(folder, ontology):
    folder.rows.loc[len(folder.rows)] = {**folder.rows.loc[1], "study": "x", "release": "2020"}
    folder.write()
    fails(folder, ontology, "study x", "'2020'", RELEASES[0])
    folder.rows["release"] = RELEASES[0]
    folder.write()
    fails(folder, ontology, "no study of release 2023-12-15")


@pytest.mark.parametrize("key", ["label_column", "donor_column"])
def test_missing_obs_column_is_named(folder, ontology, key):
    folder.rows[key] = "nowhere"
    folder.write()
    fails(folder, ontology, "old.h5ad", "no obs column nowhere", "label, person")


def test_cells_without_a_label_are_counted(folder, ontology):
    labels = pd.Categorical(["B", None, "?", "B", None, "?"])
    folder.files["new"].obs["label"] = labels
    folder.write()
    fails(folder, ontology, "new.h5ad", "Column label", "2 cells")


def test_unmapped_label_is_named(folder, ontology):
    folder.mapping = folder.mapping.query("not (study == 'new' and author_cell_type == 'T')")
    folder.write()
    fails(folder, ontology, "'T'", "new.h5ad", "not mapped", "mapping.tsv", "study new", "'drop'")


def test_missing_mapping_table_is_named(folder, ontology):
    folder.rows["mapping"] = "nowhere.tsv"
    folder.write()
    fails(folder, ontology, "nowhere.tsv", "does not exist", "manifest")


def test_term_outside_the_ontology_is_named(folder, ontology):
    folder.mapping.loc[0, "cell_type_ontology_term_id"] = "CL:9999999"
    folder.write()
    fails(folder, ontology, "mapping.tsv", "'CL:9999999'", "'B'")


def test_label_mapped_to_two_terms_is_named(folder, ontology):
    folder.mapping.loc[len(folder.mapping)] = ["old", "B", "CL:0000084"]
    folder.write()
    fails(folder, ontology, "mapping.tsv", "'B'", "CL:0000236 and CL:0000084")


@pytest.mark.parametrize("form", [sp.csr_matrix, np.asarray])
def test_normalised_counts_are_refused(folder, ontology, form):
    counts = np.asarray(folder.files["new"].X)
    folder.files["new"].X = form(np.log1p(counts))
    folder.write()
    fails(folder, ontology, "new.h5ad", "as log-transformed data do", "raw counts")


def put(folder, **parts):
    """Replaces parts of the sparse matrix of a written file."""
    counts = folder.files["old"].X.tocsr()
    folder.files["old"].X = counts
    folder.write()
    with h5py.File(folder.path / "old.h5ad", "r+") as file:
        for name, change in parts.items():
            values = change(getattr(counts, name))
            del file["X"][name]
            file["X"][name] = values
    return counts


def counts_of(folder, ontology):
    studies = folder.read(ontology)
    old = next(h5ad_release(studies, shared_genes(studies), RELEASES, RELEASES[0]))
    return old.counts.toarray()


def twice(values):
    return np.repeat(values, 2)


def test_a_gene_that_stands_twice_in_a_cell_is_summed_without_overflow(folder, ontology):
    def halves(values):
        return np.column_stack([values - 1, np.ones_like(values)]).ravel()

    folder.write()
    expected = counts_of(folder, ontology)
    put(folder, data=halves, indices=twice, indptr=lambda bounds: 2 * bounds)
    np.testing.assert_array_equal(counts_of(folder, ontology), expected)
    large = put(
        folder,
        data=lambda values: np.full(2 * len(values), 200, dtype=np.uint8),
        indices=twice,
        indptr=lambda bounds: 2 * bounds,
    )
    found = counts_of(folder, ontology)
    assert set(found[found > 0]) == {400}
    assert (found > 0).sum() <= large.nnz


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"indices": lambda values: values + 10**6}, "an index outside of 0 to 2"),
        ({"indices": lambda values: values - 3}, "an index outside of 0 to 2"),
        ({"indices": lambda values: values.astype(np.float32)}, "indices of type float32"),
        ({"data": lambda values: values[:-1]}, "do not begin and end"),
        (
            {
                "data": lambda values: np.column_stack([values + 3, -3 + 0 * values]).ravel(),
                "indices": twice,
                "indptr": lambda bounds: 2 * bounds,
            },
            "negative values such as -3",
        ),
        (
            {
                "data": lambda values: np.full(2 * len(values), 40_000.0),
                "indices": twice,
                "indptr": lambda bounds: 2 * bounds,
            },
            "80000 is no raw count",
        ),
    ],
)
def test_a_matrix_that_contradicts_itself_is_refused(parts, words, folder, ontology):
    put(folder, **parts)
    fails(folder, ontology, "old.h5ad", words)


def test_half_precision_is_read(folder, ontology):
    folder.write()
    expected = counts_of(folder, ontology)
    put(folder, data=lambda values: values.astype(np.float16))
    np.testing.assert_array_equal(counts_of(folder, ontology), expected)


def test_layers_that_cannot_be_read_do_not_matter(folder, ontology):
    folder.files["old"].layers["notes"] = np.full((6, 3), "a", dtype=object)
    folder.write()
    assert counts_of(folder, ontology).shape == (4, 2)


def test_missing_values_are_no_counts(folder, ontology):
    folder.files["new"].X[1, 1] = np.nan
    folder.write()
    fails(folder, ontology, "new.h5ad", "missing or infinite")


def test_negative_counts_are_refused(folder, ontology):
    folder.files["new"].X[1, 1] = -2
    folder.write()
    fails(folder, ontology, "new.h5ad", "negative", "raw counts")


def test_only_the_cells_of_a_block_are_taken_from_it(folder, ontology, monkeypatch):
    folder.write()
    expected = counts_of(folder, ontology)
    monkeypatch.setattr(checked_blocks, "__defaults__", (2,))
    np.testing.assert_array_equal(counts_of(folder, ontology), expected)


def test_duplicate_genes_are_named(folder, ontology):
    folder.files["new"].var_names = [FIRST, FIRST, "ENSG00000000003"]
    folder.write()
    fails(folder, ontology, "new.h5ad", "duplicate genes", FIRST)


def test_duplicate_cells_are_named(folder, ontology):
    folder.files["old"].obs_names = ["cell1"] * 2 + ["a", "b", "c", "d"]
    folder.write()
    fails(folder, ontology, "old.h5ad", "duplicate cells", "cell1")


def test_files_without_a_shared_gene_are_named(folder, ontology):
    folder.files["new"].var["feature_name"] = ["x", "y", "z"]
    folder.write()
    fails(folder, ontology, "new.h5ad", "none of the 2 genes", "feature_name")
    folder.rows["release"] = [RELEASES[0], RELEASES[0]]
    folder.rows.loc[2] = {**folder.rows.loc[0], "study": "third", "release": RELEASES[1]}
    folder.mapping = pd.concat([folder.mapping, folder.mapping.assign(study="third")])
    folder.write()
    fails(folder, ontology, "old.h5ad", "new.h5ad", "No gene name", "feature_name")


@pytest.mark.parametrize("part", ["cells", "genes"])
def test_empty_file_is_named(folder, ontology, part):
    full = folder.files["new"]
    folder.files["new"] = full[:0].copy() if part == "cells" else full[:, :0].copy()
    folder.write()
    fails(folder, ontology, "new.h5ad", "is empty")


def test_file_whose_cells_are_all_dropped_is_named(folder, ontology):
    folder.mapping.loc[folder.mapping["study"] == "new", "cell_type_ontology_term_id"] = "drop"
    folder.write()
    fails(folder, ontology, "new.h5ad", "keeps no cell")


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
    assert lacking == [0, 486, 690]
    assert genes["feature_id"].str.startswith("ENSG").all()
    assert genes["feature_id"].is_unique
