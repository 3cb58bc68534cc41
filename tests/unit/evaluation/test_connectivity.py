"""Connectivity: gains of a type with and without its relatives."""

from itertools import product

import pandas as pd
import pytest

from hce.evaluation.connectivity import connectivity

LEFT_OUT = {
    "ce_alone": ("ce", "CL:1", "relatives"),
    "hce_alone": ("hce", "CL:1", "relatives"),
    "ce_less": ("ce", "CL:1", "elsewhere"),
}
LOSSES = {"ce": 0.5, "hce": 0.8, "ce_alone": 0.5, "hce_alone": 0.6, "ce_less": 0.4}


@pytest.fixture
def per_type() -> pd.DataFrame:
    rows = [
        ("linear", loss, seed, name, decoder, cl_id, "a type", *(value + seed / 100,) * 2, 0.1)
        for (loss, value), seed, name, decoder, cl_id in product(
            LOSSES.items(), (0, 1), ("id", "ood"), ("argmax", "ancestor_sum"), ("CL:1", "CL:2")
        )
    ]
    columns = ["model", "loss", "seed", "set", "decoder", "cl_id", "label"]
    return pd.DataFrame(rows, columns=[*columns, "credited_f1", "study_aware_f1", "exact_f1"])


def test_the_gain_of_a_type_is_given_with_and_without_its_relatives(per_type):
    found = connectivity(per_type, LEFT_OUT, "ce", "hce")
    assert set(found["cl_id"]) == {"CL:1"}
    credited = found[found["score"] == "credited_f1"].set_index(["left_out", "set", "seed"])
    assert credited.loc[("nothing", "ood", 1), "baseline_f1"] == pytest.approx(0.51)
    assert credited.loc[("nothing", "ood", 1), "gain"] == pytest.approx(0.3)
    assert credited.loc[("relatives", "id", 0), "gain"] == pytest.approx(0.1)
    assert (found[found["score"] == "exact_f1"]["gain"] == 0).all()


def test_a_variant_with_one_of_the_two_losses_has_no_gain(per_type):
    assert set(connectivity(per_type, LEFT_OUT, "ce", "hce")["left_out"]) == {
        "nothing",
        "relatives",
    }
    assert connectivity(per_type, {}, "ce", "hce").empty
