"""The frontier: which losses and decoders no other one surpasses in both scores."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from figure_tables import make_tables
from hce.figures.figure_frontier import best, draw_frontier

VALUES = st.integers(0, 4).map(lambda value: value / 4)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=8, unique=True))
def test_the_best_points_are_those_that_no_other_one_is_at_least_equal_to_in_both(pairs):
    points = pd.DataFrame(pairs, columns=["exact", "study_aware"])
    beaten = {
        (a, b) for a, b in pairs if any(c >= a and d >= b and (c, d) != (a, b) for c, d in pairs)
    }
    found = best(points)
    assert set(found.itertuples(index=False, name=None)) == set(pairs) - beaten
    assert found["exact"].is_monotonic_increasing


def test_every_loss_with_every_decoder_is_a_point_of_its_model():
    overall = make_tables(losses=("ce", "hce", "hce_study")).overall
    lacking = (overall["model"] == "tabnet") & (overall["loss"] == "hce_study")
    figure = draw_frontier(overall[~lacking])
    points = {
        axes.get_title(loc="left"): {tuple(p) for c in axes.collections for p in c.get_offsets()}
        for axes in figure.axes
    }
    assert len(points) == 6
    assert {name: len(of_model) for name, of_model in points.items() if "OOD" in name} == {
        "Linear, OOD": 6,
        "MLP, OOD": 6,
        "TabNet, OOD": 4,
    }
    chosen = overall.query(
        "model == 'mlp' and loss == 'hce' and set == 'id' and decoder == 'ancestor_sum'"
    )
    means = chosen.groupby("score")["value"].mean()
    expected = (means["exact_macro_f1"], means["study_aware_macro_f1"])
    assert any(
        abs(x - expected[0]) + abs(y - expected[1]) < 1e-9 for x, y in points["MLP, ID test"]
    )
