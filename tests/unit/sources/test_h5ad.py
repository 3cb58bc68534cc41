"""What is said when a file of a collection of h5ads, or a table, is wrong."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from h5ad_folder import FIRST, RELEASES, fails
from hce.inputs.cells import checked_blocks
from hce.sources.h5ad import h5ad_release, shared_genes


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
    old = next(h5ad_release(studies, shared_genes(studies, RELEASES[0]), RELEASES, RELEASES[0]))
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
        ({"indices": lambda values: values + 10**6}, "an index outside of 0 to 1"),
        ({"indices": lambda values: values - 3}, "an index outside of 0 to 1"),
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
    folder.files["old"].layers["notes"] = np.full((6, 2), "a", dtype=object)
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
