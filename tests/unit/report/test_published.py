"""Every published number is answered, where it belongs and by the stated thresholds."""

import numpy as np
import pandas as pd
import pytest

from hce.report.published import compare, status
from hce.report.summary import summarise
from summary_tables import FITS, cells_of, make_tables

SCTAB = "scTab, Nat. Commun. 15, 6611 (2024)"


def answer(rows: pd.DataFrame, **wanted: str) -> pd.Series:
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize(
    ("published", "reproduced", "unit", "verdict"),
    [
        (164, 164, "types", "equal"),
        (164, 163, "types", "close"),
        (80, 78, "types", "different"),
        (57, 57.5, "%", "equal"),
        (57, 58.9, "%", "close"),
        (57, 54.9, "points", "different"),
        (57, np.nan, "%", "not available"),
    ],
)
def test_status_follows_the_stated_thresholds(published, reproduced, unit, verdict):
    assert status(published, reproduced, unit) == verdict


def test_every_published_number_is_answered():
    tables = make_tables()
    rows = compare(tables["published"], tables)
    keys = ["quantity", "model", "loss", "set", "source"]
    assert set(rows["status"]) == {"equal", "close", "different", "not available", "-"}
    published = tables["published"].fillna("")[keys].drop_duplicates()
    assert len(published) == len(tables["published"])
    # Nothing says which tissues an organ system has: these are kept, and not compared.
    systems = published["quantity"].str.contains("of the organ system")
    assert systems.sum() == 30
    assert len(rows[keys].drop_duplicates()) == (~systems).sum()
    missing = rows[rows["status"] == "not available"]
    assert (missing["why"] != "").all()


def test_numbers_are_looked_up_where_they_belong():
    tables = make_tables()
    rows = compare(tables["published"], tables)
    assert answer(rows, quantity="cells", set="reference")["status"] == "equal"
    assert answer(rows, quantity="cells", set="ood")["status"] == "close"
    assert answer(rows, quantity="types", set="ood")["status"] == "close"
    assert answer(rows, quantity="studies", set="ood")["status"] == "different"
    assert answer(rows, quantity="genes")["reproduced"] == 19331
    assert "no row cells of the types" in answer(rows, quantity="cells of the types")["why"]
    gain = answer(rows, quantity="largest_gain")
    assert gain["reproduced"] == pytest.approx(13.0)
    assert gain["why"] == "of the models of the run: mlp"
    best = answer(rows, quantity="largest_type_gain")
    assert best["reproduced"] == pytest.approx(13, abs=0.5)
    assert best["why"] == "type 0"
    studies = answer(rows, quantity="studies_better", model="mlp")
    assert (studies["reproduced"], studies["why"]) == (3, "of 3 studies")


def test_further_scores_and_augmentation_are_compared_with_the_published_ones():
    tables = make_tables()
    linear = tables["overall"].query("score == 'credited_macro_f1' and set == 'id'")
    linear = linear.assign(model="linear", score="credited_weighted_f1", value=0.872)
    tables["overall"] = pd.concat([tables["overall"], linear])
    made = [("vectors", 5000.0), ("changes beyond the threshold, %", 13.1)]
    made.append(("0.995 quantile of the size of changes", 1.5))
    tables["augmentation"] = pd.DataFrame(made, columns=["quantity", "value"])
    rows = compare(tables["published"], tables)
    score = answer(rows, quantity="weighted_f1", model="linear")
    assert (score["value"], score["status"]) == (87.2224, "equal")
    assert answer(rows, quantity="changes beyond the threshold, %")["status"] == "equal"
    assert answer(rows, quantity="0.995 quantile of the size of changes")["status"] == "different"
    assert "no augmentation" in answer(rows, quantity="non-zeros of the vectors, %")["why"]
    text = summarise(tables, "paper", FITS, None, 0.05, "mlp")
    section = text.split("### Further published scores")[1].split("\n##")[0]
    assert ["scTab", "linear", "ce", "id", "weighted f1", "87.2", "87.2 ± 0.0", "equal"] in (
        cells_of(section)
    )
    assert "weighted f1" not in text.split("### Published changes")[1].split("\n## ")[0]


def test_the_published_numbers_are_those_of_the_publications():
    """Some of each kind, as golden values; a typing error elsewhere would go unnoticed."""
    published = make_tables()["published"].fillna("")

    def value(quantity, **wanted):
        return answer(published, quantity=quantity, **wanted)["value"]

    assert value("primary cells of the assays") == 28_169_974
    assert [value("diseases"), value("pairs of tissue_general and type")] == [52, 1488]
    assert value("accuracy", model="linear") == 86.914
    assert value("macro_f1", model="linear", source=SCTAB) == 78.4772
    assert value("macro_f1", model="tabnet", source=SCTAB) == 82.9628
    assert [value(f"macro_{name}", model="tabnet") for name in ("precision", "recall")] == [
        *(82.4239, 84.911),
    ]
    systems = published[published["quantity"].str.startswith("cells of the organ system")]
    assert len(systems) == 15
    # Systems overlap: together they have more cells than the ID set.
    assert systems["value"].sum() == 3_837_209 > value("cells", set="id") == 3_448_832
    assert value("types of the organ system gut") == 87


def test_smallest_and_largest_gain_are_over_the_models():
    tables = make_tables()
    linear = tables["overall"].assign(model="linear")
    linear.loc[linear["loss"] == "ce", "value"] += 0.05
    tables["overall"] = pd.concat([tables["overall"], linear])
    rows = compare(tables["published"], tables)
    smallest, largest = (answer(rows, quantity=f"{word}_gain") for word in ("smallest", "largest"))
    assert smallest["reproduced"] == pytest.approx(8.0)
    assert largest["reproduced"] == pytest.approx(13.0)
    assert largest["why"] == "of the models of the run: mlp, linear"


def test_id_is_compared_in_both_readings_and_scTabs_in_its_own():
    tables = make_tables()
    rows = compare(tables["published"], tables)
    rows = rows[(rows["model"] == "mlp") & (rows["set"] == "id")]
    every, some = "credited_macro_f1", "credited_macro_f1_ood_types"
    for source, reading, reproduced, verdict in (
        ("HCE", every, 82.0, "equal"),
        ("HCE", some, 85.0, "different"),
        ("scTab", every, 82.0, "different"),
        ("scTab", some, 85.0, "-"),
    ):
        row = answer(rows[rows["source"].str.startswith(source)], reading=reading)
        assert (row["reproduced"], row["status"]) == (pytest.approx(reproduced), verdict)
        assert row["sd"] == pytest.approx(100 * np.std([0, 0.001, 0.002, 0.003], ddof=1))
