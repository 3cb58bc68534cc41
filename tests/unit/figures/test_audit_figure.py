"""The figure of the leakage audit shows the tables, legibly, whatever they hold."""

import runpy
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from fake_job import fake_job
from hce.figures import style
from hce.figures.audit import draw_audit
from hce.files import write_tsv

SUMMARY = {
    "reference": {"cells held more than once": 243569, "id cells that are also in train": 18},
    "ood": {"withdrawn studies": 13, "types missing if matched by CL id": 2},
}


def make_tables(
    n_studies: int, models: tuple[str, ...] = ("linear", "mlp", "tabnet"), known: bool = True
) -> dict[str, pd.DataFrame]:
    """Made-up tables of an audit and a run."""
    rng = np.random.default_rng(n_studies)
    cells = np.sort(rng.integers(500, 400_000, n_studies))[::-1]
    studies = pd.DataFrame(
        {
            "set": "ood",
            "title": [
                f"Atlas of the human organ number {i}, second edition" for i in range(n_studies)
            ],
            "cells": cells,
            "donors": 10,
            "known_collection": rng.random(n_studies) < 0.3,
            "shared_donors": rng.integers(0, 11, n_studies) * (rng.random(n_studies) < 0.4),
            "duplicates": cells * rng.choice([0, 0.004, 0.3, 1], n_studies) if known else np.nan,
            "leaky_cells": cells // 3,
        }
    )
    overall = [
        (model, loss, seed, name, "argmax", "credited_macro_f1", rng.normal(0.6, 0.03))
        for model in models
        for loss in ("hce", "ce")
        for seed in range(4)
        for name in ("id", *(("ood", "ood_clean") if n_studies else ()))
    ]
    columns = ["model", "loss", "seed", "set", "decoder", "score", "value"]
    rows = [("r", s, q, v) for s, values in SUMMARY.items() for q, v in values.items()]
    summary = pd.DataFrame(rows, columns=["release", "set", "quantity", "value"])
    return {
        "studies": studies,
        "summary": summary if n_studies else summary.iloc[:2],
        "overall": pd.DataFrame(overall, columns=columns),
    }


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize(
    "options",
    [{"n_studies": 21}, {"n_studies": 90}, {"n_studies": 2, "models": ("linear",)},
     {"n_studies": 5, "known": False}, {"n_studies": 0}],
    ids=str,
)  # fmt: skip
def test_all_text_is_legible(options):
    figure = draw_audit(**make_tables(**options), note="Simulated data")
    shown: list[Text] = []
    draw = Text.draw

    def record(text: Text, *args: object, **kwargs: object) -> None:
        shown.append(text)
        draw(text, *args, **kwargs)

    with style.house_style(), mock.patch.object(Text, "draw", record):
        FigureCanvasAgg(figure).draw()
    shown = [text for text in shown if text.get_visible() and text.get_text().strip()]
    assert min(text.get_fontsize() for text in shown) >= style.SMALL
    boxes = [text.get_window_extent() for text in shown]
    for text, box in zip(shown, boxes, strict=True):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text.get_text()
    for (a, box), (b, other) in combinations(zip(shown, boxes, strict=True), 2):
        high = min(box.y1, other.y1) - max(box.y0, other.y0) > 0.4 * min(box.height, other.height)
        wide = min(box.x1, other.x1) > max(box.x0, other.x0)
        assert not (high and wide), f"{a.get_text()!r} overlaps {b.get_text()!r}"


def test_bars_are_the_shares_of_the_tables():
    made = make_tables(6)
    studies = made["studies"]
    figure = draw_audit(**made)
    expected = {
        "collection\nis known": studies["known_collection"].astype(float),
        "donors\nshared": studies["shared_donors"] / 10,
        "cells\nequal": studies["duplicates"] / studies["cells"],
        "cells\nleaky": studies["leaky_cells"] / studies["cells"],
    }
    for axes in figure.axes:
        title = axes.get_title(loc="left")
        if title in expected:
            bars = [p.get_width() for p in axes.patches if isinstance(p, Rectangle)]
            np.testing.assert_allclose(bars[6:], expected.pop(title))
    assert not expected


def test_many_studies_are_summed_in_the_last_row():
    made = make_tables(90)
    text = words(draw_audit(**made))
    rest = made["studies"]["cells"].iloc[40:].sum()
    assert "50 further studies" in text
    assert f"{rest:,}" in text


def test_what_is_not_known_is_said():
    assert words(draw_audit(**make_tables(5, known=False))).count("?") == 5
    text = words(draw_audit(**make_tables(0)))
    assert "The run has no OOD data." in text
    assert "The run has no\nOOD scores." in text
    assert "243,569" in text


def test_the_script_draws_from_files(tmp_path):
    paths = {}
    for name, table in make_tables(3).items():
        paths[name] = tmp_path / f"{name}.tsv"
        write_tsv(table, paths[name])
    outputs = {f"leakage_{form}": tmp_path / f"leakage.{form}" for form in ("pdf", "png", "svg")}
    job = fake_job(
        "plot_audit", tmp_path / "log", input=paths, output=outputs,
        params=SimpleNamespace(figures=["leakage"], options={}, note=None),
    )  # fmt: skip
    script = Path(__file__).parents[3] / "scripts" / "plot_figures.py"
    runpy.run_path(str(script), init_globals={"snakemake": job})
    assert all(path.stat().st_size > 5_000 for path in outputs.values())
