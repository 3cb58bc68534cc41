"""The explorer's numbers are those of the tables."""

import json
import re
import zlib
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest

from explorer_tables import TYPES
from hce.explorer.data import _confusions
from hce.explorer.page import build_page


def test_cells_are_counted_by_set_study_and_type(studies):
    assert studies.to_numpy().tolist() == [
        ["id", "s1", "A study", 0, 2],
        ["id", "s2", "s2", 0, 1],
        ["id", "s1", "A study", 1, 1],
        ["ood", "s1", "A study", 2, 1],
    ]


def test_scores_are_means_and_deviations_over_seeds(data, tables):
    rows = tables["per_type"].query("model == 'mlp' and loss == 'hce' and set == 'ood'")
    found = data["scores"]["mlp/hce/argmax/ood"]
    for index, values in rows.groupby("index")["credited_f1"]:
        assert found["credited_f1"][index] == pytest.approx(np.mean(values), abs=5e-4)
        assert found["credited_f1_sd"][index] == pytest.approx(np.std(values, ddof=1), abs=5e-4)
    absent = [data["types"][i]["label"] for i, v in enumerate(found["exact_f1"]) if v is None]
    assert absent == ["T cell"]


def test_sets_that_models_have_seen_are_left_out(data):
    assert data["sets"] == ["id", "ood"]
    assert not [view for part in ("scores", "confusions") for view in data[part] if "val" in view]


def test_confusions_are_the_counts_over_seeds_the_most_frequent_first(data, tables):
    rows = tables["confusion"].query("model == 'linear' and loss == 'ce' and set == 'id'")
    counts = rows.pivot_table(index="label", columns="prediction", values="cells", aggfunc="sum")
    counts = counts.to_numpy()
    found = data["confusions"]["linear/ce/argmax/id"]
    for label, row in enumerate(found["rows"]):
        cells = row[1::2]
        assert cells == sorted(counts[label], reverse=True)
        assert [counts[label, other] for other in row[::2]] == cells
    assert found["labelled"] == counts.sum(axis=1).tolist()
    assert found["predicted"] == counts.sum(axis=0).tolist()


def test_rare_confusions_are_left_out_unless_they_are_among_the_most_frequent(data):
    # Label 0 has eight predictions; of the last one, two cells in 1,000 are of label 0.
    pairs = [(0, i, 1000) for i in range(7)] + [(0, 7, 2)] + [(i, 7, 1000) for i in range(1, 8)]
    counts = pd.DataFrame(pairs, columns=["label", "prediction", "cells"])
    head = {"model": "m", "loss": "ce", "decoder": "argmax", "set": "id"}
    rows = _confusions(counts.assign(**head), 8)["m/ce/argmax/id"]
    assert rows["rows"][0] == [x for i in range(7) for x in (i, 1000)]
    assert rows["labelled"][0] == 7002
    assert rows["predicted"][7] == 7002


def test_verdicts_count_cells_called_a_type_or_finer_by_what_their_labels_say(data, tables):
    rows = tables["confusion"].query("model == 'mlp' and loss == 'hce' and set == 'id'")
    types = data["types"]

    def at_or_above(i):
        return {i}.union(*(at_or_above(parent) for parent in types[i]["parents"]))

    for i in range(len(types)):
        called = rows[[i in at_or_above(p) for p in rows["prediction"]]]
        confirmed = [i in at_or_above(label) for label in called["label"]]
        above = [label != i and label in at_or_above(i) for label in called["label"]]
        found = data["verdicts"]["mlp/hce/argmax/id"]
        assert found["called"][i] == called["cells"].sum()
        assert found["confirmed"][i] == called["cells"][confirmed].sum()
        assert found["open"][i] == called["cells"][above].sum()


def test_macro_scores_are_means_over_seeds_with_the_interval_over_studies(data):
    assert data["macro"]["exact"]["mlp/hce/argmax/ood"] == [0.505, 0.605, 0.1, 0.05, 0.2]


def test_changes_are_those_of_the_table(data, tables):
    rows = tables["type_changes"].query("model == 'linear' and set == 'id'")
    rows = rows.query("score == 'credited_f1'").set_index("index")
    found = data["changes"]["credited"]["linear/hce/argmax/id"]
    assert set(data["changes"]["study_aware"]["linear/hce/argmax/id"]["change"]) == {0.0}
    assert found["change"] == pytest.approx(rows["change"].sort_index().tolist(), abs=5e-4)
    assert found["seeds"] == 2
    assert found["tested"] == len(TYPES)


def test_scores_of_studies_are_in_the_order_of_the_studies(data):
    assert data["studies"]["id"]["ids"] == ["s1", "s2"]
    assert data["study_scores"]["credited"]["mlp/ce/argmax/id"] == [0.5, None]
    assert data["study_scores"]["study_aware"]["mlp/ce/argmax/id"] == [0.4, None]
    # Gains of 10 and 12 points: 11, and 12.7 standard errors of 1 either way.
    changes = data["study_changes"]["credited"]["mlp/hce/argmax/id"]
    assert changes["change"] == [0.11, None]
    assert [changes["low"][0], changes["high"][0]] == [-0.017, 0.237]


def test_the_page_holds_its_data_unharmed_by_what_labels_hold(data):
    page = build_page(data)
    packed = re.search(r'<script id="data"[^>]*>(.*?)</script>', page, re.S).group(1)
    assert json.loads(zlib.decompress(b64decode(packed))) == data
    assert "<!-- " not in page


def test_the_page_refers_to_no_other_file(data):
    page = build_page(data)
    # A link leads to the page of the run, which lies beside it.
    assert re.findall(r"""(?:src|href)=["'](?!data:,|#)([^"']*)""", page) == ["index.html"]
    assert not re.findall(r"url\(|@import|fetch\(|XMLHttpRequest|import .* from", page)
