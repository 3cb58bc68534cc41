"""The figure of scores against the truth shows what the tables hold, and can be read."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from figure_checks import check_layout, words
from hce.figures.catalogue import draw_figure

REPOSITORY = Path(__file__).parents[3]
SCORES = ("credited_macro_f1", "study_aware_macro_f1", "exact_macro_f1")


def made_up(models, losses, decoders, sets=("val", "id", "ood"), scores=SCORES):
    """Tables in which the exact score follows the truth and the credited one runs against it."""
    random = np.random.default_rng(2)
    overall, truth = [], []
    for model, loss, decoder, name, seed in product(models, losses, decoders, sets, (0, 1)):
        true = random.uniform(0.6, 0.9)
        head = (model, loss, seed, name, decoder)
        truth.append((*head, "truth_hierarchical_f1", true))
        for score in scores:
            value = {"credited_macro_f1": 1 - true, "exact_macro_f1": true}.get(score, 0.5 * true)
            overall.append((*head, score, value))
    columns = ["model", "loss", "seed", "set", "decoder", "score", "value"]
    return {
        "overall": pd.DataFrame(overall, columns=columns),
        "truth": pd.DataFrame(truth, columns=columns),
    }


def draw(tables):
    model = next(iter(tables["truth"]["model"]), "linear")
    return draw_figure("truth", tables, {"model": model}, "Simulated data")


@pytest.mark.parametrize(
    ("models", "losses", "scores"),
    [
        (("linear",), ("ce", "hce"), ("credited_macro_f1", "exact_macro_f1")),
        (("linear", "mlp", "tabnet"), ("ce", "hce", "hce_study", "mix"), SCORES),
    ],
    ids=["demo", "all"],
)
def test_no_text_is_small_clipped_or_overlaps_another(models, losses, scores):
    decoders = ("argmax", "ancestor_sum", "prior_corrected", "back_off_0.9")
    figure = draw(made_up(models, losses, decoders, scores=scores))
    check_layout(figure)
    shown = words(figure)
    assert {"Simulated data", "OOD", "ID test"} <= set(shown)
    assert ("study-aware macro F1" in shown) == (len(scores) == 3)


def test_a_score_that_follows_the_truth_has_rho_1_and_its_opposite_minus_1():
    shown = words(draw(made_up(("linear",), ("ce", "hce"), ("argmax", "ancestor_sum"))))
    assert shown.count("+1.00") == 4  # exact and study-aware, in two sets
    assert shown.count("−1.00") == 2


def test_a_run_without_truth_says_so():
    tables = made_up(("linear",), ("ce",), ("argmax",), sets=("val",))
    assert "The run has no truth of ID or OOD cells." in words(draw(tables))


def test_the_caption_and_the_rule_are_there():
    caption = (REPOSITORY / "workflow/report/truth.rst").read_text()
    assert "\n**" in f"\n{caption}"  # a title in bold
    assert 'pictures({"truth"' in (REPOSITORY / "workflow/rules/truth.smk").read_text()
