"""A small collection of h5ad files, to be spoilt by a test."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from hce.errors import UserError
from hce.sources.h5ad import h5ad_release, read_manifest, shared_genes
from hce.sources.soma import HUMAN, write_census

RELEASES = ["2023-05-15", "2023-12-15"]
FIRST, SECOND = (f"ENSG0000000000{i}" for i in (1, 2))


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
    """A manifest, its mapping and two files; `write` puts them on the disk."""

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
