"""Score tables against scikit-learn on the cells of each stratum alone."""

from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hce.errors import UserError
from hce.evaluation.calibration_error import CHANCES
from hce.evaluation.scoring import TABLES, score_fit
from hce.evaluation.strata import GROUPED, NOT_GIVEN, STRATA, read_set_cells, strata_of
from hce.metrics import KINDS
from hce.ontology import Hierarchy, Ontology
from hce.ontology.targets import Targets
from hce.ontology.vocabularies import make_table
from random_dags import credit_one_by_one

NAMES = {f"CL:000000{i}": label for i, label in enumerate("abcd")}
IS_A = nx.DiGraph([("CL:0000001", "CL:0000000"), ("CL:0000002", "CL:0000000")])
IS_A.add_nodes_from(NAMES)
ONTOLOGY = Ontology("four terms", NAMES, IS_A)
HIERARCHY = Hierarchy.build(NAMES, ONTOLOGY)
REACHABILITY = HIERARCHY.reachability  # 1 and 2 lie below 0; 3 stands alone
FINER = {"study 1": {1}, "study 2": {1, 2}, "study 4": {2, 3}}  # what a study labels beside 0


def make_targets() -> Targets:
    """Each study has cells of all types, but only those of `FINER` make up its vocabulary."""
    rows = [
        (f"study {study}", cl_id, label, 9 if index in {0, *FINER.get(f"study {study}", ())} else 1)
        for study in range(5)
        for index, (cl_id, label) in enumerate(NAMES.items())
    ]
    counts = pd.DataFrame(rows, columns=["study", "cl_id", "label", "cells"])
    releases = ("release_id", "release_ood")
    table = pd.concat([make_table(counts, ONTOLOGY, release) for release in releases])
    return Targets.build(table, HIERARCHY, ONTOLOGY, min_cells=2)


TARGETS = make_targets()


def credit_study_aware(rows: pd.DataFrame, predictions: np.ndarray) -> np.ndarray:
    """Crediting cell by cell: below the label, and not what the study labels itself."""
    return np.array(
        [
            label
            if REACHABILITY[label, answer]
            and not (answer != label and answer in FINER.get(study, ()))
            else answer
            for study, label, answer in zip(
                rows["study"].astype(str), rows["label"], predictions, strict=True
            )
        ]
    )


@pytest.fixture
def data(tmp_path: Path) -> dict:
    """Cell tables and predictions of the sets id (2,000 cells) and ood (1,000), two decoders."""
    rng = np.random.default_rng(0)
    n = 3500
    joinid = rng.permutation(10 * n)[:n]
    frame = pd.DataFrame(
        {
            "soma_joinid": joinid,
            "label": rng.integers(0, 4, n).astype(np.int16),
            "study": pd.Categorical([f"study {i}" for i in rng.integers(0, 5, n)]),
            "set": pd.Categorical(
                np.select([np.arange(n) < 2000, np.arange(n) < 3000], ["id", "ood"], "train")
            ),
        }
    )
    donors = np.random.default_rng(5).integers(0, 3, n)
    frame["donor"] = [f"{s}_{d}" for s, d in zip(frame["study"], donors, strict=True)]
    for column in STRATA[1:]:
        values = [f"{column} {i}" for i in rng.integers(0, 4, len(frame))]
        frame[column] = pd.Categorical(values)
    # Some cells have two diseases, also in training; diseases 0 and 3 are together in OOD alone.
    frame["disease"] = frame["disease"].astype(object)
    for rest, (one, other) in enumerate([(0, 1), (0, 3), (1, 2)]):
        of_sets = frame["set"].isin(["train", "ood"] if rest == 0 else ["ood"])
        chosen = of_sets & (frame.index % 5 == rest)
        frame.loc[chosen, "disease"] = f"disease {one} || disease {other}"
    frame["disease"] = pd.Categorical(frame["disease"])
    # The training cells have no disease 3 and no tissue 0 or 1.
    kept = ~frame["disease"].isin(["disease 3"]) & ~frame["tissue"].isin(["tissue 0", "tissue 1"])
    frame = frame[kept | (frame["set"] != "train")].reset_index(drop=True)
    frame.loc[(frame["set"] == "ood") & (frame["label"] == 3), "label"] = 0
    for decoder in ("argmax", "sum"):
        frame[f"prediction_{decoder}"] = rng.integers(0, 4, len(frame)).astype(np.int16)
        for chance in CHANCES:
            frame[f"{chance}_{decoder}"] = rng.random(len(frame)).astype(np.float32)
    cells = []
    predictions = []
    for name, others in (("id", ["train"]), ("ood", [])):
        release = frame[frame["set"].isin([name, *others])]
        cells.append(tmp_path / f"release_{name}.parquet")
        # More than one row group, so that dictionaries differ along the file.
        release[["soma_joinid", "label", *GROUPED, "set"]].to_parquet(cells[-1], row_group_size=300)
        predictions.append(tmp_path / f"{name}.parquet")
        part = frame[frame["set"] == name].drop(columns=[*GROUPED, "set"])
        part.to_parquet(predictions[-1], row_group_size=400)
    return {"frame": frame, "cells": cells, "predictions": predictions}


def arguments(data: dict, sets: tuple[str, ...] = ("id", "ood")) -> tuple:
    return data["predictions"], sets, ["argmax", "sum"], data["cells"], HIERARCHY, TARGETS


def score(data: dict, sets: tuple[str, ...] = ("id", "ood")) -> dict[str, pd.DataFrame]:
    return score_fit(*arguments(data, sets))[0]


def test_tables_equal_scores_taken_cell_by_cell(data, monkeypatch):
    monkeypatch.setattr("hce.evaluation.tally.BATCH", 256)
    tables = score(data)
    frame = data["frame"]
    for (set_name, decoder), per_type in tables["per_type"].groupby(["set", "decoder"]):
        rows = frame[frame["set"] == set_name]
        labels = rows["label"].to_numpy()
        exact = rows[f"prediction_{decoder}"].to_numpy()
        credited = credit_one_by_one(labels, exact, REACHABILITY)
        study_aware = credit_study_aware(rows, exact)
        present = np.unique(labels)
        np.testing.assert_array_equal(per_type["index"], present)
        for column, predicted in (
            ("credited_f1", credited),
            ("study_aware_f1", study_aware),
            ("exact_f1", exact),
        ):
            wanted = f1_score(labels, predicted, labels=present, average=None, zero_division=0)
            np.testing.assert_allclose(per_type[column], wanted, atol=1e-12)
        overall = tables["overall"].query("set == @set_name and decoder == @decoder")
        values = overall.set_index("score")["value"]
        by_type = f1_score(labels, credited, labels=range(4), average=None, zero_division=0)
        assert values["credited_macro_f1"] == pytest.approx(by_type[present].mean(), abs=1e-12)
        assert values["credited_macro_f1_ood_types"] == pytest.approx(by_type[:3].mean(), abs=1e-12)
        assert values["exact_accuracy"] == pytest.approx((labels == exact).mean(), abs=1e-12)
        assert values["credited_accuracy"] == pytest.approx((labels == credited).mean(), abs=1e-12)
        share = (labels == study_aware).mean()
        assert values["study_aware_accuracy"] == pytest.approx(share, abs=1e-12)
        by_type = f1_score(labels, study_aware, labels=range(4), average=None, zero_division=0)
        wanted = by_type[:3].mean()
        assert values["study_aware_macro_f1_ood_types"] == pytest.approx(wanted, abs=1e-12)
        confusions = tables["confusion"].query("set == @set_name and decoder == @decoder")
        pairs = pd.Series(list(zip(labels, exact, strict=True))).value_counts()
        found = {(r.label, r.prediction): r.cells for r in confusions.itertuples()}
        assert found == pairs.to_dict()


def strata_of_cells(rows: pd.DataFrame, training: pd.DataFrame, kind: str) -> pd.Series:
    """The strata of each cell, a list each, from the definition."""
    column = kind.removesuffix("_seen")
    terms = rows[column].astype(str).str.split(" || ", regex=False)
    if column == kind:
        return terms
    known = set(training[column].astype(str).str.split(" || ", regex=False).sum())
    return terms.map(lambda some: ["seen" if known.issuperset(some) else "unseen"])


def test_every_stratum_scores_as_sklearn_scores_its_cells_over_their_labels(data, monkeypatch):
    monkeypatch.setattr("hce.evaluation.tally.BATCH", 256)
    found = score(data)["per_stratum"]
    frame = data["frame"]
    training = frame[frame["set"] == "train"]
    kinds = [*STRATA, "tissue_seen", "tissue_general_seen", "disease_seen"]
    for (set_name, decoder), table in found.groupby(["set", "decoder"]):
        rows = frame[frame["set"] == set_name]
        assert list(dict.fromkeys(table["kind"])) == kinds
        for kind, strata in table.groupby("kind"):
            own_of = strata_of_cells(rows, training, str(kind))
            assert strata["stratum"].tolist() == sorted(set(own_of.sum()))
            for stratum in strata.itertuples():
                own = rows[own_of.map(lambda some, name=stratum.stratum: name in some)]
                labels = own["label"].to_numpy()
                exact = own[f"prediction_{decoder}"].to_numpy()
                credited = credit_one_by_one(labels, exact, REACHABILITY)
                present = np.unique(labels)
                assert (stratum.cells, stratum.types) == (len(own), len(present))
                trained = stratum.stratum in strata_of_cells(training, training, str(kind)).sum()
                assert stratum.in_training == trained
                for predicted, value in (
                    (credited, stratum.credited_macro_f1),
                    (credit_study_aware(own, exact), stratum.study_aware_macro_f1),
                    (exact, stratum.exact_macro_f1),
                ):
                    wanted = f1_score(
                        labels, predicted, labels=present, average="macro", zero_division=0
                    )
                    assert value == pytest.approx(wanted, abs=1e-12)
    diseases = found.query("kind == 'disease' and set == 'ood'")
    assert set(diseases["stratum"]) == {f"disease {i}" for i in range(4)}
    seen = found.query("kind == 'tissue_general_seen'")
    assert set(seen["stratum"]) == {"seen"}  # a stratum without cells has no row


def test_calibration_errors_equal_those_taken_cell_by_cell(data, monkeypatch):
    monkeypatch.setattr("hce.evaluation.tally.BATCH", 256)
    tables = score(data)
    frame = data["frame"]
    for (set_name, decoder), overall in tables["overall"].groupby(["set", "decoder"]):
        values = overall.set_index("score")["value"]
        rows = frame[frame["set"] == set_name]
        labels = rows["label"].to_numpy()
        answers = rows[f"prediction_{decoder}"].to_numpy()
        for chance, name, right in (
            ("probability", "ece", labels == answers),
            ("s", "ece_s", REACHABILITY[answers, labels]),
            ("credited", "ece_credited", REACHABILITY[labels, answers]),
        ):
            chances = rows[f"{chance}_{decoder}"].to_numpy(np.float64)
            bin_ = np.floor(chances * 15)
            wanted = sum(
                np.mean(bin_ == b) * abs(right[bin_ == b].mean() - chances[bin_ == b].mean())
                for b in np.unique(bin_)
            )
            assert values[name] == pytest.approx(wanted, abs=1e-6)
    bins = tables["calibration"].query("set == 'ood' and decoder == 'sum'")
    assert bins.groupby("probability")["cells"].sum().tolist() == [1000] * 3
    assert bins["mean_probability"].between(bins["lower"], bins["upper"]).all()


def test_the_counts_by_donor_are_those_of_the_cells(data):
    _, counts = score_fit(*arguments(data))
    rows = data["frame"].query("set == 'ood'")
    answers = rows["prediction_sum"].to_numpy()
    right = credit_study_aware(rows, answers) == rows["label"].to_numpy()
    keys = ["study", "donor", "label", "prediction_sum", "right"]
    wanted = rows.assign(right=right).groupby(keys, observed=True).size().reset_index(name="cells")
    found = counts.query("set == 'ood' and decoder == 'sum'").drop(columns=["set", "decoder"])
    assert found.columns.tolist() == [*keys[:3], "prediction", "study_aware", "cells"]
    assert found.astype({"study": str, "donor": str}).to_numpy().tolist() == (
        wanted.astype({"study": str}).to_numpy().tolist()
    )


def test_exact_study_aware_and_credited_scores_come_in_this_order_in_every_row(data):
    leaky = np.random.default_rng(4).random(1000) < 0.3
    tables, _ = score_fit(*arguments(data), {"ood": audit_of(data, leaky)})
    assert_in_order(tables)
    overall = tables["overall"].set_index(["set", "decoder", "score"])["value"].unstack("score")
    for one, other in (("exact", "study_aware"), ("study_aware", "credited")):
        assert (overall[f"{one}_macro_f1"] < overall[f"{other}_macro_f1"]).all()


def assert_in_order(tables: dict[str, pd.DataFrame]) -> None:
    """Exact ≤ study-aware ≤ credited, wherever a table has all three."""
    overall = tables["overall"].pivot(index=["set", "decoder"], columns="score", values="value")
    for table in (overall, tables["per_type"], tables["per_stratum"]):
        ends = {name.removeprefix("exact_") for name in table if name.startswith("exact_")}
        assert ends
        for end in ends:
            values = table[[f"{kind}_{end}" for kind in reversed(KINDS)]].to_numpy()
            assert (np.diff(values, axis=1) >= -1e-12).all()


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
    found, _ = score_fit(*arguments(data), {"ood": audit_of(data, leaky)})
    without = score(data)
    for name in set(TABLES) - {"overall"}:
        pd.testing.assert_frame_equal(found[name], without[name])
    overall = found["overall"]
    others = overall[overall["set"] != "ood_clean"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, without["overall"])
    for path in (data["predictions"][1], data["cells"][1]):  # the second release is ood alone
        pd.read_parquet(path)[~leaky].to_parquet(path)
    alone = score(data)["overall"].query("set == 'ood'")
    clean = overall.query("set == 'ood_clean'")
    assert len(clean) == 2 * alone["score"].nunique()
    pd.testing.assert_frame_equal(
        clean.drop(columns="set").reset_index(drop=True),
        alone.drop(columns="set").reset_index(drop=True),
    )
    assert not np.allclose(clean["value"], without["overall"].query("set == 'ood'")["value"])


def test_without_leaky_cells_the_clean_scores_are_the_same_and_with_no_other_missing(data):
    overall = score_fit(*arguments(data), {"ood": audit_of(data, np.zeros(1000, bool))})[0][
        "overall"
    ]
    values = {name: rows["value"].tolist() for name, rows in overall.groupby("set")}
    assert values["ood_clean"] == values["ood"]
    overall = score_fit(*arguments(data), {"ood": audit_of(data, np.ones(1000, bool))})[0][
        "overall"
    ]
    assert overall.query("set == 'ood_clean'")["value"].isna().all()


def test_an_audit_of_other_cells_is_refused(data):
    path = audit_of(data, np.zeros(1000, bool))
    pd.read_parquet(path)[::-1].to_parquet(path)
    with pytest.raises(UserError, match=r"audit\.parquet does not list the cells"):
        score_fit(*arguments(data), {"ood": path})


def test_without_an_ood_set_its_scores_are_left_out(data):
    data["predictions"] = data["predictions"][:1]
    scores = set(score(data, ("id",))["overall"]["score"])
    assert "credited_macro_f1" in scores
    assert not [name for name in scores if name.endswith("_ood_types")]


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
        (set_value("s_argmax", np.nan), "1 missing values in s_argmax"),
        (set_value("prediction_argmax", 4), "a prediction_argmax lies outside 0 to 3"),
        (set_value("prediction_argmax", -1), "a prediction_argmax lies outside 0 to 3"),
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


def test_cells_without_a_stratum_are_refused(data):
    rewrite(data["cells"][1], set_value("disease", np.nan))
    with pytest.raises(UserError, match="Column disease of the evaluation set ood is missing in"):
        score(data)


def test_a_stratum_with_cells_of_one_type_scores_that_type_and_is_logged(data, caplog):
    def one_type(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label=np.where(frame["study"] == "study 1", 2, frame["label"]))

    studies = data["frame"].query("set == 'ood'")["study"].to_numpy()
    rewrite(
        data["predictions"][1], lambda f: one_type(f.assign(study=studies)).drop(columns="study")
    )
    with caplog.at_level("INFO"):
        found = score(data)["per_stratum"]
    row = found.query("set == 'ood' and stratum == 'study 1' and decoder == 'sum'").iloc[0]
    predictions = data["frame"].query("set == 'ood' and study == 'study 1'")["prediction_sum"]
    recall = (predictions == 2).mean()
    assert row["types"] == 1
    assert row["exact_macro_f1"] == pytest.approx(2 * recall / (1 + recall))
    assert "ood, sum: 1 strata have cells of one type only" in caplog.text


def test_a_set_in_two_releases_is_refused(data):
    with pytest.raises(UserError, match="occurs in 2 of the cell tables"):
        read_set_cells([data["cells"][0], data["cells"][0]], "id")


def test_a_stratum_that_is_called_na_gets_a_name_that_tables_keep():
    groups = pd.DataFrame({column: ["NA", "blood", ""] for column in STRATA})
    found = strata_of(groups, {column: {NOT_GIVEN} for column in STRATA})
    assert found["tissue"].names == ["blood", NOT_GIVEN]
    assert found["tissue"].in_training.tolist() == [False, True]
