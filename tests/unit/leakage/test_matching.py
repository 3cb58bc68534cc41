"""What matching types by id and genes by name would change, counted on small made-up releases."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from hce.census.release import open_release
from hce.leakage.matching import (
    compare_matching,
    compare_totals,
    features_beyond,
    read_raw_sums,
    sample_totals,
    summarise_matching,
)
from hce.sources.soma import HUMAN, Study, write_census


def test_types_are_matched_by_label_and_by_id(tmp_path):
    types = pd.DataFrame({"cl_id": ["CL:1", "CL:2", "CL:3"], "label": ["a", "b", "c"]})
    rows = [
        *[("new", "a", "CL:1")] * 5,
        *[("new", "b", "CL:9")] * 4,  # the same name under another id
        *[("new", "renamed", "CL:3")] * 3,
        *[("new", "a", "CL:2")] * 2,  # two of our types
        ("new", "other", "CL:8"),
        *[("old", "c", "CL:3")] * 7,
    ]
    columns = ["dataset_id", "cell_type", "cell_type_ontology_term_id"]
    pd.DataFrame(rows, columns=columns).astype("category").to_parquet(tmp_path / "cells.parquet")
    found = compare_matching(tmp_path / "cells.parquet", ["old"], types)
    assert found["cells"].sum() == 15
    table = summarise_matching(found).set_index("quantity")["value"]
    assert table.to_dict() == {
        "cells by label": 11,
        "cells by CL id": 10,
        "cells missing if matched by CL id": 4,
        "cells added if matched by CL id": 3,
        "cells of another type by CL id": 2,
        "types by label": 2,
        "types by CL id": 3,
        "types missing if matched by CL id": 0,
        "types added if matched by CL id": 1,
    }
    nothing = compare_matching(tmp_path / "cells.parquet", ["old", "new"], types)
    assert nothing.empty
    assert summarise_matching(nothing)["value"].eq(0).all()


@pytest.fixture(scope="module", params=["2023-05-15", "2023-12-15"])
def small_release(request, tmp_path_factory):
    """Two studies of 300 cells and 12 genes; the counts, and the open release."""
    rng = np.random.default_rng(5)
    dense = rng.integers(0, 4, (600, 12))
    genes = pd.DataFrame(
        {
            "feature_id": [f"E{i}" for i in range(12)],
            "feature_name": [f"n{i % 10}" for i in range(12)],  # n0 and n1 stand for two features
            "feature_length": 0,
        }
    )
    obs = {"cell_type": "a", "donor_id": "d", "assay": "10x 3' v3", "is_primary_data": True}
    studies = [
        Study(
            *(f"s{i}", "t", "c", "c", ""),
            pd.DataFrame([obs] * 300),
            sp.csr_matrix(dense[300 * i : 300 * i + 300]),
        )
        for i in range(2)
    ]
    path = tmp_path_factory.mktemp("release") / "soma"
    write_census(path, request.param, studies, {HUMAN: genes})
    with open_release(request.param, str(path)) as release:
        yield request.param, release, dense, genes.assign(soma_joinid=np.arange(12))


def test_totals_are_compared_with_those_of_all_features_and_of_all_names(small_release):
    name, release, dense, genes = small_release
    ids = np.concatenate([np.arange(10, 300), np.arange(310, 600)])
    cells = pd.DataFrame({"soma_joinid": ids, "study": np.repeat(["s0", "s1"], 290)})
    ours = genes.iloc[:8]
    totals = dense[ids, :8].sum(axis=1)
    raw = read_raw_sums(release, cells)
    if name == "2023-05-15":
        assert raw is None
    else:
        np.testing.assert_array_equal(raw, dense[ids].sum(axis=1))
    names = [f"n{i}" for i in range(8)]
    further = features_beyond(ours, genes, names)
    assert further.tolist() == [10, 11]
    assert features_beyond(ours, genes, None).tolist() == [8, 9, 10, 11]
    beyond = sample_totals(release, further, cells)
    assert len(beyond) == 2 * 256
    table = compare_totals(cells, totals, raw, beyond, len(further)).set_index("study")
    sample = np.arange(310, 566)
    share = dense[sample, :8].sum(axis=1) / dense[sample][:, [*range(8), 10, 11]].sum(axis=1)
    assert table["share_of_named_median"]["s1"] == pytest.approx(np.median(share))
    assert table["share_of_named_min"]["s1"] == pytest.approx(share.min())
    if raw is None:
        assert table["share_of_all_median"].isna().all()
    else:
        share = totals[:290] / dense[ids[:290]].sum(axis=1)
        assert table["share_of_all_median"]["s0"] == pytest.approx(np.median(share))


def test_where_names_add_no_feature_the_totals_agree_exactly(small_release):
    _, release, dense, genes = small_release
    cells = pd.DataFrame({"soma_joinid": np.arange(600), "study": "s"})
    further = features_beyond(genes, genes, None)
    beyond = sample_totals(release, further, cells)
    assert len(further) == len(beyond) == 0
    table = compare_totals(cells, dense.sum(axis=1), None, beyond, 0)
    assert table.filter(like="share_of_named").eq(1).all(axis=None)
