"""The summary has the numbers of the tables, and claims nothing without grounds."""

import re

import numpy as np
import pandas as pd
import pytest

from hce.report.published import compare
from hce.report.summary import markdown_table, summarise
from summary_tables import FITS, cells_of, make_tables


def test_what_the_back_off_gives_stands_beside_what_was_asked():
    text = summarise(make_tables(), "r", FITS, None, 0.05, "mlp")
    section = text.split("## Back-off")[1].split("\n## ")[0]
    assert "calibrated for a precision of 90%" in section
    rows = cells_of(section)[2:]
    assert ["ood", "mlp", "ce", "0.62", "85.0%", "77.0%", "54.0%", "84.0%"] in rows
    assert ["id", "mlp", "hce", *["-"] * 5] in rows
    assert {row[0] for row in rows} == {"id", "ood"}


def test_with_a_note_nothing_is_called_equal_close_or_different():
    tables = make_tables()
    tables["report"] = tables["report"].assign(published=np.nan, equal=np.nan)
    text = summarise(tables, "demo", FITS, "Simulated data", 0.05, "mlp")
    assert not re.search(r"\| (equal|close|different|not available) ", text)
    part = section(text, "Published against reproduced")
    assert len(part.strip().splitlines()) == 1
    assert part.strip().startswith("Simulated data: not the data of [the paper](https://doi.org/")
    assert "published" not in section(text, "Data")


def test_without_a_note_the_thresholds_are_stated():
    text = summarise(make_tables(), "paper", FITS, None, 0.05, "mlp")
    assert "*close* within 2%" in text
    assert "| equal" in text
    assert "Simulated" not in text.split("## The tables")[0]


def test_types_without_cells_are_read_both_ways_where_that_changes_a_score():
    tables = make_tables()
    union = tables["overall"].query("score == 'credited_macro_f1'")
    union = union.assign(score="credited_macro_f1_union")
    same = tables | {"overall": pd.concat([tables["overall"], union])}
    assert "absent types as 0" not in summarise(same, "paper", FITS, None, 0.05, "mlp")
    lower = union.assign(value=union["value"] - 0.011 * (union["set"] == "id"))
    other = tables | {"overall": pd.concat([tables["overall"], lower])}
    text = summarise(other, "paper", FITS, None, 0.05, "mlp")
    assert "id, absent types as 0" in text
    assert "ood, absent types as 0" not in text
    assert "80.9 ± 0.1" in text


def test_the_counts_at_each_step_are_shown():
    text = summarise(make_tables(), "paper", FITS, None, 0.05, "mlp")
    rows = cells_of(text)
    assert ["2023-05-15", "genes", "genes", "19,331", "19,331", "equal"] in rows
    assert ["2023-05-15", "genes", "types \\", "annotated", "-", "500", "-"] in rows
    assert "types \\| annotated" in text


def test_scores_show_mean_sd_and_the_paired_change():
    text = summarise(make_tables(), "paper", FITS, None, 0.05, "mlp")
    lines = {tuple(re.split(r"\s*\|\s*", line)[1:4]): line for line in text.splitlines()}
    assert "57.0 ± 0.1" in text
    change = lines["mlp", "argmax", "hce - ce"]
    assert change.count("+13.0 [") == 3
    assert "85.0 ± 0.1" in text  # ID over the OOD types


def test_better_and_worse_types_are_counted():
    text = summarise(make_tables(), "paper", FITS, None, 0.05, "mlp")
    types = make_tables()["type_changes"].query("set == 'ood' and score == 'credited_f1'")
    better = (types["significant"] & (types["change"] > 0)).sum()
    worse = (types["significant"] & (types["change"] < 0)).sum()
    assert better > 0
    assert 0 < worse < (types["change"] < 0).sum()
    section = text.split("### Types")[1].split("### Studies")[0]
    line = next(line for line in section.splitlines() if "| ood " in line)
    cells = re.split(r"\s*\|\s*", line)[5:-1]
    assert cells == ["credited", "0", "5", "0", str(better), str(worse), str(5 - better - worse)]
    assert any("| study-aware | " in line for line in section.splitlines())
    assert "| val " not in section
    assert "gains: type 0 +1" in text


def test_one_seed_says_that_nothing_was_tested():
    text = summarise(make_tables(seeds=1), "paper", FITS, None, 0.05, "mlp")
    assert "Nothing was tested" in text
    assert "±" not in section(text, "Scores of this run").split("\n", 4)[4]
    assert "+13.0 |" in text
    assert not re.search(r"\bnan\b", text)
    assert "1 (not available), 2 (not available), 3 (not available)" in text


def test_a_missing_loss_is_said():
    text = summarise(make_tables(losses=("ce",)), "paper", FITS, None, 0.05, "mlp")
    assert "nothing to compare" in text
    assert "the run has no argmax score of mlp / hce on ood" in text
    assert "0 (not available), 1 (not available)" in text
    assert not re.search(r"\bnan\b", text)


def test_a_missing_ood_set_is_said():
    text = summarise(make_tables(sets=("val", "id")), "paper", FITS, None, 0.05, "mlp")
    assert "the run has no set ood" in text
    assert "the run has no argmax score of mlp / ce on ood" in text
    assert "id, all its types" in text
    assert "id, OOD types" not in text
    assert not re.search(r"\bnan\b", text)


def test_no_number_is_lost_to_missing_tables_of_another_decoder():
    tables = make_tables()
    for name in ("overall", "type_changes", "stratum_changes"):
        tables[name] = tables[name].assign(decoder="ancestor_sum")
    rows = compare(tables["published"], tables)
    scores = rows[rows["score"] != ""]
    assert set(scores["status"]) == {"not available", "-"}
    assert summarise(tables, "paper", FITS, None, 0.05, "mlp")


def test_other_decoders_stand_in_their_section_alone():
    tables = make_tables()
    for name in ("overall", "type_changes", "stratum_changes", "bootstrap"):
        other = tables[name].assign(decoder="ancestor_sum")
        tables[name] = pd.concat([tables[name], other], ignore_index=True)
    text = summarise(tables, "paper", FITS, None, 0.05, "mlp")
    assert "ancestor_sum" in section(text, "Loss by decoder")
    # The decomposition needs it, too.
    sections = section(text, "Loss by decoder") + section(text, "What the gain is made of")
    assert text.count("ancestor_sum") == sections.count("ancestor_sum")


def with_clean(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables with scores without leaky cells, 4 points lower for CE and 3 for HCE."""
    clean = tables["overall"].query("set == 'ood'").assign(set="ood_clean")
    clean["value"] -= np.where(clean["loss"] == "ce", 0.04, 0.03)
    return tables | {"overall": pd.concat([tables["overall"], clean])}


def test_leakage_shows_what_was_found_and_the_scores_without_it():
    text = summarise(with_clean(make_tables()), "paper", FITS, None, 0.05, "mlp")
    section = text.split("## Leakage")[1].split("\n## ")[0]
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in section.splitlines() if "|" in line]
    assert ["leaky cells", "250 (25.0%)"] in rows
    assert ["cells held more than once", "17"] in rows
    head = ["ood", "mlp", "argmax"]
    assert [*head, "credited", "ce", "57.0 ± 0.1", "53.0 ± 0.1"] in rows
    assert [*head, "study-aware", "ce", "47.0 ± 0.1", "43.0 ± 0.1"] in rows
    assert [*head, "credited", "hce - ce", "+13.0", "+14.0"] in rows
    assert "ood_clean" not in text.replace(section, "")


def test_leakage_without_new_releases_shows_no_scores():
    tables = make_tables(sets=("val", "id"))
    tables["audit"] = tables["audit"].query("set == 'reference'")
    section = (
        summarise(tables, "paper", FITS, None, 0.05, "mlp").split("## Leakage")[1].split("\n## ")[0]
    )
    assert "(none)" in section
    assert "Macro F1 in per cent" not in section


def section(text: str, name: str) -> str:
    return text.split(f"## {name}\n")[1].split("\n## ")[0]


def test_what_a_decoder_reaches_stands_beside_the_loss():
    tables = make_tables()
    factorial = tables["factorial"]
    at_start = (factorial["share_of_gain"] == 0) & (factorial["kind"] == "all")
    tables["factorial"] = factorial.assign(
        credited_macro_f1=factorial["credited_macro_f1"].where(~at_start, 0.2)
    )
    part = section(summarise(tables, "paper", FITS, None, 0.05, "mlp"), "Loss by decoder")
    rows = cells_of(part)
    others = ["40.0 ± 1.0", "30.0 ± 1.0"]
    assert ["ood", "mlp", "ce", "ancestor_sum", "50.0 ± 1.0 (75%)", "-", *others] in rows
    assert ["ood", "mlp", "ce", "argmax", "20.0 ± 1.0", "-", *others] in rows
    # Whether the gain of the connected leaves is more than noise is not known.
    assert ["ood", "mlp", "hce", "argmax", "50.0 ± 1.0 (100%)", "50.0 ± 1.0", *others] in rows
    assert "connected leaves" in part
    assert "val" not in {row[0] for row in rows}


def test_a_share_of_a_gain_within_noise_is_not_given():
    tables = make_tables()  # no decoder differs from argmax by more than a standard deviation
    part = section(summarise(tables, "paper", FITS, None, 0.05, "mlp"), "Loss by decoder")
    assert not re.search(r"\(\d+%\)", part)


def test_the_interval_over_studies_is_shown():
    part = section(summarise(make_tables(), "paper", FITS, None, 0.05, "mlp"), "Over other studies")
    expected = ["ood", "mlp", "argmax", "hce - ce", "credited", "21", "+13.0"]
    nested = ["470", "+7.0 to +18.1"]
    assert [*expected, "+8.0 to +17.1", "0.001", *nested] in cells_of(part)
    assert "over 2,000 draws" in part


def test_the_headline_is_first_and_has_the_numbers_of_the_tables():
    text = summarise(make_tables(), "paper", FITS, None, 0.05, "mlp")
    top = text.split("## Fits")[0].splitlines()
    assert [line[:3] for line in top[2::2]] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    assert "losses CE and HCE; the model is MLP, trained with 4 seeds" in top[2]
    assert "The data are those of the paper: 15,240,192 cells of 164 types" in top[4]
    assert "On new studies" in top[6]
    assert "by +13.0 [+8.0 to +17.1] if answers below the label are credited" in top[6]
    assert "+16.2 is decoding" in top[8]
    assert "+7.9 is credit for answers that the studies' own labels contradict" in top[8]
    assert "+1.7 (within noise) is left for training with HCE" in top[8]
    assert "the MLP gives 91% on held-out donors and 77% on new studies with CE;" in top[10]


def test_the_parts_of_the_gain_have_a_share_where_they_are_more_than_noise():
    text = summarise(make_tables(), "paper", FITS, None, 0.05, "mlp")
    rows = cells_of(section(text, "What the gain is made of"))
    found = next(row for row in rows if row[:4] == ["ood", "mlp", "hce - ce", "all types"])
    assert found[4] == "+25.8 [+23.8, +27.8]"
    assert found[5] == "+16.2 [+14.2, +18.2] (63%)"
    assert found[7] == "+1.7 [-0.3, +3.7]"
    assert not [row for row in rows if row[0] == "val"]
    without = summarise(make_tables(losses=("ce",)), "paper", FITS, None, 0.05, "mlp")
    assert "Nothing to divide" in section(without, "What the gain is made of")


def test_the_headline_says_what_the_run_lacks():
    top = summarise(make_tables(losses=("ce",)), "r", FITS, None, 0.05, "mlp").split("## Fits")[0]
    assert "compares nothing: its loss is CE" in top
    assert "says nothing about a gain" in top
    assert "What the gain is made of is unknown" in top
    top = summarise(make_tables(sets=("val", "id")), "r", FITS, None, 0.05, "mlp")
    assert "On held-out donors" in top.split("## Fits")[0]
    assert "has no new studies" in top.split("## Fits")[0]
    one = make_tables()
    one["bootstrap"] = one["bootstrap"].assign(ci_low=np.nan, ci_high=np.nan)
    top = summarise(one, "r", FITS, None, 0.05, "tabnet").split("## Fits")[0]
    assert "no interval over studies, because the set has one" in top


def test_changes_that_are_the_same_in_every_seed_are_counted_and_explained():
    tables = make_tables()
    changes = tables["type_changes"]
    one = (changes["set"] == "ood") & (changes["index"] == 2)
    tables["type_changes"] = changes.assign(test=changes["test"].where(~one, "sign"))
    text = summarise(tables, "paper", FITS, None, 0.05, "mlp")
    part = section(text, "Types and studies that changed")
    assert "the exact sign test takes its place" in part
    row = next(row for row in cells_of(part.split("### Types")[1]) if row[2] == "ood")
    assert row[5:8] == ["0", "5", "1"]


def test_without_a_second_loss_the_interval_over_studies_is_not_silently_absent():
    text = summarise(make_tables(losses=("ce",)), "paper", FITS, None, 0.05, "mlp")
    assert "nothing to compare" in section(text, "Over other studies")


def test_controls_are_shown_or_said_to_be_missing():
    tables = make_tables()
    part = section(summarise(tables, "paper", FITS, None, 0.05, "mlp"), "Controls")
    head = ["ood", "placebo", "mlp", "hce_placebo", "argmax"]
    found = next(row for row in cells_of(part) if row[:5] == head)
    # The control has one seed, so the losses beside it are of that seed alone.
    own = tables["overall"].query("set == 'ood' and score == 'credited_macro_f1' and seed == 0")
    means = own.groupby("loss")["value"].mean()
    assert found[5:8] == ["60.0", "45.0", "30.0"]
    assert found[8:] == [f"{100 * means['ce']:.1f}", f"{100 * means['hce']:.1f}"]
    tables["controls"] = tables["controls"].iloc[:0]
    text = summarise(tables, "paper", FITS, None, 0.05, "mlp")
    assert "has no controls" in section(text, "Controls")


def test_scores_are_followed_over_later_releases():
    tables = make_tables(sets=("id", "ood", "ood_2024-07-01"))
    part = section(summarise(tables, "paper", FITS, None, 0.05, "mlp"), "Over later releases")
    rows = cells_of(part)
    assert rows[0] == ["model", "decoder", "macro F1", "set", "ce", "hce", "hce - ce"]
    sets = ["ood", "ood_2024-07-01"]
    names = [(name, s) for name in ("credited", "study-aware") for s in sets]
    assert [tuple(row[2:4]) for row in rows[2:]] == names
    assert rows[2][3:] == ["ood", "57.0 ± 0.1", "70.0 ± 0.3", "+13.0"]
    assert rows[4][3:] == ["ood", "47.0 ± 0.1", "60.0 ± 0.3", "+13.0"]


@pytest.mark.parametrize(
    ("sets", "words"), [(("id",), "no newer release"), (("id", "ood"), "one newer release")]
)
def test_fewer_than_two_later_releases_are_said(sets, words):
    text = summarise(make_tables(sets=sets), "paper", FITS, None, 0.05, "mlp")
    assert words in section(text, "Over later releases")


def test_tables_are_aligned_and_hold_their_bars():
    lines = markdown_table(["name", "n"], [["a|b", "1"], ["longer", "1,000"]], right=["n"])
    assert lines.splitlines() == [
        "| name   |     n |",
        "| ------ | ----: |",
        "| a\\|b   |     1 |",
        "| longer | 1,000 |",
    ]


def test_the_authors_predictions_stand_between_published_numbers_and_those_of_the_run():
    tables = make_tables()
    rows = [
        ("authors", "mlp", "ce", seed, "ood", f"{kind}_macro_f1", value + 0.01 * seed, 9, "same")
        for seed in (0, 1)
        for kind, value in (("credited", 0.56), ("exact", 0.35))
    ]
    columns = ["name", "model", "loss", "seed", "set", "score", "value", "cells", "compared"]
    tables["published_results"] = pd.DataFrame(rows, columns=columns)
    text = summarise(tables, "r", FITS, None, 0.05, "mlp")
    section = text.split("## The authors' predictions")[1].split("\n## ")[0]
    assert cells_of(section)[2:] == [
        ["mlp", "ce", "ood", "credited", "57", "56.5 ± 0.7", "57.0 ± 0.1"],
        ["mlp", "ce", "ood", "study-aware", "-", "-", "47.0 ± 0.1"],
        ["mlp", "ce", "ood", "exact", "-", "35.5 ± 0.7", "37.0 ± 0.1"],
    ]
    assert "* authors / ce / 1: same." in section
    assert "authors' predictions" not in summarise(make_tables(), "r", FITS, None, 0.05, "mlp")
