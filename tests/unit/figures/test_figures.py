"""Figures 1 and 2, drawn from made-up tables over the real hierarchy of the 164 types."""

import runpy
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from fake_job import fake_job
from figure_checks import check_layout, texts, words
from figure_tables import RELEASES, RUNS, Tables, make_tables
from hce.errors import UserError
from hce.figures import style, tables
from hce.figures.changes import TypeChanges
from hce.figures.comparison import Comparison
from hce.figures.figure_1 import draw_figure_1
from hce.figures.figure_2 import draw_figure_2
from hce.figures.figure_types import draw_on_hierarchy
from hce.figures.subgraph import ABOVE, ELSEWHERE, shares
from hce.files import write_tsv
from hce.ontology import Hierarchy, read_ontology

ONTOLOGY = Path(__file__).parents[3] / "resources" / "ontology"
T_CELL = "CL:0000084"


def figure_1(t: Tables, note: str | None = None) -> Figure:
    data = t.data_totals, t.data_tissues, t.data_types
    return draw_figure_1(t.overall, *data, t.models, t.agreement, RELEASES, note)


def figure_2(t: Tables, note: str | None = None, root: str = T_CELL) -> Figure:
    model = t.overall["model"].iloc[-1]
    return draw_figure_2(
        t.overall, t.type_changes, t.per_type, t.confusion, t.data_types, model, root, "hce", note
    )


@pytest.fixture(scope="module")
def full() -> Tables:
    return make_tables()


@pytest.fixture(scope="module")
def without_agreement(full) -> Tables:
    return replace(full, agreement=pd.DataFrame())


@pytest.fixture(scope="module")
def small() -> Tables:
    return make_tables(**RUNS["few types"])


@pytest.mark.parametrize("draw", [figure_1, figure_2])
@pytest.mark.parametrize("run", RUNS)
def test_no_text_is_small_clipped_or_overlaps_another(run, draw):
    figure = draw(make_tables(**RUNS[run]), "Simulated data")
    check_layout(figure)


def save_both(t: Tables, folder: Path) -> None:
    for number, draw in enumerate((figure_1, figure_2), start=1):
        paths = [folder / f"figure_{number}.{suffix}" for suffix in ("pdf", "png", "svg")]
        style.save(draw(t), *paths)


@pytest.fixture(scope="module")
def saved(full: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds both figures."""
    folder = tmp_path_factory.mktemp("figures")
    save_both(full, folder)
    return folder


def test_the_same_tables_give_the_same_bytes(full, saved, tmp_path):
    save_both(full, tmp_path)
    names = sorted(path.name for path in saved.iterdir())
    assert names == sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 6
    for name in names:
        assert (saved / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_vector_files_keep_every_type_name_as_text(full, saved, tmp_path):
    page = draw_on_hierarchy(full.overall, full.type_changes, full.data_types, 0, "hce")
    style.save(page, tmp_path / "page.svg")
    root = ElementTree.parse(tmp_path / "page.svg").getroot()
    elements = [element for element in root.iter() if element.tag.endswith("}text")]
    found = {"".join(element.itertext()).removesuffix(" *") for element in elements}
    assert {style.short(label) for label in full.data_types["label"]} <= found
    assert b"/Type3" not in (saved / "figure_2.pdf").read_bytes()


@pytest.mark.parametrize("draw", [figure_1, figure_2])
def test_the_note_is_shown_where_given(small, draw):
    assert "Simulated data" in words(draw(small, "Simulated data"))
    assert "Simulated data" not in words(draw(small))


def panels_of_bars(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_title("left").startswith("mean over")]


def test_bars_are_means_over_seeds_and_dashed_lines_the_id_level(full):
    axes = panels_of_bars(figure_1(full))
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


def test_every_seed_has_a_dot(without_agreement):
    figure = figure_1(without_agreement)
    for axes in panels_of_bars(figure):
        dots = [len(marks.get_offsets()) for marks in axes.collections]
        assert dots == [4, 1, 1] * 6  # the seeds of a bar, and the means of two further scores


@pytest.mark.parametrize(("kind", "position"), [("study_aware", 1), ("exact", 2)])
def test_further_scores_have_a_mark_at_their_mean(without_agreement, kind, position):
    axes = panels_of_bars(figure_1(without_agreement))[2]
    rows = without_agreement.overall.query("decoder == 'argmax' and set == 'ood'")
    means = rows[rows["score"] == f"{kind}_macro_f1"].groupby(["model", "loss"])["value"].mean()
    drawn = [float(marks.get_offsets()[0, 1]) for marks in axes.collections[position::3]]
    np.testing.assert_allclose(drawn, means)


def test_the_agreement_of_two_studies_is_drawn_for_the_new_studies_alone(full, without_agreement):
    *known, new = panels_of_bars(figure_1(full))
    lines = [c for axes in known for c in axes.collections if isinstance(c, LineCollection)]
    assert lines == []
    drawn = [c.get_segments()[0] for c in new.collections if isinstance(c, LineCollection)]
    assert [segment[:, 1].tolist() for segment in drawn] == [[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]]
    assert "agreement of two studies" in words(figure_1(full))
    assert "agreement of two studies" not in words(figure_1(without_agreement))


def test_every_type_with_relations_has_its_name_below_the_hierarchy(full):
    shown = {text.get_text() for text in texts(figure_2(full)) if text.get_rotation() == 270}
    related = full.data_types[full.data_types["connected"]]
    for name in related["label"].map(style.short):
        assert any(name == word or name.startswith(word.rstrip("…")) for word in shown), name


def test_dots_of_runs_are_the_changes_of_seeds_and_long_names_are_whole(full):
    changes = full.type_changes.query("model == 'tabnet' and score == 'credited_f1'")
    comparison = Comparison.of(full.overall, full.type_changes, "hce")
    found = TypeChanges.of(comparison, full.type_changes, full.per_type, "tabnet")
    assert len(found.runs) == 4 * 80
    means = found.runs.groupby("cl_id")["change"].mean()
    np.testing.assert_allclose(means[changes["cl_id"]], changes["change"])
    shown = words(figure_2(full))
    longest = max(changes["label"].map(style.short), key=style.text_width)
    lines = style.wrap(longest, 48.5)
    assert len(lines) == 2
    assert set(lines) <= set(shown)
    assert " ".join(lines) == longest


def test_all_models_have_one_scale_of_colours():
    t = make_tables()
    t.type_changes.loc[t.type_changes["model"] == "linear", "change"] *= 1.5
    pages = [draw_on_hierarchy(t.overall, t.type_changes, t.data_types, i, "hce") for i in range(3)]
    figures = [*pages, figure_2(t)]
    limits = {
        tuple(axes.get_xlim()) for f in figures for axes in f.axes if "outline" in axes.spines
    }
    assert len(limits) == 1
    largest = t.type_changes.query("score == 'credited_f1'")["change"].abs().max()
    assert largest <= max(max(limits)) < largest + 0.1


def test_every_model_has_its_layers_and_its_training(full):
    shown = words(figure_1(full))
    tabnet = ["gated layers", "3 shared, 5 own,", "width 128 + 64", "mask of genes", "linear layer"]
    mlp = ["8 × hidden layer", "width 128, batch norm,", "SiLU, dropout 0.1", "affine layer"]
    assert {*tabnet, *mlp} <= set(shown)
    assert [shown.count(word) for word in ("19,331", "12,345,678", "0.0005", "× 0.9")] == [3] * 4
    # What a checkpoint does not record has a dash.
    assert [shown.count(word) for word in ("0.05", "–", "published")] == [2, 1, 1]


def test_a_figure_of_more_models_is_higher_and_of_long_names_no_wider():
    one, four = make_tables(models=("linear",)), make_tables()
    own = one.models.assign(model="a_model_of_another_package", layers=f"Net ({'package.' * 9}net)")
    four.models = pd.concat([four.models, own])
    low, high = figure_1(one), figure_1(four)
    assert high.get_figheight() > low.get_figheight() + 1
    check_layout(high)


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
    changes = full.type_changes.query("model == 'tabnet' and score == 'credited_f1'")
    rises = (changes["change"] > 0).sum()
    # Teal has more blue than red, brown less.
    colours = coloured.get_facecolors()
    assert (colours[:, 2] > colours[:, 0]).sum() == pytest.approx(rises, abs=3)


def test_significant_types_are_starred_on_the_hierarchy(full):
    page = draw_on_hierarchy(full.overall, full.type_changes, full.data_types, 2, "hce")
    starred = {w.removesuffix(" *") for w in words(page) if w.endswith(" *")}
    changes = full.type_changes.query(
        "model == 'tabnet' and significant and score == 'credited_f1'"
    )
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
    inputs = {}
    for field in fields(Tables):
        inputs[field.name] = tmp_path / f"{field.name}.tsv"
        write_tsv(getattr(small, field.name), inputs[field.name])
    name = f"figure_{number}"
    outputs = {f"{name}_{form}": tmp_path / f"{name}.{form}" for form in ("pdf", "png", "svg")}
    options = {"model": "linear", "root": T_CELL, "compared": "hce", "releases": RELEASES}
    job = fake_job(
        "figure", tmp_path / "log", input=inputs, output=outputs,
        params=SimpleNamespace(figures=[name], options=options, note=None),
    )  # fmt: skip
    script = Path(__file__).parents[3] / "scripts" / "plot_figures.py"
    runpy.run_path(str(script), init_globals={"snakemake": job})
    assert all(Path(path).stat().st_size > 10_000 for path in outputs.values())
