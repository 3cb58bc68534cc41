"""A model that is calibrated for a panel reads the panel's genes and no others."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from annotators import LABELS, N_GENES, R, make_annotator, make_cells, profiles
from hce.annotate import annotate
from hce.annotate.annotator import load_annotator, save_annotator
from hce.annotate.held_out import HeldOut, measure
from hce.annotate.novelty import Novelty
from hce.annotate.panel import PanelStore, read_panel
from hce.annotate.run import counts_of
from hce.cli import main
from hce.errors import UserError
from hce.ontology.targets import Targets
from hce.ontology.terms import Terms
from hce.store.cell_store import CellStore, write_store
from hce.store.shards import write_shard

# Eight genes: two of the ten that mark each type.
PANEL = np.isin(np.arange(N_GENES) % 10, (2, 7))
PARTS = ["cell_type", "probability", "back_off_cell_type", "back_off_probability", "novelty"]


@pytest.fixture
def for_panel():
    """An annotator that is calibrated for the panel, at a threshold of its own."""
    return replace(make_annotator(0.55), panel=PANEL, novelty=Novelty(profiles(), 4.0, 2))


def on_panel(cells):
    return cells[:, PANEL].copy()


def test_other_genes_change_nothing(for_panel):
    cells = make_cells(60)
    cut = on_panel(cells)
    for given in (cells, cut):
        annotate(given, for_panel)
    pd.testing.assert_frame_equal(
        *(given.obs[[f"hce_{part}" for part in PARTS]] for given in (cells, cut))
    )
    whole = make_cells(60)
    annotate(whole, replace(for_panel, panel=None))
    assert (whole.obs["hce_probability"] != cells.obs["hce_probability"]).all()


def test_no_override_is_needed_where_most_of_its_genes_are_there(for_panel, tmp_path, capsys):
    save_annotator(tmp_path / "best_panel.hce", for_panel)
    save_annotator(tmp_path / "best.hce", replace(for_panel, panel=None))
    on_panel(make_cells()).write_h5ad(tmp_path / "cut.h5ad")
    command = ["annotate", str(tmp_path / "cut.h5ad"), "--out", str(tmp_path / "out.tsv")]
    assert main([*command, "--model", str(tmp_path / "best.hce")]) == 1
    assert "holds 8 of the model's 40 genes" in capsys.readouterr().err
    assert main([*command, "--model", str(tmp_path / "best_panel.hce")]) == 0
    said = "".join(capsys.readouterr())
    assert "8 of the model's 8 genes on its panel found" in said
    assert "with the counts of the panel's 8 genes" in said
    make_cells()[:, PANEL & (np.arange(N_GENES) > 20)].copy().write_h5ad(tmp_path / "few.h5ad")
    command[1] = str(tmp_path / "few.h5ad")
    assert main([*command, "--model", str(tmp_path / "best_panel.hce"), "--overwrite"]) == 0
    make_cells()[:, PANEL & (np.arange(N_GENES) > 30)].copy().write_h5ad(tmp_path / "few.h5ad")
    assert main([*command, "--model", str(tmp_path / "best_panel.hce"), "--overwrite"]) == 1
    assert "holds 2 of the model's 8 genes" in capsys.readouterr().err


def test_the_panel_travels_with_the_file_and_is_said(for_panel, tmp_path, capsys):
    save_annotator(tmp_path / "a.hce", for_panel)
    again = load_annotator(tmp_path / "a.hce")
    assert again.panel is not None
    np.testing.assert_array_equal(again.panel, PANEL)
    assert main(["models", str(tmp_path / "a.hce")]) == 0
    assert "calibrated for the 8 on a panel" in capsys.readouterr().out
    assert main(["models", "--card", str(tmp_path / "a.hce")]) == 0
    assert "It is calibrated for a panel of 8 of these genes" in capsys.readouterr().out
    save_annotator(tmp_path / "b.hce", replace(for_panel, panel=np.zeros(N_GENES, dtype=bool)))
    with pytest.raises(UserError, match="its panel is not one of its genes"):
        load_annotator(tmp_path / "b.hce")


def test_held_out_cells_are_measured_as_if_the_panel_had_counted_them(tmp_path):
    annotator = make_annotator()
    trained = annotator.trained
    stores = {}
    for name, kept in (("all", np.ones(N_GENES, dtype=bool)), ("cut", PANEL)):
        cells = make_cells(400, seed=3)
        matrix = cells.X.multiply(kept.astype(np.float32)).tocsr()
        matrix.eliminate_zeros()
        ids = np.arange(400, dtype=np.int64)
        (tmp_path / name).mkdir()
        shard = tmp_path / name / "0.arrow"
        write_shard(shard, [(ids, counts_of(matrix, np.arange(N_GENES)))])
        table = pd.DataFrame({"soma_joinid": ids, "label": (ids % len(LABELS)).astype(np.int16)})
        table = table.assign(study=[f"s{i % 2}" for i in ids], donor=[f"d{i % 5}" for i in ids])
        stores[name] = write_store(
            tmp_path / name / "store", [shard], table, trained.genes, {}
        ).path
    shares = Novelty(profiles(), np.inf, 0).among(PANEL).log_shares
    numbers = np.arange(len(LABELS), dtype=np.int32)
    targets = Targets([("r", "s0"), ("r", "s1")], np.stack([numbers, numbers]), numbers, R)

    def measured(store: CellStore):
        held_out = HeldOut(
            {"val": store}, {"val": "r"}, "r", True, targets, 64, torch.device("cpu")
        )
        return measure(trained, Terms.only(trained.types, R), shares, held_out)

    panel = measured(PanelStore.of(stores["all"], PANEL))
    cut, whole = (measured(CellStore.open(stores[name])) for name in ("cut", "all"))
    pd.testing.assert_frame_equal(panel.calibrated, cut.calibrated)
    assert panel.novelty.threshold == cut.novelty.threshold
    assert panel.novelty.few_genes < whole.novelty.few_genes
    assert not panel.tables["coverage"].equals(whole.tables["coverage"])


def test_a_panel_is_read_by_id_and_symbol_and_says_what_is_no_gene(tmp_path):
    genes = make_annotator().trained.genes
    path = tmp_path / "panel.txt"
    path.write_text("# my panel\nGENE3A\n\nENSG00000000007.2\nBlank-12\n")
    assert np.flatnonzero(read_panel(path, genes)).tolist() == [3, 7]
    path.write_text("GENE3A\nx\ny\n")
    with pytest.raises(UserError, match=r"Of the 3 lines of panel .*, 2 are not genes .* 'x'"):
        read_panel(path, genes)
    path.write_text("")
    with pytest.raises(UserError, match="Of the 0 lines"):
        read_panel(path, genes)
    with pytest.raises(UserError, match="cannot be read"):
        read_panel(tmp_path, genes)
