"""Writes docs/config.md from workflow/schemas/config.schema.yaml (`make docs`)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hce.config import read_schema
from hce.errors import UserError
from hce.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"
REFERENCE = ROOT / "docs" / "config.md"

Schema = Mapping[str, Any]

HEAD = """\
<!-- Written by `make docs` from workflow/schemas/config.schema.yaml; edit that file instead. -->
# Configuration

{description}

`<name>` stands for a name of your choice, `[]` for each entry of a list. Values of a wrong type or
outside the allowed range are refused before anything runs.
"""
TABLE = "| key | type | default | allowed | description |\n|---|---|---|---|---|"
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "maxLength": "≤ {} characters",
}


def reference(schema: Schema) -> str:
    """The reference of all keys, as Markdown: one section per top-level key, one row per key.

    Args:
        schema: JSON schema of the configuration, with properties, additionalProperties, items,
            local $ref, anyOf, oneOf and the usual limits.

    Raises:
        UserError: a key has no description.
    """
    parts = [HEAD.format(description=_text(schema.get("description", "")))]
    for key, value in schema["properties"].items():
        rows = ["| " + " | ".join(row) + " |" for row in _rows(key, value, schema, required=False)]
        parts.append("\n".join([f"## {key}", "", TABLE, *rows, ""]))
    return "\n".join(parts)


def _rows(path: str, value: Schema, root: Schema, *, required: bool) -> Iterator[list[str]]:
    """The row of a key, then those of all keys below it."""
    value = _resolved(value, root)
    description = _text(value.get("description", ""))
    if not description:
        raise UserError(f"Config key {path} has no description in {SCHEMA.name}: add one.")
    cells = [_code(path), _type(value, root), _default(value, required), _allowed(value, root)]
    yield [*cells, description]
    for name, below, needed in _children(value, root):
        yield from _rows(f"{path}{name}", below, root, required=needed)


def _children(value: Schema, root: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Suffix of the path, schema and necessity of the keys directly below."""
    for option in _options(value, root):
        for name, below in option.get("properties", {}).items():
            yield f".{name}", below, name in option.get("required", [])
        if isinstance(others := option.get("additionalProperties"), Mapping):
            yield ".<name>", others, False
        if "items" in option:
            for name, below, needed in _children(_resolved(option["items"], root), root):
                yield f"[]{name}", below, needed


def _resolved(value: Schema, root: Schema) -> Schema:
    """The schema with a local `$ref` replaced; keywords beside the reference win."""
    if "$ref" not in value:
        return value
    target: Any = root
    for part in value["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    beside = {keyword: v for keyword, v in value.items() if keyword != "$ref"}
    return {**_resolved(target, root), **beside}


def _options(value: Schema, root: Schema) -> list[Schema]:
    """The alternatives of anyOf or oneOf; a plain schema is its only one."""
    alternatives = value.get("anyOf") or value.get("oneOf")
    return [_resolved(a, root) for a in alternatives] if alternatives else [value]


def _type(value: Schema, root: Schema) -> str:
    """The type in words: `string or null`, `list of integer`."""
    words: list[str] = []
    for option in _options(value, root):
        types = option.get("type") or {_json_type(v) for v in option.get("enum", [])} or ["any"]
        for name in [types] if isinstance(types, str) else sorted(types, key=_null_last):
            if name == "array":
                word = f"list of {_type(_resolved(option.get('items', {}), root), root)}"
            else:
                word = "mapping" if name == "object" else name
            words += [word] if word not in words else []
    return " or ".join(words)


def _null_last(name: str) -> bool:
    return name == "null"


def _json_type(value: Any) -> str:
    """The JSON type of a value of an enumeration."""
    if value is None:
        return "null"
    return {bool: "boolean", int: "integer", float: "number", str: "string"}[type(value)]


def _default(value: Schema, required: bool) -> str:
    """The default as YAML; nothing for a mapping, whose keys have their own."""
    if "default" not in value:
        return "required" if required else ""
    return "" if value["default"] == {} else _code(_yaml(value["default"]))


def _allowed(value: Schema, root: Schema) -> str:
    """Limits on the value, comma-separated."""
    words: list[str] = []
    for option in _options(value, root):
        words += [_code(_yaml(v)) for v in option.get("enum", [])]
        words += [form.format(option[key]) for key, form in BOUNDS.items() if key in option]
        if "pattern" in option:
            words.append(f"matches {_code(option['pattern'])}")
        if "minItems" in option:
            words.append(f"at least {option['minItems']}")
        if option.get("uniqueItems"):
            words.append("all different")
        if "items" in option and (each := _allowed(_resolved(option["items"], root), root)):
            words.append(f"each {each}")
    return ", ".join(words)


def _yaml(value: Any) -> str:
    """A value on one line, as it can be written in the config (JSON is YAML)."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(description: str) -> str:
    """A description on one line; outside of inline code, `<` would start an HTML tag."""
    pieces = " ".join(description.split()).replace("|", "\\|").split("`")
    return "`".join(p if i % 2 else p.replace("<", "&lt;") for i, p in enumerate(pieces))


def _code(text: str) -> str:
    """Inline code for a table cell."""
    return f"`{text}`".replace("|", "\\|")


if __name__ == "__main__":
    with atomic_path(REFERENCE) as temporary:
        temporary.write_text(reference(read_schema(SCHEMA)), encoding="utf-8")
    print(f"Wrote {REFERENCE.relative_to(ROOT)}.")
