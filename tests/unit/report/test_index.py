"""The page of a run: what it says is in the tables, and it works in a browser, offline."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hce.report.forest import forest
from hce.report.index_page import build_index
from hce.report.thumbnails import WIDTH, thumbnail
from summary_tables import make_tables

CAPTION = "**What it <shows>.**\n**a**, The first panel; ``code``."
LABELS = ("T cell", "B <b>cell</b></script>", 'a "type"', "type 3", "a & b")


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "figure_1.png"
    Image.new("RGB", (1000, 500), "white").save(path)
    titles = {"figure_1": "Figure 1", "leakage": "Leakage"}
    return [
        {"name": name, "title": title, "caption": CAPTION, "png": path}
        for name, title in titles.items()
    ]


def page_tables(losses=("ce", "hce"), seeds=4, sets=("val", "id", "ood"), studies=3):
    """The tables of a small run, with names that hold markup."""
    tables = make_tables(losses, seeds, sets)
    names = dict(enumerate(LABELS))
    changes = tables["type_changes"].assign(label=lambda t: t["index"].map(names))
    types = pd.DataFrame({"index": range(5), "cl_id": [f"CL:{i}" for i in range(5)]})
    types = types.assign(label=LABELS, train_cells=100)
    for name in sets:
        types[f"cells_{name}"] = 10
    strata = pd.DataFrame(
        [
            ("mlp", loss, seed, name, "argmax", "study", f"s{i}", 50, 5 - i, 0.5 + 0.1 * i, 0.4)
            for loss in losses
            for seed in range(seeds)
            for name in sets
            for i in range(studies)
        ],
        columns=[
            *("model", "loss", "seed", "set", "decoder", "kind", "stratum", "cells", "types"),
            *("credited_macro_f1", "study_aware_macro_f1"),
        ],
    )
    audit = pd.DataFrame({"study": ["s0", "s1"], "title": ["First <study>", "Second & last"]})
    return tables | {
        "type_changes": changes,
        "data_types": types,
        "per_stratum": strata,
        "audit_studies": audit,
    }


def build(tables, figures, note="Simulated data", model="mlp"):
    return build_index(tables, figures, "demo", note, model, 0.05)


@pytest.fixture
def visit(open_page, figures, tmp_path):
    def go(tables, address="", **options):
        file = tmp_path / "index.html"
        file.write_text(build(tables, figures), encoding="utf-8")
        return open_page(file, address, **options)

    return go


def column(page, anchor, position):
    return page.locator(f"#{anchor}-table tbody tr td:nth-child({position})").all_inner_texts()


def test_the_page_asks_for_no_other_file_and_links_to_those_of_the_run(figures):
    page = build(page_tables(), figures)
    sources = re.findall(r"""(?:src)=["']([^"']*)""", page)
    assert all(source.startswith("data:") for source in sources)
    assert not re.findall(r"url\(|@import|fetch\(|https?://(?!www.w3.org)", page)
    links = set(re.findall(r'href="([^"#]+)"', page)) - {"data:,"}
    assert links == {
        *("explorer.html", "summary.md", "provenance.md", "report.html"),
        *(f"figures/{name}.{form}" for name in ("figure_1", "leakage") for form in FORMS),
    }


FORMS = ("svg", "pdf", "png")


def test_the_headline_of_the_summary_is_on_top(visit):
    page = visit(page_tables())
    said = page.locator("dl.headline dd").all_inner_texts()
    assert len(said) == 5
    assert "+16.2 is decoding" in said[3]
    assert page.locator(".note").inner_text() == "Simulated data"


def test_figures_are_in_order_with_their_captions(visit):
    page = visit(page_tables())
    assert page.locator(".card h3").all_inner_texts() == [
        "Figure 1. What it <shows>",
        "Leakage. What it <shows>",
    ]
    page.locator(".card summary").first.click()
    assert "The first panel; code." in page.locator(".card details").first.inner_text()
    assert page.locator(".card > a").first.get_attribute("href") == "figures/figure_1.svg"


def test_types_begin_with_the_worst_and_are_sorted_by_a_click(visit):
    tables = page_tables()
    page = visit(tables)
    rows = tables["type_changes"].query("set == 'ood' and score == 'credited_f1'")
    rows = rows.sort_values("change")
    assert column(page, "types", 1) == rows["label"].tolist()
    first = column(page, "types", 6)[0].replace("\N{MINUS SIGN}", "-")
    assert first.startswith(f"{100 * rows['change'].iloc[0]:+.1f}")
    page.get_by_role("button", name="Change, points").click()
    assert column(page, "types", 1) == rows["label"].tolist()[::-1]
    page.get_by_role("button", name="Type", exact=False).first.click()
    assert column(page, "types", 1) == sorted(LABELS, key=str.lower)
    link = page.locator("#types-table a", has_text="T cell").get_attribute("href")
    assert link == "explorer.html#CL:0"


def test_studies_begin_with_the_hardest_and_have_their_titles(visit):
    page = visit(page_tables())
    assert column(page, "studies", 1) == ["First <study>", "Second & last", "s2"]
    assert column(page, "studies", 4) == ["50.0", "60.0", "70.0"]


def test_numbers_that_are_not_known_are_sorted_last_from_the_top(visit):
    tables = page_tables()
    one = tables["factorial"]["loss"] == "ce"
    tables["factorial"] = tables["factorial"].assign(
        credited_macro_f1=tables["factorial"]["credited_macro_f1"].mask(one)
    )
    page = visit(tables)
    button = page.locator("#scores-table th button", has_text="Credited")
    button.click()
    button.click()
    assert column(page, "scores", 5)[-1] == "-"
    assert column(page, "scores", 5)[0] == "50.0 ± 1.0"


def test_a_long_table_is_filtered_by_words(visit):
    tables = page_tables()
    tables["factorial"] = pd.concat([tables["factorial"]] * 8)
    page = visit(tables)
    page.get_by_label("Show rows with").fill("OOD ancestor")
    shown = page.locator("#scores-table tbody tr:visible")
    assert shown.count() == 16
    assert set(column(page, "scores", 4)) == {"argmax", "ancestor sum"}


LACKING = {
    "one loss": (dict(losses=("ce",)), "does not have two losses"),
    "one seed": (dict(seeds=1), "trained with one seed"),
    "no new studies": (dict(sets=("val", "id")), "no new studies"),
    "one study": (dict(studies=1), "First <study>"),
}


@pytest.mark.parametrize("lacking", LACKING)
def test_a_run_that_lacks_something_has_its_page_and_says_so(visit, lacking):
    options, said = LACKING[lacking]
    page = visit(page_tables(**options))
    assert said in page.locator("main").inner_text()
    assert not re.search(r"\b(nan|None|inf)\b", page.locator("main").inner_text())


def test_intervals_that_are_not_known_are_left_out(visit):
    tables = page_tables()
    tables["bootstrap"] = tables["bootstrap"].assign(ci_low=np.nan, ci_high=np.nan)
    page = visit(tables)
    assert page.locator(".forest circle").count() == 1
    assert page.locator(".forest .range").count() == 0


def test_markup_in_names_is_shown_as_text(visit):
    page = visit(page_tables())
    assert set(column(page, "types", 1)) == set(LABELS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_telephone_nothing_sticks_out(visit, scheme):
    page = visit(page_tables(), viewport={"width": 375, "height": 812}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_a_reader_from_the_page(visit, barriers, scheme):
    assert barriers(visit(page_tables(), color_scheme=scheme)) == []


def test_600_types_have_their_rows(visit):
    tables = page_tables()
    one = tables["type_changes"].query("index == 0")
    many = [one.assign(index=i, label=f"type {i}", cl_id=f"CL:{i}") for i in range(600)]
    tables["type_changes"] = pd.concat(many)
    page = visit(tables)
    assert page.locator("#types-table tbody tr").count() == 600


def test_a_caption_with_an_error_stops_the_page(figures):
    broken = [{**figures[0], "caption": "**Title.**\nA change needs |t| above 15."}]
    with pytest.raises(Exception, match="substitution"):
        build(page_tables(), broken)


def test_a_thumbnail_is_a_small_picture_of_the_same_shape(figures):
    address, width, height = thumbnail(figures[0]["png"])
    assert address.startswith("data:image/webp;base64,")
    assert (width, height) == (WIDTH, WIDTH // 2)


def test_points_and_intervals_stand_where_the_scale_says():
    gains = page_tables()["bootstrap"].query("set == 'ood'")
    drawn = forest(gains, 0.05)
    (x0, _), (x1, last) = drawn["ticks"][0], drawn["ticks"][-1]
    assert (drawn["zero"], x0) == (0, 0)
    row = drawn["rows"][0]
    for at, value in ((row["x"], 13.0), (row["low"], 8.0), (row["high"], 17.1)):
        assert at / x1 == pytest.approx(value / float(last), abs=1e-3)
    assert forest(gains.iloc[:0], 0.05) is None


def test_the_page_is_about_the_loss_that_the_decomposition_is_about(visit):
    tables = page_tables(losses=("ce", "hce", "mix"))
    tables["decomposition"] = tables["decomposition"].assign(loss="mix")
    page = visit(tables)
    assert "mix in place of CE" in page.locator("dl.headline dd").nth(2).inner_text()
    assert page.locator("#types-table th").nth(4).inner_text() == "mix, %"
    assert page.locator("#types-table tbody tr").count() == len(LABELS)
    assert page.locator("#studies-table th").nth(4).inner_text() == "Credited, mix, %"
    assert "mix less CE" in page.locator(".forest figcaption").inner_text()
