"""The workflow on the published scTab store: the reference from it, new studies from a release."""

import json
import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml

from hce.batches.in_memory import Batches
from hce.files import read_tsv
from hce.sources.soma import Study, write_census
from hce.store.cell_store import CellStore
from sctab_archive import GENES, N_GENES, dense, normalised, simulated_cells, written

__all__ = ["written"]

pytestmark = pytest.mark.workflow

REFERENCE, NEW = "2023-05-15", "2023-12-15"


@pytest.fixture(scope="module")
def workplace(repository, written, tmp_path_factory):
    """The pipeline on the archive and on two small local releases."""
    folder = tmp_path_factory.mktemp("workplace")
    for name in ("Snakefile", "workflow", "scripts", "config"):
        (folder / name).symlink_to(repository / name)
    (folder / "resources").mkdir()
    for name in ("ontology", "published.tsv"):
        (folder / "resources" / name).symlink_to(repository / "resources" / name)
    (folder / "lists").mkdir()
    (folder / "lists/genes.txt").write_text("\n".join(GENES["feature_name"]))
    with tarfile.open(folder / "archive.tar.gz", "w:gz") as tar:
        tar.add(written.folder, arcname="merlin_sf-log1p")
    studies = {}
    for seed, name in ((0, "s0"), (7, "new")):
        obs, counts = simulated_cells(90, seed, name)
        # Features of a release are in no model's order, and some belong to no model.
        counts = sp.hstack([counts[:, ::-1], counts[:, :2]]).tocsr()
        studies[name] = Study(name, name, f"c-{name}", "Collection", "", obs, counts)
    extra = pd.DataFrame({"feature_id": ["X1", "X2"], "feature_name": ["other1", "other2"]})
    genes = pd.concat([GENES[::-1], extra], ignore_index=True).assign(feature_length=0)
    for release, names in ((REFERENCE, ["s0"]), (NEW, ["s0", "new"])):
        chosen = [studies[name] for name in names]
        write_census(folder / "releases" / release, release, chosen, {"homo_sapiens": genes})
    config = {
        "run": "s",
        "data": {
            "name": "s",
            "source": "sctab",
            "sctab": {"archive": "archive.tar.gz"},
            "reference": {"release": REFERENCE, "uri": f"releases/{REFERENCE}"},
            "new": [{"release": NEW, "uri": f"releases/{NEW}"}],
            "genes": "lists/genes.txt",
            "genes_sha256": None,
        },
        "ontology": {"file": "resources/ontology/cl-slim.obo"},
        "export": {"shards": 1},
    }

    def run(*arguments, archive="archive.tar.gz"):
        config["data"]["sctab"]["archive"] = archive
        (folder / "s.yaml").write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
        return subprocess.run(
            [*command, "--configfile", "s.yaml"],
            cwd=folder,
            capture_output=True,
            text=True,
        )

    return folder, run


STORES = [f"resources/atlas/s/store/{name}" for name in ("train", "ood")]


def test_the_workflow_takes_the_reference_from_the_archive_and_new_studies_from_a_release(
    workplace, written
):
    folder, run = workplace
    done = run("--dry-run", "--quiet", "reason")
    assert done.returncode == 0, done.stdout + done.stderr
    rules = {line.split()[0] for line in done.stdout.splitlines() if len(line.split()) == 2}
    assert {"unpack_sctab", "read_sctab", "convert_sctab", "export_counts", "fit"} <= rules
    assert not {"select_types", "select_genes", "split_reference"} & rules

    done = run(*STORES, "resources/atlas/s/cells/report.tsv")
    assert done.returncode == 0, done.stderr[-3000:]
    data = folder / "resources/atlas/s"
    assert not (data / "sctab").exists()  # what was unpacked is not kept
    stores = {path.rsplit("/", 1)[1]: CellStore.open(folder / path) for path in STORES}
    kinds = {name: store.manifest["values"] for name, store in stores.items()}
    assert kinds == {"train": "log1p_cp10k", "ood": "counts"}
    assert all(store.genes.equals(GENES) for store in stores.values())
    assert str(folder) not in json.dumps(stores["train"].manifest)

    # The new study was simulated above: its batches are the normalisation of its counts.
    ood = stores["ood"]
    assert set(ood.cells()["study"]) == {"new"}
    labels = ood.cells()["label"].to_numpy()
    _, counts = simulated_cells(90, 7, "new")
    batches = Batches(ood.load(), labels, N_GENES, 90)
    expression, _ = next(batches.in_order())
    np.testing.assert_allclose(expression.numpy(), normalised(counts), rtol=1e-5)
    found = dense(stores["train"].load())
    np.testing.assert_array_equal(found, normalised(written.counts["train"]))

    np.testing.assert_array_equal(np.load(data / "augmentations.npy"), np.ones((6, N_GENES)))
    table = read_tsv(data / "cells/sctab.tsv").set_index(["quantity", "item"])
    assert table.loc[("reachability", "pairs"), "verdict"] == "equal"
    assert set(read_tsv(data / "ontology/terms.tsv")["status"]) == {"current"}

    # Once it has been read, the archive may be deleted.
    (folder / "archive.tar.gz").unlink()
    done = run("results/s/tables/data_totals.tsv", "--dry-run", "--quiet", "reason")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "describe_data" in done.stdout
    assert "sctab" not in re.findall(r"Job stats.*", done.stdout, re.S)[0]


def test_an_archive_that_does_not_exist_is_named(workplace):
    folder, run = workplace
    shutil.rmtree(folder / "resources/atlas", ignore_errors=True)
    done = run("--dry-run", archive="nowhere.tar.gz")
    assert done.returncode != 0
    assert "data.sctab.archive names nowhere.tar.gz, which does not exist" in done.stdout
