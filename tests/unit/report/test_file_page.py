"""The page of an annotated file: what it says, and that a browser shows it without a network."""

import importlib.util
import re
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from annotators import N_GENES, make_annotator, make_cells, profiles
from browser import barriers, chromium, open_page
from hce.annotate import Options, annotate_file
from hce.annotate.annotator import save_annotator
from hce.annotate.novelty import Novelty
from hce.annotate.survey import check_embedding, survey
from hce.cli import main
from hce.errors import UserError
from hce.report.file_page import check_page, write_file_page

__all__ = ["barriers", "chromium", "open_page"]


@pytest.fixture
def known():
    return replace(make_annotator(), novelty=Novelty(profiles(), 3.5, 5))


def page_of(tmp_path, known, cells, vote="cluster", **options):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    source, out = tmp_path / "cells.h5ad", tmp_path / "out.tsv"
    annotation = annotate_file(source, known, out, Options(vote=vote, **options))
    write_file_page(tmp_path / "page.html", source, annotation, known, vote)
    return (tmp_path / "page.html").read_text()


def test_the_page_shows_types_clusters_depth_markers_and_the_embedding_of_the_file(tmp_path, known):
    page = page_of(tmp_path, known, make_cells(80))
    assert "Cell types of cells.h5ad" in page
    assert str(tmp_path) not in page
    for anchor in ("short", "care", "types", "map", "clusters", "depth", "markers"):
        assert f'<section id="{anchor}"' in page
    assert "Embedding: X_umap." in page
    assert page.count("<svg") == 4
    assert re.search(r"<td[^>]*>monocyte</td>", page)
    assert "5 of 5" in page  # markers
    assert "GENE3" in page  # genes with weights of the linear model
    assert "of 8 new studies" not in page
    assert "8 new studies" in page  # what is known of the precision


def test_the_same_file_gives_the_same_page_to_the_byte(tmp_path, known):
    first = page_of(tmp_path, known, make_cells(60))
    assert page_of(tmp_path, known, make_cells(60)) == first


def test_types_without_their_markers_and_novel_clusters_are_named(tmp_path, known):
    cells = make_cells(120)
    counts = np.random.default_rng(0).poisson(0.5, (120, N_GENES)).astype(np.float32)
    counts[40:80, 37:] += 40  # three of the monocyte's ten genes
    counts[80:, [3, 13, 23, 33]] += 40  # genes that no type has together
    cells.X = sp.csr_matrix(np.where(np.arange(120)[:, None] < 40, cells.X.toarray(), counts))
    cells.obs["cluster"] = pd.Categorical(np.repeat(["known", "unmarked", "odd"], 40))
    page = page_of(tmp_path, known, cells)
    assert "Cells whose most probable type is monocyte show little of" in page
    assert "Clusters that are unlike any type of the model: odd." in page
    assert re.search(r"3\d% of the cells are unlike any type", page)


def test_an_embedding_is_computed_where_the_file_has_none(tmp_path, known):
    cells = make_cells(60)
    del cells.obsm["X_umap"]
    page = page_of(tmp_path, known, cells, vote=None)
    assert "Embedding: UMAP, computed for this page." in page
    assert '<section id="clusters"' not in page
    few = make_cells(5)
    del few.obsm["X_umap"]
    few.write_h5ad(tmp_path / "few.h5ad")
    annotation = annotate_file(tmp_path / "few.h5ad", known, tmp_path / "few.tsv")
    assert survey(tmp_path / "few.h5ad", annotation, known).embedding.shape == (5, 2)


def test_without_scanpy_and_embedding_one_sentence_says_so_before_the_work(
    tmp_path, known, monkeypatch, capsys
):
    cells = make_cells(20)
    del cells.obsm["X_umap"]
    cells.write_h5ad(tmp_path / "cells.h5ad")
    save_annotator(tmp_path / "model.hce", known)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "scanpy" else find(name)
    )
    command = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(tmp_path / "model.hce")]
    command += ["--out", str(tmp_path / "out.h5ad"), "--report", str(tmp_path / "page.html")]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "scanpy, which would compute one, is not installed" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.h5ad").exists()
    cells.obsm["X_umap"] = np.zeros((20, 2))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    check_embedding(tmp_path / "cells.h5ad")  # the file's own is enough


def test_a_report_that_is_no_page_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"let its name end in \.html"):
        check_page(tmp_path / "page.pdf")


def test_the_command_writes_the_page_beside_the_annotation(tmp_path, known):
    make_cells(40).write_h5ad(tmp_path / "cells.h5ad")
    save_annotator(tmp_path / "model.hce", known)
    command = ["annotate", str(tmp_path / "cells.h5ad"), "--model", str(tmp_path / "model.hce")]
    command += ["--out", str(tmp_path / "out.h5ad"), "--report", str(tmp_path / "page.html")]
    assert main([*command, "--vote", "cluster"]) == 0
    assert "hce_novel" in ad.read_h5ad(tmp_path / "out.h5ad").obs
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_it_can_be_read_in_a_browser_without_a_network_and_barriers(
    tmp_path, known, open_page, barriers
):
    page_of(tmp_path, known, make_cells(80))
    page = open_page(tmp_path / "page.html")
    assert page.title() == "Cell types of cells.h5ad"
    assert page.locator(".picture svg").count() == 4
    assert all(page.locator(".picture svg").nth(i).bounding_box()["height"] > 50 for i in range(4))
    page.get_by_role("button", name="Cells").click()
    counts = page.locator("#types-table tbody tr td:nth-child(2)").all_inner_texts()
    assert counts == sorted(counts, key=int)
    assert barriers(page) == []
    narrow = open_page(tmp_path / "page.html", viewport={"width": 390, "height": 800})
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 390
