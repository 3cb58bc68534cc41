"""Figures 1 and 2, drawn from made-up tables over the real hierarchy of the 164 types."""

import runpy
import time
from dataclasses import dataclass, fields
from itertools import combinations, product
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats

from hce.errors import UserError
from hce.figures import style, tables
from hce.figures.figure_1 import draw_figure_1
from hce.figures.figure_2 import draw_figure_2
from hce.figures.subgraph import ABOVE, ELSEWHERE, shares
from hce.files import read_tsv, write_tsv
from hce.ontology import Hierarchy, read_ontology

ONTOLOGY = Path(__file__).parents[2] / "resources" / "ontology"
T_CELL = "CL:0000084"
TISSUES = ("blood", "brain", "lung", "heart", "eye", "kidney", "bone marrow", "lymph node", "liver",
           "breast", "spleen", "small intestine", "colon", "skin of body", "placenta", "pancreas",
           "adipose tissue", "large intestine", "exocrine gland", "respiratory system")  # fmt: skip


CHANGES = ["model", "set", "decoder", "baseline", "loss", "index", "cl_id", "label", "seeds",
           "baseline_f1", "f1", "change", "ci_low", "ci_high", "t", "p", "p_holm",
           "significant"]  # fmt: skip
RUNS = {
    "three models": {},
    "one seed, four losses": {"models": ("linear",), "seeds": 1,
                              "losses": ("ce", "hce", "hce_log", "mixed")},
    "few types": {
        "models": ("linear",),
        "seeds": 2,
        "labels": ("B cell", "T cell", "CD14-positive monocyte", "natural killer cell",
                   "naive B cell", "regulatory T cell", "platelet", "hematopoietic stem cell"),
    },
    "without OOD data": {"models": ("linear",), "ood": False},
    "without a baseline": {"models": ("linear",), "losses": ("hce",)},
}  # fmt: skip


@dataclass
class Tables:
    """The tables of a made-up run."""

    overall: pd.DataFrame
    type_changes: pd.DataFrame
    confusion: pd.DataFrame
    data_totals: pd.DataFrame
    data_tissues: pd.DataFrame
    data_types: pd.DataFrame


def make_tables(
    models: tuple[str, ...] = ("linear", "mlp", "tabnet"),
    losses: tuple[str, ...] = ("hce", "ce"),
    seeds: int = 4,
    ood: bool = True,
    labels: tuple[str, ...] = (),
) -> Tables:
    """Plausible tables, over all types or those of the given labels."""
    random = np.random.default_rng(0)
    known = read_tsv(ONTOLOGY / "cell_types_164.tsv")
    if labels:
        known = known[known["label"].isin(labels)]
    hierarchy = Hierarchy.build(
        dict(zip(known["cl_id"], known["label"], strict=True)),
        read_ontology(ONTOLOGY / "cl-slim.obo"),
    )
    types = hierarchy.types.drop(columns="n_ancestors")
    n = len(types)
    types["parents"] = types["parents"].map(";".join).replace("", np.nan)
    types["train_cells"] = np.round(10 ** random.normal(4.4, 0.7, len(types))).astype(int)
    for name, share in (("train", 1.0), ("val", 0.2), ("id", 0.2)):
        types[f"cells_{name}"] = (types["train_cells"] * share).astype(int)
    in_ood = types.merge(known, on="cl_id")["in_ood_80"].to_numpy() == 1
    if ood:
        types["cells_ood"] = np.where(in_ood, 10 ** random.normal(3.7, 0.7, n), 0).astype(int)

    sets = ("train", "val", "id", *(("ood",) if ood else ()))
    totals = [
        (s, types[f"cells_{s}"].sum(), (types[f"cells_{s}"] > 0).sum(), 5052, 249, 56) for s in sets
    ]
    totals.append(("reference", types["train_cells"].sum(), 164, 5052, 249, 56))
    tissues = pd.DataFrame(
        [
            (s, tissue, int(10 ** random.normal(5.5 - 0.1 * i, 0.2)))
            for s in sets
            for i, tissue in enumerate(TISSUES)
            if s != "ood" or i % 2 == 0
        ],
        columns=["set", "tissue_general", "cells"],
    )
    return Tables(
        _overall(models, losses, seeds, sets[1:], random),
        _changes(types[in_ood & ood], models, losses, seeds, random),
        _confusion(hierarchy, in_ood & ood, models, losses, seeds, random),
        pd.DataFrame(totals, columns=["set", "cells", "types", "donors", "studies", "tissues"]),
        tissues,
        types,
    )


def _overall(models, losses, seeds, sets, random):
    scores = ["credited_macro_f1", "exact_macro_f1"]
    if "ood" in sets:
        scores += ["credited_macro_f1_ood_types", "exact_macro_f1_ood_types"]
    fits = product(models, losses, range(seeds), sets, ("argmax", "ancestor_sum"), scores)
    rows = []
    for model, loss, seed, name, decoder, score in fits:
        value = 0.55 if name == "ood" else 0.8
        value += 0.02 * models.index(model) + random.normal(0, 0.006)
        value += (0.13 if name == "ood" else 0.02) * (loss != "ce")
        value -= 0.1 * score.startswith("exact") - 0.03 * ("ood_types" in score and name == "id")
        value += 0.05 * (decoder == "ancestor_sum")
        rows.append((model, loss, seed, name, decoder, score, value))
    columns = ["model", "loss", "seed", "set", "decoder", "score", "value"]
    return pd.DataFrame(rows, columns=columns)


def _changes(types, models, losses, seeds, random):
    rows = []
    others = [loss for loss in losses if loss != "ce" and "ce" in losses]
    for model, loss in product(models, others):
        for t in types.itertuples(index=False):
            centre = np.clip(random.normal(0.13, 0.22), -0.5, 0.9)
            per_seed = centre + random.normal(0, 0.01 + 0.04 * random.random(), seeds)
            mean = per_seed.mean()
            p = stats.ttest_1samp(per_seed, 0).pvalue if seeds > 1 else np.nan
            ci = stats.sem(per_seed) * stats.t.ppf(0.975, seeds - 1) if seeds > 1 else np.nan
            rows.append(
                {
                    "model": model, "set": "ood", "decoder": "argmax", "baseline": "ce",
                    "loss": loss, "index": t.index, "cl_id": t.cl_id, "label": t.label,
                    "seeds": seeds, "baseline_f1": 0.5, "f1": 0.5 + mean, "change": mean,
                    "ci_low": mean - ci, "ci_high": mean + ci, "t": np.nan, "p": p,
                    "p_holm": min(1, 80 * p), "significant": bool(80 * p < 0.05),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=CHANGES)


def _confusion(hierarchy, in_ood, models, losses, seeds, random):
    rows = []
    for model, loss, seed in product(models, losses, range(seeds)):
        for label in np.flatnonzero(in_ood):
            below = np.flatnonzero(hierarchy.reachability[label])
            above = np.flatnonzero(hierarchy.reachability[:, label])
            near = np.concatenate(
                [below, above[above != label], random.integers(0, len(in_ood), 3)]
            )
            weight = random.exponential(1, len(near)) ** 2
            weight[: len(below)] *= 1 if loss == "ce" else 4
            cells = random.multinomial(5000, weight / weight.sum())
            counts = pd.Series(cells).groupby(near).sum()
            key = (model, loss, seed, "ood", "argmax", label)
            rows += [(*key, prediction, n) for prediction, n in counts.items() if n]
    columns = ["model", "loss", "seed", "set", "decoder", "label", "prediction", "cells"]
    return pd.DataFrame(rows, columns=columns)


def figure_1(t: Tables, note: str | None = None) -> Figure:
    return draw_figure_1(t.overall, t.data_totals, t.data_tissues, t.data_types, note)


def figure_2(t: Tables, note: str | None = None, root: str = T_CELL) -> Figure:
    model = t.overall["model"].iloc[-1]
    return draw_figure_2(t.overall, t.type_changes, t.confusion, t.data_types, model, root, note)


def texts(figure: Figure) -> list[Text]:
    """The texts that are drawn: not, for example, the labels of ticks beyond an axis."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(text: Text, *args: object, **kwargs: object) -> None:
        drawn.append(text)
        draw(text, *args, **kwargs)

    with style.house_style(), mock.patch.object(Text, "draw", record):
        FigureCanvasAgg(figure).draw()
    return [text for text in drawn if text.get_visible() and text.get_text().strip()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture(scope="module")
def full() -> Tables:
    return make_tables()


@pytest.fixture(scope="module")
def small() -> Tables:
    return make_tables(**RUNS["few types"])


@pytest.mark.parametrize("draw", [figure_1, figure_2])
@pytest.mark.parametrize("run", RUNS)
def test_no_text_is_small_clipped_or_overlaps_another(run, draw):
    figure = draw(make_tables(**RUNS[run]), "Simulated data")
    figure.dpi = 150
    shown = texts(figure)
    assert min(text.get_fontsize() for text in shown) >= 6
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    page = figure.bbox
    for name, box in boxes:
        assert page.x0 <= box.x0, name
        assert box.x1 <= page.x1, name
        assert page.y0 <= box.y0, name
        assert box.y1 <= page.y1, name
    # Letters may touch the line above by their ascenders: only the middle of a line counts.
    lines = [
        (name, b.x0, b.x1, b.y0 + 0.25 * b.height, b.y1 - 0.25 * b.height) for name, b in boxes
    ]
    for (a, ax0, ax1, ay0, ay1), (b, bx0, bx1, by0, by1) in combinations(lines, 2):
        assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0, f"{a!r} overlaps {b!r}"


def save_both(t: Tables, folder: Path) -> None:
    for number, draw in enumerate((figure_1, figure_2), start=1):
        paths = [folder / f"figure_{number}.{suffix}" for suffix in ("pdf", "png", "svg")]
        style.save(draw(t), *paths)


@pytest.fixture(scope="module")
def saved(full: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds both figures, saved within the time that they may take."""
    folder = tmp_path_factory.mktemp("figures")
    start = time.process_time()
    save_both(full, folder)
    assert time.process_time() - start < 10
    return folder


def test_the_same_tables_give_the_same_bytes(full, saved, tmp_path):
    save_both(full, tmp_path)
    names = sorted(path.name for path in saved.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 6
    for name in names:
        assert (saved / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_vector_files_keep_every_type_name_as_text(full, saved):
    root = ElementTree.parse(saved / "figure_2.svg").getroot()
    elements = [element for element in root.iter() if element.tag.endswith("}text")]
    found = {"".join(element.itertext()).removesuffix(" *") for element in elements}
    assert {style.short(label) for label in full.data_types["label"]} <= found
    assert b"/Type3" not in (saved / "figure_2.pdf").read_bytes()


@pytest.mark.parametrize("draw", [figure_1, figure_2])
def test_the_note_is_shown_where_given(small, draw):
    assert "Simulated data" in words(draw(small, "Simulated data"))
    assert "Simulated data" not in words(draw(small))


def test_bars_are_means_over_seeds_and_dashed_lines_the_id_level(full):
    axes = [a for a in figure_1(full).axes if len(a.patches) == 6]
    chosen = full.overall[full.overall["decoder"] == "argmax"]
    order = list(product(("linear", "mlp", "tabnet"), ("ce", "hce")))

    def means(name: str, score: str) -> list[float]:
        rows = chosen[(chosen["set"] == name) & (chosen["score"] == score)]
        return [
            rows[(rows["model"] == model) & (rows["loss"] == loss)]["value"].mean()
            for model, loss in order
        ]

    expected = [
        means("id", "credited_macro_f1"),
        means("id", "credited_macro_f1_ood_types"),
        means("ood", "credited_macro_f1"),
    ]
    assert len(axes) == 3
    for panel, values in zip(axes, expected, strict=True):
        np.testing.assert_allclose([patch.get_height() for patch in panel.patches], values)
    assert [len(panel.lines) for panel in axes] == [0, 0, 6]
    np.testing.assert_allclose([line.get_ydata()[0] for line in axes[2].lines], expected[1])


def test_every_seed_has_a_dot(full):
    figure = figure_1(full)
    for axes in (a for a in figure.axes if len(a.patches) == 6):
        assert [len(dots.get_offsets()) for dots in axes.collections] == [4] * 6


def test_shares_agree_with_counting_by_the_reachability_matrix(full):
    known = full.data_types
    hierarchy = Hierarchy.build(
        dict(zip(known["cl_id"], known["label"], strict=True)),
        read_ontology(ONTOLOGY / "cl-slim.obo"),
    )
    root = hierarchy.labels.index("T cell")
    found = shares(full.confusion, full.data_types, T_CELL, "mlp", ["ce", "hce"])
    np.testing.assert_allclose(found.sum(), 1)
    assert list(found.columns) == ["ce", "hce"]
    for loss in ("ce", "hce"):
        per_seed = []
        fits = full.confusion.query("model == 'mlp' and loss == @loss and label == @root")
        for _, rows in fits.groupby("seed"):
            counts = np.zeros(164)
            for row in rows.itertuples():
                counts[row.prediction] += row.cells
            per_seed.append(counts / counts.sum())
        expected = np.mean(per_seed, axis=0)
        below = hierarchy.reachability[root]
        above = hierarchy.reachability[:, root] & ~below
        inside = found[loss].drop([ABOVE, ELSEWHERE])
        at = hierarchy.types.set_index("cl_id").loc[inside.index, "index"]
        assert sorted(at) == np.flatnonzero(below).tolist()
        np.testing.assert_allclose(inside, expected[at])
        assert found.loc[ABOVE, loss] == pytest.approx(expected[above].sum())
        assert found.loc[ELSEWHERE, loss] == pytest.approx(expected[~below & ~above].sum())


def test_types_outside_the_ood_data_are_grey_and_the_others_coloured_by_their_change(full):
    panel = figure_2(full).axes
    dots = [c for a in panel for c in a.collections if len(c.get_offsets()) in (80, 84)]
    coloured, grey = (next(c for c in dots if len(c.get_offsets()) == n) for n in (80, 84))
    assert np.ptp(grey.get_facecolors()[:, :3]) == 0
    changes = full.type_changes.query("model == 'tabnet'")
    rises = (changes["change"] > 0).sum()
    # Teal has more blue than red, brown less.
    colours = coloured.get_facecolors()
    assert (colours[:, 2] > colours[:, 0]).sum() == pytest.approx(rises, abs=3)


def test_significant_types_are_starred_on_the_hierarchy(full):
    starred = {w.removesuffix(" *") for w in words(figure_2(full)) if w.endswith(" *")}
    changes = full.type_changes.query("model == 'tabnet' and significant")
    assert 0 < len(changes) < 80
    assert starred == {style.short(label) for label in changes["label"]}


def test_one_seed_has_no_test():
    shown = words(figure_2(make_tables(**RUNS["one seed, four losses"])))
    assert "one seed: no test" in shown
    assert not [word for word in shown if "Holm" in word or word.endswith(" *")]


def test_panels_without_data_say_why():
    t = make_tables(**RUNS["without OOD data"])
    assert "The run has no OOD data." in words(figure_1(t))
    shown = words(figure_2(t))
    assert shown.count("The run has no OOD data.") == 3
    assert "The run has no OOD cells labelled “T cell”." in shown
    t = make_tables(**RUNS["without a baseline"])
    assert "Nothing to compare with CE: the run's losses are HCE." in words(figure_2(t))


def test_cells_without_the_label_are_said_to_be_missing(small):
    known = small.data_types.set_index("cl_id")["index"]
    t = Tables(**{f.name: getattr(small, f.name) for f in fields(Tables)})
    t.confusion = small.confusion[small.confusion["label"] != known[T_CELL]]
    assert "The run has no OOD cells labelled “T cell”." in words(figure_2(t))


def test_an_unknown_root_is_refused_and_the_possible_ones_named(small):
    with pytest.raises(UserError, match=r"figures\.subgraph is CL:9999999.*CL:0000084 \(T cell\)"):
        figure_2(small, root="CL:9999999")


def test_argmax_is_preferred_and_else_the_first_decoder_taken(full):
    assert set(tables.one_decoder(full.overall)["decoder"]) == {"argmax"}
    others = full.overall[full.overall["decoder"] != "argmax"]
    assert len(tables.one_decoder(others)) == len(others)


@pytest.mark.parametrize("number", [1, 2])
def test_scripts_draw_from_the_tables_of_a_run(small, number, tmp_path):
    inputs = SimpleNamespace()
    for field in fields(Tables):
        path = tmp_path / f"{field.name}.tsv"
        write_tsv(getattr(small, field.name), path)
        setattr(inputs, field.name, path)
    outputs = SimpleNamespace(**{s: tmp_path / f"figure.{s}" for s in ("pdf", "png", "svg")})
    job = SimpleNamespace(
        input=inputs, output=outputs, rule="figure", log=[tmp_path / "log"],
        params=SimpleNamespace(model="linear", subgraph=T_CELL, note=None),
    )  # fmt: skip
    script = Path(__file__).parents[2] / "scripts" / f"plot_figure_{number}.py"
    runpy.run_path(str(script), init_globals={"snakemake": job})
    assert all(Path(path).stat().st_size > 10_000 for path in vars(outputs).values())
