"""docs/config.md and the config schema say the same."""

import copy

import pytest
import yaml

from config_reference import REFERENCE, SCHEMA, reference
from hce.config import read_schema
from hce.errors import UserError

SMALL = yaml.safe_load("""
description: A small configuration.
$defs:
  share: {type: number, exclusiveMinimum: 0, maximum: 0.5, default: 0.1, description: A share.}
properties:
  run: {type: string, pattern: "^(a|b)+$", default: paper, description: Run of <dir>/`<run>`.}
  part:
    type: object
    default: {}
    description: A part.
    properties:
      val: {$ref: "#/$defs/share"}
      test: {$ref: "#/$defs/share", default: 0.2}
      size: {anyOf: [{type: integer, minimum: 1}, {enum: [auto, null]}], default: auto,
             description: A size | a word.}
  new:
    type: array
    minItems: 1
    default: [{release: x}]
    description: Releases.
    items:
      type: object
      required: [release]
      properties: {release: {type: string, description: A release.}}
  models:
    type: object
    description: The catalogue.
    additionalProperties:
      type: object
      description: A model.
      properties: {class: {type: [string, "null"], default: null, description: A class.}}
  decoders:
    type: array
    uniqueItems: true
    items: {enum: [argmax, sum]}
    default: [argmax]
    description: Decoders.
""")


def rows(text: str) -> dict[str, list[str]]:
    """Key → the other cells of its row."""
    cells = [
        [cell.strip() for cell in line.replace("\\|", "¦").strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_the_reference_in_the_docs_is_that_of_the_schema():
    written = REFERENCE.read_text(encoding="utf-8")
    assert written == reference(read_schema(SCHEMA)), "docs/config.md is out of date: run make docs"


def test_every_default_of_the_schema_stands_in_the_reference():
    table = rows(reference(read_schema(SCHEMA)))
    assert table["training.batch_size"][1] == "`2048`"
    assert table["data.source"][2] == "`census`, `h5ad`, `sctab`, `simulation`, `published`"
    assert "models.<name>.optimizer.lr" in table


@pytest.mark.parametrize(
    ("key", "cells"),
    [
        ("run", ["string", "`paper`", "matches `^(a¦b)+$`", "Run of &lt;dir>/`<run>`."]),
        ("part", ["mapping", "", "", "A part."]),
        ("part.val", ["number", "`0.1`", "> 0, ≤ 0.5", "A share."]),
        ("part.test", ["number", "`0.2`", "> 0, ≤ 0.5", "A share."]),
        (
            "part.size",
            ["integer or string or null", "`auto`", "≥ 1, `auto`, `null`", "A size ¦ a word."],
        ),
        ("new", ["list of mapping", '`[{"release": "x"}]`', "at least 1", "Releases."]),
        ("new[].release", ["string", "required", "", "A release."]),
        ("models.<name>", ["mapping", "", "", "A model."]),
        ("models.<name>.class", ["string or null", "`null`", "", "A class."]),
        (
            "decoders",
            ["list of string", '`["argmax"]`', "all different, each `argmax`, `sum`", "Decoders."],
        ),
    ],
)
def test_a_key_has_its_row(key, cells):
    assert rows(reference(SMALL))[key] == cells


def test_every_key_at_any_depth_has_one_row():
    found = [line.split("`")[1] for line in reference(SMALL).splitlines() if line.startswith("| `")]
    part = {"part", "part.val", "part.test", "part.size"}
    models = {"models", "models.<name>", "models.<name>.class"}
    assert len(found) == len(set(found))
    assert set(found) == {"run", "new", "new[].release", "decoders"} | part | models


def test_a_key_without_description_is_refused_by_name():
    schema = copy.deepcopy(SMALL)
    del schema["properties"]["models"]["additionalProperties"]["description"]
    with pytest.raises(UserError, match=r"models\.<name> has no description"):
        reference(schema)
