"""The rule that chooses a few small studies."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hce.curation.pilot import choose_studies, keep_studies
from hce.errors import UserError

RULE = {"min_cells": 20, "min_types": 2, "total_cells": 1000}


@pytest.fixture
def release(tmp_path):
    """Studies s0 … s9 of 10, 20, … 100 cells with 1, 2, … types, mixed; and the table of cells."""
    rows = [(f"s{i}", f"type {k % (i + 1)}") for i in range(10) for k in range(10 * (i + 1))]
    order = np.random.default_rng(0).permutation(len(rows))
    table = pd.DataFrame([rows[k] for k in order], columns=["dataset_id", "cell_type"])
    table.insert(0, "soma_joinid", np.arange(len(table)) * 3)
    strings = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [("soma_joinid", pa.int64()), ("dataset_id", strings), ("cell_type", strings)]
    )
    path = tmp_path / "cells.parquet"
    with pq.ParquetWriter(path, schema) as writer:  # several row groups, each with its dictionary
        for part in np.array_split(np.arange(len(table)), 4):
            writer.write_table(pa.Table.from_pandas(table.iloc[part], schema, preserve_index=False))
    return path, table


def test_the_smallest_large_enough_studies_are_taken_up_to_the_total(release):
    path, _ = release
    assert choose_studies(path, **RULE | {"total_cells": 145}).to_dict("list") == {
        "study": ["s1", "s2", "s3", "s4"],
        "cells": [20, 30, 40, 50],
        "types": [2, 3, 4, 5],
    }
    assert choose_studies(path, **RULE | {"total_cells": 139})["study"].tolist() == [
        *("s1", "s2", "s3"),
    ]
    assert choose_studies(path, **RULE | {"min_types": 9})["study"].tolist() == ["s8", "s9"]


def test_known_studies_are_out_and_only_cells_of_the_models_types_count(release):
    path, _ = release
    chosen = choose_studies(path, **RULE, known_studies=["s9", "s8"], types=["type 0", "type 1"])
    # Of s5, 60 cells of 6 types, 20 are of these two.
    assert chosen.set_index("study")["cells"].to_dict() == {
        **{"s1": 20, "s2": 20, "s3": 20, "s4": 20, "s5": 20, "s6": 20, "s7": 20}
    }
    assert (chosen["types"] == 2).all()


def test_nothing_to_choose_is_said_with_the_key(release):
    with pytest.raises(UserError, match=r"0 have at least 500 cells.*curation\.studies"):
        choose_studies(release[0], **RULE | {"min_cells": 500})
    with pytest.raises(UserError, match=r"9 have at least 20 cells.*may have 10: "):
        choose_studies(release[0], **RULE | {"total_cells": 10})


def test_the_cells_of_the_chosen_studies_stay_in_order_with_all_columns(release, tmp_path):
    path, table = release
    target = tmp_path / "chosen/cells.parquet"
    assert keep_studies(path, ["s3", "s0"], target) == 50
    found = pq.read_table(target)
    assert found.schema.equals(pq.read_schema(path))
    expected = table[table["dataset_id"].isin(["s0", "s3"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found.to_pandas().astype(expected.dtypes), expected)
