"""What several of the tests here start from."""

import sys

import numpy as np
import pandas as pd
import pytest

from hce.ontology import Hierarchy
from hce.store.cell_store import write_store
from hce.store.shards import write_shard

N_GENES = 400


@pytest.fixture(autouse=True)
def _keep_denormals():
    """Tests that prepare a device have denormals flushed; the others count on having them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="module")
def fit_folder(tmp_path_factory, make_counts, slim):
    """Stores of 160 training and 40 validation cells of four types."""
    path = tmp_path_factory.mktemp("fit")
    hierarchy = Hierarchy.build(
        {"CL:0000084": "T cell", "CL:0000624": "CD4", "CL:0000236": "B cell", "CL:0000540": "n"},
        slim,
    )
    hierarchy.save(path)
    hierarchy.types.assign(class_weight=1.0).to_parquet(path / "types.parquet")
    genes = pd.DataFrame({"feature_id": [f"E{i}" for i in range(N_GENES)], "feature_name": "g"})
    for name, n in (("train", 160), ("val", 40)):
        ids = np.arange(n, dtype=np.int64)
        write_shard(path / f"{name}.arrow", [(ids, make_counts(n, N_GENES, seed=n))])
        cells = pd.DataFrame({"soma_joinid": ids, "label": (ids % 4).astype(np.int16)})
        write_store(path / name, [path / f"{name}.arrow"], cells, genes, {})
    return path
