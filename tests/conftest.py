"""Fixtures that several tests share."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

from browser import barriers, chromium, open_page  # noqa: F401  (fixtures)
from hce.ontology import Hierarchy, Ontology, read_ontology
from hce.store.counts import Counts
from workplace import finished, finished_pbmc, new_workplace  # noqa: F401  (fixtures)

# A busy machine is slow and not wrong; and the same code gives the same result.
settings.register_profile("busy", deadline=None, derandomize=True)
settings.load_profile("busy")

REPOSITORY = Path(__file__).resolve().parents[1]

# What tests start keeps its compiled modules; without them each process takes a second more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_terminal_summary(terminalreporter):
    """Shows what tests measured (`record_property("measured", …)`)."""
    found = [
        value
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == "measured"
    ]
    if found:
        terminalreporter.section("measured")
        terminalreporter.write_line("\n".join(found))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Numbers that a test draws without a seed are the same in every run."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real PBMC and ontology files, where there is one."""
    folder = Path(os.environ.get("HCE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder} (HCE_TEST_DATA says where they are)")
    return folder


@pytest.fixture(scope="session")
def slim() -> Ontology:
    return read_ontology(REPOSITORY / "resources/ontology/cl-slim.obo")


@pytest.fixture(scope="session")
def hierarchy(slim: Ontology) -> Hierarchy:
    """The hierarchy of the paper's 164 types."""
    types = pd.read_csv(REPOSITORY / "resources/ontology/cell_types_164.tsv", sep="\t")
    return Hierarchy.build(dict(zip(types["cl_id"], types["label"], strict=True)), slim)


@pytest.fixture(scope="session")
def make_counts():
    """Makes random counts of n cells over n_genes, with empty cells and large counts among them."""

    def make(n: int, n_genes: int, seed: int = 0) -> Counts:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(0, min(n_genes, 60), n)
        lengths[::7] = 0
        genes = [np.sort(rng.choice(n_genes, k, replace=False)) for k in lengths]
        values = [np.minimum(rng.lognormal(1, 3, k).astype(int) + 1, 65535) for k in lengths]
        indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Counts(
            indptr,
            np.concatenate(genes).astype(np.uint16),
            np.concatenate(values).astype(np.uint16),
        )

    return make
