"""The model that annotates is the one that is best on cells of others."""

import numpy as np
import pandas as pd
import pytest

from annotators import R
from hce.annotate.choice import compare
from hce.metrics import hierarchical_scores


def counts(rows: list[tuple]) -> pd.DataFrame:
    columns = ["set", "decoder", "study", "donor", "label", "prediction", "cells"]
    return pd.DataFrame(rows, columns=columns).astype({"study": "category", "donor": "category"})


FITS = {
    ("linear", "ce", "0"): counts(
        [
            ("ood", "argmax", "big", "d", 2, 2, 1000),
            ("ood", "argmax", "small", "d", 2, 3, 10),
            ("ood", "prior_corrected", "big", "d", 2, 2, 1000),
            ("id", "argmax", "old", "d1", 2, 2, 10),
            ("id", "argmax", "old", "d2", 2, 2, 10),
        ]
    ),
    ("linear", "hce", "0"): counts(
        [
            ("ood", "argmax", "big", "d", 2, 1, 1000),
            ("ood", "argmax", "small", "d", 2, 1, 10),
            ("id", "argmax", "old", "d1", 2, 2, 10),
            ("id", "argmax", "old", "d2", 2, 3, 10),
        ]
    ),
}


def test_each_new_study_counts_once_however_many_cells_it_has():
    found = compare(FITS, R, ["ood"])
    assert found["loss"].tolist() == ["hce", "ce"]
    assert set(found["basis"]) == {"new studies"}
    assert found["units"].tolist() == [2, 2]
    of_study = np.zeros((4, 4), int)
    of_study[2, 1] = 10
    expected = hierarchical_scores(of_study, R)["hierarchical_f1"]
    assert found["hierarchical_f1"].tolist() == pytest.approx([expected, 0.5])
    assert set(found["decoder"]) == {"argmax"}


def test_without_new_studies_donors_that_were_held_out_decide():
    found = compare(FITS, R, [])
    assert found["loss"].tolist() == ["ce", "hce"]
    assert set(found["basis"]) == {"donors"}
    assert found["hierarchical_f1"].tolist() == [1.0, 0.5]
