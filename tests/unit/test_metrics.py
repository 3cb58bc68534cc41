"""Metrics and score tables against scikit-learn on labels that are credited one by one."""

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from hce.errors import UserError
from hce.metrics import accuracy, confusion, credit, macro_f1, type_scores
from hce.ontology import Hierarchy
from hce.scoring import gather, read_set_cells, score_fit


@st.composite
def dags_with_predictions(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reachability of a random DAG (several parents allowed), labels and predictions."""
    n = draw(st.integers(2, 9))
    edges = [(a, b) for a in range(n) for b in range(a + 1, n) if draw(st.integers(0, 3)) == 0]
    # A random numbering, so that nothing hangs on parents coming first.
    order = draw(st.permutations(range(n)))
    graph = nx.DiGraph([(order[a], order[b]) for a, b in edges])
    graph.add_nodes_from(range(n))
    reachability = np.eye(n, dtype=bool)
    for node in graph:
        reachability[node, list(nx.descendants(graph, node))] = True
    size = draw(st.integers(1, 60))
    indices = st.lists(st.integers(0, n - 1), min_size=size, max_size=size)
    return reachability, np.array(draw(indices)), np.array(draw(indices))


def credit_one_by_one(
    labels: np.ndarray, predictions: np.ndarray, reachability: np.ndarray
) -> np.ndarray:
    return np.array(
        [
            label if reachability[label, predicted] else predicted
            for label, predicted in zip(labels, predictions, strict=True)
        ]
    )


@settings(max_examples=150, deadline=None)
@given(dags_with_predictions())
def test_credited_and_exact_scores_equal_sklearn_on_explicitly_credited_labels(case):
    reachability, labels, predictions = case
    n = len(reachability)
    counts = confusion(labels, predictions, n)[0]
    present = np.unique(labels)
    for table, predicted in (
        (counts, predictions),
        (
            credit(counts, reachability),
            credit_one_by_one(labels, predictions, reachability),
        ),
    ):
        scores = type_scores(table)
        expected = precision_recall_fscore_support(
            labels, predicted, labels=range(n), zero_division=0
        )
        for found, wanted in zip(
            (scores.precision, scores.recall, scores.f1), expected, strict=False
        ):
            np.testing.assert_allclose(found[present], wanted[present], rtol=0, atol=1e-12)
            assert np.isnan(np.delete(found, present)).all()
        np.testing.assert_array_equal(scores.cells, expected[3])
        macro = f1_score(labels, predicted, labels=present, average="macro", zero_division=0)
        assert macro_f1(table) == pytest.approx(macro, abs=1e-12, rel=0)
        assert accuracy(table) == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(dags_with_predictions(), st.integers(0, 2**32 - 1))
def test_a_stratum_scores_as_if_its_cells_were_alone(case, seed):
    reachability, labels, predictions = case
    n = len(reachability)
    strata = np.random.default_rng(seed).integers(0, 3, len(labels))
    counts = credit(confusion(labels, predictions, n, strata, 3), reachability)
    for stratum in range(3):
        own = strata == stratum
        alone = credit(confusion(labels[own], predictions[own], n)[0], reachability)
        np.testing.assert_array_equal(counts[stratum], alone)
        np.testing.assert_array_equal(macro_f1(counts)[stratum], macro_f1(alone))
        np.testing.assert_array_equal(accuracy(counts)[stratum], accuracy(alone))


@settings(max_examples=50, deadline=None)
@given(dags_with_predictions())
def test_going_down_from_a_credited_prediction_never_loses_credit(case):
    reachability, labels, predictions = case
    n = len(reachability)
    below = np.array([np.flatnonzero(reachability[p])[-1] for p in predictions])
    before = accuracy(credit(confusion(labels, predictions, n)[0], reachability))
    after = accuracy(credit(confusion(labels, below, n)[0], reachability))
    assert after >= before


def test_a_prediction_above_the_label_is_an_error():
    reachability = np.array([[True, True], [False, True]])
    counts = credit(confusion(np.array([1]), np.array([0]), 2)[0], reachability)
    assert accuracy(counts) == 0.0
    counts = credit(confusion(np.array([0]), np.array([1]), 2)[0], reachability)
    assert accuracy(counts) == 1.0


def test_macro_f1_among_types_still_counts_errors_on_the_other_types():
    labels = np.array([0, 0, 1, 1])
    predictions = np.array([0, 0, 0, 1])
    counts = confusion(labels, predictions, 3)[0]
    assert macro_f1(counts, np.array([True, False, True])) == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_scores_without_cells_are_missing():
    empty = np.zeros((3, 3), dtype=np.int64)
    assert np.isnan(macro_f1(empty))
    assert np.isnan(accuracy(empty))


@pytest.mark.parametrize("value", [-1, 3])
def test_counting_refuses_what_is_no_type(value):
    with pytest.raises(ValueError, match="a prediction lies outside 0 to 2"):
        confusion(np.array([0]), np.array([value]), 3)


# --- tables -------------------------------------------------------------------------------------

REACHABILITY = np.array(
    [[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=bool
)  # 1 and 2 lie below 0; 3 stands alone
HIERARCHY = Hierarchy(
    pd.DataFrame(
        {
            "index": np.arange(4, dtype=np.int32),
            "cl_id": [f"CL:000000{i}" for i in range(4)],
            "label": ["a", "b", "c", "d"],
        }
    ),
    REACHABILITY,
)


@pytest.fixture
def data(tmp_path: Path) -> dict:
    """Cell tables and predictions of 3,000 cells in the sets id and ood, two decoders."""
    rng = np.random.default_rng(0)
    n = 3000
    joinid = rng.permutation(10 * n)[:n]
    frame = pd.DataFrame(
        {
            "soma_joinid": joinid,
            "label": rng.integers(0, 4, n).astype(np.int16),
            "study": pd.Categorical([f"study {i}" for i in rng.integers(0, 5, n)]),
            "set": pd.Categorical(np.where(np.arange(n) < 2000, "id", "ood")),
        }
    )
    frame.loc[(frame["set"] == "ood") & (frame["label"] == 3), "label"] = 0
    for decoder in ("argmax", "sum"):
        frame[f"prediction_{decoder}"] = rng.integers(0, 4, n).astype(np.int16)
        frame[f"probability_{decoder}"] = rng.random(n).astype(np.float32)
    cells = []
    predictions = []
    for name in ("id", "ood"):
        part = frame[frame["set"] == name]
        cells.append(tmp_path / f"release_{name}.parquet")
        # More than one row group, so that dictionaries differ along the file.
        part[["soma_joinid", "label", "study", "set"]].to_parquet(cells[-1], row_group_size=300)
        predictions.append(tmp_path / f"{name}.parquet")
        part.drop(columns=["study", "set"]).to_parquet(predictions[-1], row_group_size=400)
    return {"frame": frame, "cells": cells, "predictions": predictions}


def score(data: dict, sets: tuple[str, ...] = ("id", "ood")) -> dict[str, pd.DataFrame]:
    return score_fit(data["predictions"], sets, ["argmax", "sum"], data["cells"], HIERARCHY)


def test_tables_equal_scores_taken_cell_by_cell(data, monkeypatch):
    monkeypatch.setattr("hce.scoring.BATCH", 256)
    tables = score(data)
    frame = data["frame"]
    for (set_name, decoder), per_type in tables["per_type"].groupby(["set", "decoder"]):
        rows = frame[frame["set"] == set_name]
        labels = rows["label"].to_numpy()
        exact = rows[f"prediction_{decoder}"].to_numpy()
        credited = credit_one_by_one(labels, exact, REACHABILITY)
        present = np.unique(labels)
        np.testing.assert_array_equal(per_type["index"], present)
        for column, predicted in (("credited_f1", credited), ("exact_f1", exact)):
            wanted = f1_score(labels, predicted, labels=present, average=None, zero_division=0)
            np.testing.assert_allclose(per_type[column], wanted, atol=1e-12)
        overall = tables["overall"].query("set == @set_name and decoder == @decoder")
        values = overall.set_index("score")["value"]
        by_type = f1_score(labels, credited, labels=range(4), average=None, zero_division=0)
        assert values["credited_macro_f1"] == pytest.approx(by_type[present].mean(), abs=1e-12)
        assert values["credited_macro_f1_ood_types"] == pytest.approx(by_type[:3].mean(), abs=1e-12)
        assert values["exact_accuracy"] == pytest.approx((labels == exact).mean(), abs=1e-12)
        assert values["credited_accuracy"] == pytest.approx((labels == credited).mean(), abs=1e-12)
        studies = tables["per_study"].query("set == @set_name and decoder == @decoder")
        assert studies["study"].tolist() == sorted(rows["study"].astype(str).unique())
        for study in studies.itertuples():
            own = (rows["study"] == study.study).to_numpy()
            wanted = f1_score(
                labels[own],
                credited[own],
                labels=np.unique(labels[own]),
                average="macro",
                zero_division=0,
            )
            assert study.credited_macro_f1 == pytest.approx(wanted, abs=1e-12)
            assert (study.cells, study.types) == (own.sum(), len(np.unique(labels[own])))
        confusions = tables["confusion"].query("set == @set_name and decoder == @decoder")
        pairs = pd.Series(list(zip(labels, exact, strict=True))).value_counts()
        found = {(r.label, r.prediction): r.cells for r in confusions.itertuples()}
        assert found == pairs.to_dict()


def test_on_the_ood_set_both_readings_agree_and_on_id_they_differ(data):
    table = score(data)["overall"].pivot(index=["set", "decoder"], columns="score", values="value")
    difference = table["credited_macro_f1"] - table["credited_macro_f1_ood_types"]
    assert (difference.loc["ood"] == 0).all()
    assert (difference.loc["id"] != 0).all()


def audit_of(data: dict, leaky: np.ndarray) -> Path:
    """An audit of the set `ood` of the made-up data."""
    ids = data["frame"].loc[data["frame"]["set"] == "ood", "soma_joinid"]
    path = data["predictions"][1].with_name("audit.parquet")
    pd.DataFrame({"soma_joinid": ids.to_numpy(), "leaky": leaky}).to_parquet(path)
    return path


def test_scores_without_leaky_cells_are_those_of_the_other_cells_alone(data):
    leaky = np.random.default_rng(4).random(1000) < 0.3
    arguments = (data["predictions"], ("id", "ood"), ["argmax", "sum"], data["cells"], HIERARCHY)
    found = score_fit(*arguments, {"ood": audit_of(data, leaky)})
    without = score(data)
    for name in ("per_type", "per_study", "confusion"):
        pd.testing.assert_frame_equal(found[name], without[name])
    overall = found["overall"]
    others = overall[overall["set"] != "ood_clean"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without["overall"])
    for path in (data["predictions"][1], data["cells"][1]):
        pd.read_parquet(path)[~leaky].to_parquet(path)
    alone = score(data)["overall"].query("set == 'ood'")
    clean = overall.query("set == 'ood_clean'")
    assert len(clean) == 12
    pd.testing.assert_frame_equal(
        clean.drop(columns="set").reset_index(drop=True),
        alone.drop(columns="set").reset_index(drop=True),
    )
    assert not np.allclose(clean["value"], without["overall"].query("set == 'ood'")["value"])


def test_without_leaky_cells_the_clean_scores_are_the_same_and_with_no_other_missing(data):
    arguments = (data["predictions"], ("id", "ood"), ["argmax", "sum"], data["cells"], HIERARCHY)
    overall = score_fit(*arguments, {"ood": audit_of(data, np.zeros(1000, bool))})["overall"]
    values = {name: rows["value"].tolist() for name, rows in overall.groupby("set")}
    assert values["ood_clean"] == values["ood"]
    overall = score_fit(*arguments, {"ood": audit_of(data, np.ones(1000, bool))})["overall"]
    assert overall.query("set == 'ood_clean'")["value"].isna().all()


def test_an_audit_of_other_cells_is_refused(data):
    path = audit_of(data, np.zeros(1000, bool))
    pd.read_parquet(path)[::-1].to_parquet(path)
    with pytest.raises(UserError, match=r"audit\.parquet does not list the cells"):
        score_fit(
            data["predictions"], ("id", "ood"), ["sum"], data["cells"], HIERARCHY, {"ood": path}
        )


def test_without_an_ood_set_its_scores_are_left_out(data):
    data["predictions"] = data["predictions"][:1]
    scores = set(score(data, ("id",))["overall"]["score"])
    assert scores == {"credited_macro_f1", "exact_macro_f1", "credited_accuracy", "exact_accuracy"}


def rewrite(path: Path, change) -> None:
    frame = pd.read_parquet(path)
    change(frame).to_parquet(path)


def set_value(column: str, value: float):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[frame.index[7], column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_value("probability_sum", np.nan), "1 missing values in probability_sum"),
        (set_value("prediction_argmax", 4), "a prediction lies outside 0 to 3"),
        (set_value("prediction_argmax", -1), "a prediction lies outside 0 to 3"),
        (set_value("label", 9), "a label lies outside 0 to 3"),
        (set_value("soma_joinid", 10**9), "do not list the cells of the cell table"),
        (lambda frame: frame.iloc[:-1], "do not list the cells of the cell table"),
        (lambda frame: pd.concat([frame, frame]), "do not list the cells of the cell table"),
        (lambda frame: frame.drop(columns="prediction_sum"), "no column prediction_sum"),
    ],
)
def test_bad_predictions_end_with_a_sentence_that_names_the_file(data, change, message):
    rewrite(data["predictions"][1], change)
    with pytest.raises(UserError, match=message) as error:
        score(data)
    assert str(data["predictions"][1]) in str(error.value)


def test_a_set_without_cells_is_named(data):
    with pytest.raises(UserError, match="No cells of the evaluation set ood_2024"):
        read_set_cells(data["cells"], "ood_2024")


def test_a_set_in_two_releases_is_refused(data):
    with pytest.raises(UserError, match="occurs in 2 of the cell tables"):
        read_set_cells([data["cells"][0], data["cells"][0]], "id")


def test_gathering_keeps_the_text_of_values_and_the_order_of_the_config(tmp_path):
    paths = []
    for seed, value in ((1, "0.10"), (0, "NA")):
        paths.append(tmp_path / f"{seed}.tsv")
        paths[-1].write_text(f"model\tloss\tseed\tstudy\tvalue\nmlp\tce\t{seed}\t007\t{value}\n")
    table = gather(paths, [["mlp", "ce", 0], ["mlp", "ce", 1]])
    assert table["seed"].tolist() == ["0", "1"]
    assert table["study"].tolist() == ["007", "007"]
    assert table["value"].tolist() == ["NA", "0.10"]


@pytest.mark.parametrize("fits", [[["mlp", "ce", 0], ["mlp", "ce", 1]], [["mlp", "ce", 2]]])
def test_gathering_refuses_scores_that_are_not_the_configs_fits(tmp_path, fits):
    path = tmp_path / "overall.tsv"
    path.write_text("model\tloss\tseed\tvalue\nmlp\tce\t0\t1\n")
    with pytest.raises(UserError, match="but not in both"):
        gather([path], fits)
