"""The figure of the back-off draws whatever the tables hold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hce.figures.coverage import draw_coverage


def made_up(calibrated: bool) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    thresholds = np.linspace(0.1, 0.99, 12)
    coverage = pd.concat(
        pd.DataFrame(
            {
                "model": "mlp",
                "loss": loss,
                "seed": 0,
                "set": name,
                "threshold": thresholds,
                "coverage": 1 - thresholds**4 / 2,
                "right": 0.7 + 0.3 * thresholds,
                "confirmed": 0.5 + 0.4 * thresholds,
                "depth": 3 - thresholds,
            }
        )
        for loss in ("ce", "hce")
        for name in ("val", "id", "ood")
    )
    strict = coverage[coverage["threshold"] > 0.55]
    precision = strict.assign(asked=[0.8, 0.85, 0.9, 0.95, 0.97, 0.99] * 6)
    types = pd.DataFrame(
        {
            "model": "mlp",
            "loss": "hce",
            "seed": 0,
            "set": "ood",
            "asked": 0.9,
            "type": [f"CD{i}-positive, alpha-beta T cell of some long kind" for i in range(30)],
            "decided": range(10, 40),
            "right": np.linspace(0, 1, 30),
        }
    )
    if not calibrated:
        precision = precision.assign(right=np.nan, coverage=np.nan)
        types = types.iloc[:0]
    return coverage, precision, types


@pytest.mark.parametrize("calibrated", [True, False])
def test_curves_calibrated_precision_and_the_worst_types_are_drawn(calibrated):
    figure = draw_coverage(*made_up(calibrated), model="mlp", compared="hce", note="Simulated data")
    FigureCanvasAgg(figure).draw()
    first, depth, second, _, given, types = figure.axes
    np.testing.assert_allclose(depth.lines[0].get_ydata(), 3 - np.linspace(0.1, 0.99, 12))
    solid = [line for line in first.lines if line.get_linestyle() == "-"]
    assert len(solid) == len([line for line in second.lines if line.get_linestyle() == "-"]) == 2
    np.testing.assert_allclose(solid[0].get_ydata(), 0.7 + 0.3 * np.linspace(0.1, 0.99, 12))
    texts = [text.get_text() for text in (*given.texts, *types.texts)]
    if calibrated:
        names = [label.get_text() for label in types.get_yticklabels()]
        assert names[0].startswith("CD10+")  # the first with 20 cells, and the worst
        assert "34% of 20 cells" in texts
    else:
        assert "No precision\nwas calibrated." in texts


def test_a_run_without_the_model_says_so():
    figure = draw_coverage(*made_up(True), model="linear", compared="hce")
    assert [text.get_text() for text in figure.axes[0].texts] == ["no cells"]
