"""The supplementary figures show the tables, legibly, and say what a run lacks."""

import runpy
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from fake_job import Files, fake_job
from figure_checks import check_layout, words
from figure_tables import RELEASES, RUNS, Tables, make_tables
from hce.errors import UserError
from hce.figures import style
from hce.figures.catalogue import FIGURES, draw_figure
from hce.figures.comparison import Comparison
from hce.files import read_tsv, write_tsv

REPOSITORY = Path(__file__).parents[3]
OTHERS = ("figure_1", "figure_2", "leakage", "coverage", "truth")  # have test files of their own
SUPPLEMENTS = [name for name in FIGURES if name not in OTHERS]
CHANGES = [name for name in SUPPLEMENTS if name.startswith("figure_s")]


def draw(name: str, t: Tables, note: str | None = None) -> Figure:
    tables = {field.name: getattr(t, field.name) for field in fields(Tables)}
    options = {"model": t.overall["model"].iloc[-1], "compared": "hce", "releases": RELEASES}
    return draw_figure(name, tables, options, note)


@pytest.fixture(scope="module", params=RUNS)
def run(request) -> Tables:
    return make_tables(**RUNS[request.param])


@pytest.fixture(scope="module")
def full() -> Tables:
    return make_tables()


@pytest.fixture(scope="module")
def one_seed() -> Tables:
    return make_tables(**RUNS["one seed, four losses"])


@pytest.mark.parametrize("name", SUPPLEMENTS)
def test_no_text_is_small_clipped_or_overlaps_another(name, run):
    figure = draw(name, run, "Simulated data")
    check_layout(figure)
    assert "Simulated data" in words(figure)


@pytest.mark.parametrize("name", SUPPLEMENTS)
def test_every_figure_has_a_caption_and_its_place_in_the_workflow(name):
    caption = (REPOSITORY / "workflow" / "report" / f"{name}.rst").read_text()
    assert "\n**" in f"\n{caption}"  # a title in bold
    rules = (REPOSITORY / "workflow" / "rules" / "figures.smk").read_text()
    assert name.startswith("figure_s") or f'"{name}"' in rules


@pytest.mark.parametrize("name", CHANGES)
def test_one_seed_has_no_test(name, one_seed):
    shown = words(draw(name, one_seed))
    if name in ("figure_s3", "figure_s4", "figure_s7"):  # the run has one model
        assert any(word.startswith("The run has no") for word in shown)
    else:
        assert any("one seed" in word and "no test" in word for word in shown)
    assert not [word for word in shown if "Holm" in word or "significant" in word]


@pytest.mark.parametrize("name", [*CHANGES, "factorial"])
def test_a_run_without_ood_data_says_so(name):
    t = make_tables(ood=False)
    assert any("The run has no OOD data." in word for word in words(draw(name, t)))


@pytest.mark.parametrize("name", ["figure_s2", "figure_s5", "figure_s8"])
def test_a_run_without_the_baseline_says_what_it_has(name):
    t = make_tables(**RUNS["without a baseline"])
    expected = "Nothing to compare with CE: the run's losses are HCE."
    assert expected in words(draw(name, t))


def test_a_model_that_the_run_lacks_is_named(one_seed):
    for name, model in (("figure_s3", "MLP"), ("figure_s4", "TabNet")):
        expected = f"The run has no fits of {model}, the model of this figure in the paper."
        assert expected in words(draw(name, one_seed))


def test_the_figures_show_the_loss_that_the_config_compares():
    t = make_tables(losses=("ce", "hce", "mixed"))
    tables = {field.name: getattr(t, field.name) for field in fields(Tables)}
    options = {"model": "mlp", "compared": "mixed"}
    minus = "\N{MINUS SIGN}"
    for name in ("figure_s2", "figure_s5", "figure_s7", "figure_s8"):
        shown = words(draw_figure(name, tables, options))
        compared = style.name("mixed")
        assert any(f"{compared} {minus} CE" in word for word in shown), name
        assert not any(f"HCE {minus} CE" in word for word in shown if compared not in word), name


def test_other_models_stand_in_for_published_ones_that_a_run_lacks():
    def models(*names: str) -> list[str | None]:
        comparison = Comparison(names, ("ce", "hce"), "ce", "hce", True)
        return [comparison.model_at(position) for position in range(3)]

    assert models("tabnet", "linear", "mlp") == ["linear", "mlp", "tabnet"]
    assert models("mlp", "deep") == ["deep", "mlp", None]
    assert models("a", "b", "c", "d") == ["a", "b", "c"]


def panels(figure: Figure, title: str) -> list:
    """Axes whose title begins with the words."""
    return [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]


def test_studies_stand_at_their_scores_and_are_filled_where_significant(full):
    figure = draw("figure_s1", full)
    for model in ("linear", "mlp", "tabnet"):
        rows = full.stratum_changes.query("kind == 'study' and model == @model")
        (axes,) = panels(figure, style.name(model))
        before, after = axes.collections[-2:]
        np.testing.assert_allclose(np.sort(before.get_offsets()[:, 0]), np.sort(rows.baseline_f1))
        np.testing.assert_allclose(np.sort(after.get_offsets()[:, 0]), np.sort(rows.f1))
        filled = after.get_facecolors()[:, 3] > 0
        significant = rows.set_index("f1")["significant"]
        at = pd.Series(filled, np.round(after.get_offsets()[:, 0].astype(float), 9))
        expected = pd.Series(significant.to_numpy(), np.round(significant.index, 9))
        assert 0 < expected.sum() < len(expected)
        pd.testing.assert_series_equal(at.sort_index(), expected.sort_index(), check_names=False)


def test_the_change_over_all_studies_has_its_interval_over_studies(full):
    assert (
        panels(draw("figure_s1", full), "MLP")[0]
        .get_title(loc="left")
        .endswith("significant\n+0.12 (+0.08 to +0.17)")
    )


def test_a_stratum_of_one_type_says_that_it_is_one(full):
    shown = words(draw("figure_s1", full))
    sizes = full.per_stratum.query("kind == 'study'").drop_duplicates("stratum")
    assert shown.count("1") >= (sizes["types"] == 1).sum() > 0
    assert any("cells, 1 type" in word for word in words(draw("figure_s9", full)))


def test_strata_beyond_the_list_are_counted(full):
    assert "8 smaller tissues are not shown" in words(draw("figure_s10", full))


@pytest.mark.parametrize("name", ["figure_s1", "figure_s9", "figure_s10"])
def test_only_diseases_and_tissues_that_training_lacks_are_marked_as_new(full, name):
    figure = draw(name, full)
    kind = {"figure_s1": "study", "figure_s9": "disease", "figure_s10": "tissue"}[name]
    strata = full.per_stratum.query("kind == @kind").drop_duplicates("stratum")
    expected = set() if kind == "study" else set(strata.query("not in_training")["stratum"])
    rows: dict[float, list[str]] = {}
    for text in figure.texts:
        rows.setdefault(text.get_position()[1], []).append(text.get_text())
    found = {}
    for row in rows.values():
        for name in strata["stratum"]:
            # Long names are cut.
            if any(w == name or (w.endswith("…") and name.startswith(w[:-1])) for w in row):
                found[name] = "new" in row
    assert {name for name, new in found.items() if new} == expected & set(found)
    assert len(found) == (0 if kind == "study" else min(len(strata), 40))
    assert ("new" in words(figure)) == (kind != "study")


def test_a_disease_that_training_has_of_all_cells_leaves_the_other_panel_in_words(full):
    t = Tables(**{f.name: getattr(full, f.name) for f in fields(Tables)})
    t.per_stratum = full.per_stratum[full.per_stratum["stratum"] != "unseen"]
    assert "No OOD cells have a\ndisease not in training." in words(draw("figure_s9", t))


@pytest.mark.parametrize(
    ("name", "column", "sizes"),
    [("figure_s5", "kind", {31, 49}), ("figure_s6", "connected", {66, 14})],
)
def test_kinds_hold_their_types_and_means(full, name, column, sizes):
    figure = draw(name, full)
    found = {word.split("n = ")[1] for word in words(figure) if "\nn = " in word}
    assert found == {str(size) for size in sizes}
    rows = full.type_changes.merge(full.data_types[["cl_id", column]], on="cl_id")
    means = rows.groupby(["model", column])["f1"].mean()
    shown = [text.get_text() for text in figure.axes[0].findobj(Text)]
    for mean in means:
        assert f"{mean:.2f}" in shown


def test_correlations_are_those_of_the_ranks(full):
    rows = full.type_changes.query("model == 'linear' and score == 'credited_f1'").merge(
        full.data_types, on="cl_id"
    )
    shown = words(draw("figure_s8", full))
    for column in ("train_cells", "train_studies", "train_tissues", "train_assays"):
        rho = np.corrcoef(rows[column].rank(), rows["change"].rank())[0, 1]
        assert f"Spearman's rho = {style.signed(rho, 2)}, n = 80" in shown


def test_shares_of_the_gain_are_those_of_the_table(full):
    rows = full.factorial.query("set == 'ood' and kind == 'all'")
    shown = words(draw("factorial", full))
    for share in rows["share_of_gain"]:
        assert ("none" if share < 0 else f"{100 * share:.0f}") in shown


def test_bins_of_few_cells_are_left_out_of_the_calibration():
    t = make_tables(**RUNS["few types"])
    first = t.calibration["bin"] == 3
    t.calibration.loc[first, "cells"] = 5  # of each of the two seeds
    drawn = draw("calibration", t).axes[0].lines[1].get_xdata()
    assert len(drawn) == 8  # of ten bins, one of which has no cells
    assert 0.35 not in drawn.round(2)


def test_two_kinds_that_divide_the_cells_alike_are_drawn_once(full):
    same = full.per_stratum[full.per_stratum["kind"] == "tissue_seen"]
    others = full.per_stratum[full.per_stratum["kind"] != "tissue_general_seen"]
    tables = {field.name: getattr(full, field.name) for field in fields(Tables)}
    tables["per_stratum"] = pd.concat([others, same.assign(kind="tissue_general_seen"), same])
    figure = draw_figure("figure_s10", tables, {"compared": "hce"})
    assert [len(panels(f, "tissue")) for f in (figure, draw("figure_s10", full))] == [2, 4]


def test_counts_are_drawn_over_their_own_range(full):
    figure = draw("figure_s8", full)
    axes = next(a for a in figure.axes if a.get_xlabel() == "training technologies")
    low, high = axes.get_xlim()
    counts = full.data_types["train_assays"]
    assert counts.min() - 1 < low < counts.min()
    assert counts.max() < high < counts.max() + 1


def test_a_share_without_a_gain_is_a_dash(full):
    t = Tables(**{f.name: getattr(full, f.name) for f in fields(Tables)})
    t.factorial = full.factorial.assign(
        share_of_gain=full.factorial["share_of_gain"].where(full.factorial["loss"] != "ce")
    )
    assert words(draw("factorial", t)).count("–") == 12


def test_learning_curves_mark_the_epoch_that_was_kept(full):
    credited, study_aware = panels(draw("learning_curves", full), "Linear")
    fits = full.history.query("model == 'linear'").groupby(["loss", "seed"])
    best = sorted(rows.loc[rows["kept"].idxmax(), "epoch"] + 1 for _, rows in fits)
    for axes in (credited, study_aware):
        assert sorted(dot.get_offsets()[0, 0] for dot in axes.collections) == best


def test_a_run_that_trained_nothing_has_no_learning_curves(full):
    t = Tables(**{f.name: getattr(full, f.name) for f in fields(Tables)})
    t.history = full.history.iloc[:0]
    expected = "The run has no learning curves, because it trained nothing."
    assert expected in words(draw("learning_curves", t))


def test_calibration_weighs_seeds_by_their_cells(full):
    t = Tables(**{f.name: getattr(full, f.name) for f in fields(Tables)})
    one_bin = full.calibration.query("bin == 5").copy()
    one_bin["cells"] = one_bin["seed"].map({0: 300, 1: 100, 2: 0, 3: 0})
    one_bin["accuracy"] = one_bin["seed"].map({0: 0.8, 1: 0.4, 2: 0.1, 3: 0.1})
    t.calibration = one_bin
    axes = panels(draw("calibration", t), "MLP")
    assert len(axes) == 3
    for panel in axes:
        for line in panel.lines[1:]:  # the first is the diagonal
            np.testing.assert_allclose(line.get_ydata(), [0.7])


@pytest.mark.parametrize("position", range(3))
def test_all_scores_of_later_releases_are_joined_by_means_over_seeds(full, position):
    figure = draw("releases", full)
    first = next(i for i, axes in enumerate(figure.axes) if axes in panels(figure, "TabNet"))
    axes = figure.axes[first + 3 * position]  # three models a score
    score = ("credited", "study_aware", "exact")[position] + "_macro_f1"
    rows = full.overall.query(f"model == 'tabnet' and decoder == 'argmax' and score == {score!r}")
    means = rows.groupby(["loss", "set"])["value"].mean()
    for line, loss in zip(axes.lines, ("ce", "hce"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), [means[loss, name] for name in RELEASES])


@pytest.mark.parametrize(("position", "ceiling"), [(0, 0.9), (1, 0.8), (2, 0.7)])
def test_the_agreement_of_studies_is_a_dotted_line_where_it_was_measured(full, position, ceiling):
    figure = draw("releases", full)
    first = next(i for i, axes in enumerate(figure.axes) if axes in panels(figure, "TabNet"))
    (line,) = [
        collection
        for collection in figure.axes[first + 3 * position].collections
        if isinstance(collection, LineCollection)
    ]
    np.testing.assert_allclose(line.get_segments(), [[[0.65, ceiling], [1.35, ceiling]]])
    assert "agreement of two studies" in words(figure)
    t = Tables(**{f.name: getattr(full, f.name) for f in fields(Tables)})
    t.agreement = pd.DataFrame()
    assert "agreement of two studies" not in words(draw("releases", t))


def test_later_releases_are_drawn_with_studies_types_and_cells_of_other_types(full):
    figure = draw("releases", full)
    totals = full.data_totals.set_index("set")
    for quantity, wanted in (
        ("studies", totals.loc[list(RELEASES), "studies"].tolist()),
        ("types", totals.loc[list(RELEASES), "types"].tolist()),
        ("cells outside of the types, %", [0, 12.5, 12.5]),
    ):
        (axes,) = panels(figure, quantity)
        assert [bar.get_height() for bar in axes.patches] == wanted
        names = [tick.get_text() for tick in axes.get_xticklabels()]
        assert names == ["ID test\n2023-05-15", "2023-12-15", "2024-07-01"]
    assert [text.get_text() for text in axes.texts] == ["12.5", "12.5"]


def test_the_script_draws_from_the_tables_of_a_run(tmp_path):
    small = make_tables(**RUNS["few types"])
    inputs = {}
    for field in fields(Tables):
        inputs[field.name] = tmp_path / f"{field.name}.tsv"
        write_tsv(getattr(small, field.name), inputs[field.name])
    outputs = {f"figure_s5_{suffix}": tmp_path / f"s5.{suffix}" for suffix in ("pdf", "png", "svg")}
    job = fake_job(
        "plot_supplement", tmp_path / "log", input=inputs, output=outputs,
        params=SimpleNamespace(figures=["figure_s5"], options={"compared": "hce"}, note=None),
    )  # fmt: skip
    script = REPOSITORY / "scripts" / "plot_figures.py"
    runpy.run_path(str(script), init_globals={"snakemake": job})
    assert all(path.stat().st_size > 5_000 for path in outputs.values())


@pytest.fixture
def subgraph_job(hierarchy, tmp_path) -> SimpleNamespace:
    """The job of rule choose_subgraph over the 164 types."""
    hierarchy.save(tmp_path)
    return fake_job(
        "choose_subgraph", tmp_path / "log",
        input=Files(hierarchy=tmp_path / "hierarchy.parquet"),
        output=[tmp_path / "subgraph.tsv"],
        params=SimpleNamespace(subgraph="CL:0000236"),
    )  # fmt: skip


def test_the_subgraph_is_the_type_and_its_descendants(subgraph_job, hierarchy):
    script = str(REPOSITORY / "scripts" / "choose_subgraph.py")
    runpy.run_path(script, init_globals={"snakemake": subgraph_job})
    below = hierarchy.types[hierarchy.reachability[hierarchy.labels.index("B cell")]]
    assert sorted(read_tsv(subgraph_job.output[0])["cl_id"]) == sorted(below["cl_id"])


def test_a_wrong_subgraph_is_said_before_anything_is_trained(subgraph_job):
    subgraph_job.params.subgraph = "CL:9999999"
    script = str(REPOSITORY / "scripts" / "choose_subgraph.py")
    with pytest.raises((UserError, SystemExit)):
        runpy.run_path(script, init_globals={"snakemake": subgraph_job})
    assert not Path(subgraph_job.output[0]).exists()
    log = Path(subgraph_job.log[0]).read_text()
    assert "figures.subgraph is CL:9999999" in log
