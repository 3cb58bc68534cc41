"""Captions say what they mean in words, and docutils has nothing to say about them."""

import copy
import re

import docutils.core
import pytest
import yaml
from jinja2 import UndefinedError

from conftest import REPOSITORY
from hce.config import read_schema, resolve
from hce.report.captions import render_caption
from hce.report.words import caption_words

CAPTIONS = sorted((REPOSITORY / "workflow/report").glob("*.rst"))
TYPES = REPOSITORY / "resources/ontology/cell_types_164.tsv"
MEASURES = {"report_level": 1, "halt_level": 1}  # even an information stops it


# Rule → the captions of its figures.
CAPTIONS_OF = {
    "plot_figure_1": ["figure_1"],
    "plot_figure_2": ["figure_2"],
    "plot_supplement": [f"figure_s{n}" for n in range(1, 11)],
    "plot_diagnostics": [
        *("factorial", "frontier", "decomposition", "learning_curves", "calibration", "releases"),
    ],
    "plot_audit": ["leakage"],
    "plot_truth": ["truth"],
    "plot_coverage": ["coverage"],
}


@pytest.fixture(scope="module")
def config():
    schema = read_schema(REPOSITORY / "workflow/schemas/config.schema.yaml")
    return resolve(yaml.safe_load((REPOSITORY / "config/config.yaml").read_text()), schema)


def variant(config, **changes):
    """The config with other values of single keys, `section__key`."""
    made = copy.deepcopy(config)
    for path, value in changes.items():
        section, key = path.split("__")
        made[section][key] = value
    return made


def render(text, config):
    return render_caption(text, config, caption_words(config, TYPES))


def to_html(text):
    parts = docutils.core.publish_parts(text, writer="html", settings_overrides=MEASURES)
    return parts["body"]


@pytest.mark.parametrize("caption", CAPTIONS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "changes",
    [{}, {"data__source": "simulation", "fits__seeds": [0], "data__new_since": "previous"}],
    ids=["paper", "simulation"],
)
def test_docutils_has_nothing_to_say_about_a_caption(caption, changes, config):
    html = to_html(render(caption.read_text(), variant(config, **changes)))
    assert "<p>" in html
    assert "system-message" not in html


def test_a_bar_around_a_word_would_be_noticed():
    with pytest.raises(docutils.utils.SystemMessage):
        to_html("A change needs |t| above 15.1.")


def test_captions_have_names_in_place_of_ids(config):
    text = render((REPOSITORY / "workflow/report/figure_2.rst").read_text(), config)
    assert "labelled T cell" in text
    assert "model\nMLP" in text
    assert not {"CL:0000084", "mlp"} & set(text.replace(".", " ").replace(",", " ").split())


def test_a_type_that_is_not_in_the_table_keeps_its_id(config):
    words = caption_words(variant(config, figures__subgraph="CL:9999999"), TYPES)
    assert words["subgraph"] == "CL:9999999"


def test_one_seed_is_said_to_test_nothing(config):
    assert "nothing is tested" in caption_words(variant(config, fits__seeds=[3]), TYPES)["tested"]
    assert caption_words(config, TYPES)["tested"].startswith("The 4 seeds")


def test_every_rule_passes_the_words_of_its_captions():
    rules = "\n".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    passed = dict(re.findall(r"rule (\w+):(?:(?!\brule ).)*?words=words\((.*?)\)", rules, re.S))
    for rule, names in CAPTIONS_OF.items():
        texts = [(REPOSITORY / f"workflow/report/{name}.rst").read_text() for name in names]
        used = set(re.findall(r"words\.(\w+)", " ".join(texts))) - {"words"}
        assert set(re.findall(r"\w+", passed[rule])) == used, rule
    with_words = {path.stem for path in CAPTIONS if "words." in path.read_text()}
    assert with_words == {name for names in CAPTIONS_OF.values() for name in names}


def test_a_word_that_no_caption_knows_is_an_error(config):
    with pytest.raises(UndefinedError, match="modle"):
        render("Model {{ snakemake.params.words.modle }}.", config)
