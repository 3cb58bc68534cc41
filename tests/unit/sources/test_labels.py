"""Labels of a study become terms: by the mapping table, or because they are terms."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

from foreign_cells import KINDS
from h5ad_folder import RELEASES, fails
from hce.sources.h5ad import h5ad_release, shared_genes
from hce.sources.labels import read_term


@pytest.mark.parametrize(
    "text",
    [
        "CL:0000084",
        "CL_0000084",
        "http://purl.obolibrary.org/obo/CL_0000084",
        " <http://purl.obolibrary.org/obo/CL_0000084> ",
        '"CL:0000084"',
    ],
)
def test_a_term_is_read_however_it_is_written(text, ontology):
    assert read_term(text, ontology) == "CL:0000084"


@pytest.mark.parametrize("text", ["T cell", "CL:9999999", "cluster CL:0000084b", "", "84"])
def test_other_labels_are_no_terms(text, ontology):
    assert read_term(text, ontology) is None


def test_an_obsolete_term_is_followed_to_its_replacement_with_a_warning(ontology, caplog):
    later = replace(ontology, replaced={"CL:0009999": "CL:0000084"})
    assert read_term("CL_0009999", later) == "CL:0000084"
    assert "CL:0009999 is obsolete: its cells are of CL:0000084 (T cell)" in caplog.text


def test_labels_that_are_terms_need_no_mapping_table(folder, ontology):
    folder.files["new"].obs["label"] = ["CL_0000236", "CL:0000084"] * 3
    folder.rows.loc[1, "mapping"] = ""
    folder.write()
    new = folder.read(ontology)[1]
    assert new.obs["cell_type"].tolist() == ["B cell", "T cell"] * 3
    folder.files["new"].obs["label"] = ["CL_0000236", "B"] * 3
    folder.write()
    fails(folder, ontology, "Label 'B'", "a mapping table", "study new")


def test_quotes_in_labels_are_kept(folder, ontology):
    labels = {"B": '"naive" B', "T": 'T 5"'}
    folder.files["new"].obs["label"] = folder.files["new"].obs["label"].replace(labels)
    folder.mapping["author_cell_type"] = [
        labels.get(label, label) if study == "new" else label
        for study, label in folder.mapping[["study", "author_cell_type"]].to_numpy()
    ]
    folder.write()  # as pandas quotes them
    assert folder.read(ontology)[1].obs["cell_type"].tolist() == ["B cell", "T cell"] * 2
    text = (folder.path / "mapping.tsv").read_text()
    plain = text.replace('"""naive"" B"', '"naive" B').replace('"T 5"""', 'T 5"')
    assert plain != text
    (folder.path / "mapping.tsv").write_text(plain)  # as an editor leaves them
    assert folder.read(ontology)[1].obs["cell_type"].tolist() == ["B cell", "T cell"] * 2


def test_the_layer_that_the_manifest_names_is_read(folder, ontology):
    file = folder.files["old"]
    counts = file.X.toarray()
    file.layers["mine"] = counts
    file.X = counts + 5
    folder.rows["layer"] = ["mine", ""]
    folder.write()
    studies = folder.read(ontology)
    old = next(h5ad_release(studies, shared_genes(studies, RELEASES[0]), RELEASES, RELEASES[0]))
    np.testing.assert_array_equal(old.counts.toarray(), counts[[0, 1, 3, 4]])
    folder.rows["layer"] = ["nothing", ""]
    folder.write()
    fails(folder, ontology, "old.h5ad", "no layer 'nothing'")


@pytest.mark.parametrize("kind", ["zarr v3", "anndata 0.6", "SeuratDisk"])
def test_studies_are_read_from_files_of_every_kind(kind, folder, ontology):
    """`tests/unit/annotate/test_file_kinds.py` has the other kinds: the reader is the same."""
    folder.write()
    expected = folder.read(ontology)
    file = folder.files["old"]
    file.X = file.X.tocsr()
    wide = ad.concat([file, *[file] * 9], axis=1, merge="first")
    wide.var_names = [f"{name}{i // 2 or ''}" for i, name in enumerate(wide.var_names)]
    wide.var["feature_name"] = wide.var_names.to_list()
    place = folder.path / "other"
    place.mkdir()
    path = KINDS[kind](wide, place)
    folder.rows.loc[0, "file"] = str(path.relative_to(folder.path))
    folder.write()
    found = folder.read(ontology)
    assert found[0].obs["cell_type"].tolist() == expected[0].obs["cell_type"].tolist()
    genes = shared_genes(expected, RELEASES[0])
    for studies in (expected, found):
        old = next(h5ad_release(studies, genes, RELEASES, RELEASES[0]))
        np.testing.assert_array_equal(old.counts.toarray(), file.X.toarray()[[0, 1, 3, 4]])
