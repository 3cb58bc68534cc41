"""The configuration: refused where it is wrong, complete where it is right."""

import difflib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from hce.errors import UserError


def read_schema(path: str | Path) -> dict[str, Any]:
    """Reads the JSON schema (written as YAML) of the configuration."""
    with open(path, encoding="utf-8") as handle:
        return yaml.safe_load(handle)


def resolve(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a configuration and fills in the defaults.

    Args:
        config: what the user's files and options give, merged.
        schema: the JSON schema, see `read_schema`.

    Returns:
        A new configuration that holds every key of the schema.

    Raises:
        UserError: an unknown key, a wrong type or value, or names that do not fit together
            (for example a model in `fits.models` that `models` does not describe).
    """
    resolved = deepcopy(dict(config))
    _fill(resolved, schema)
    error = best_match(Draft202012Validator(schema).iter_errors(resolved))
    if error is not None:
        raise UserError(_sentence(error))
    _check_names(resolved)
    return resolved


def _fill(value: Any, schema: Mapping[str, Any]) -> None:
    """Adds missing keys that have a default, at every depth."""
    if isinstance(value, list):
        for item in value:
            _fill(item, schema.get("items", {}))
    if not isinstance(value, dict):
        return
    known = schema.get("properties", {})
    for key, subschema in known.items():
        if "default" in subschema:
            value.setdefault(key, deepcopy(subschema["default"]))
        if key in value:
            _fill(value[key], subschema)
    if isinstance(others := schema.get("additionalProperties"), dict):
        for key in value.keys() - known.keys():
            _fill(value[key], others)


def _sentence(error: ValidationError) -> str:
    """One sentence for a violation of the schema: the key, what is wrong, what is allowed."""
    where = ".".join(str(part) for part in error.absolute_path)
    key = f"Config key {where}" if where else "The config"
    rule: Any = error.schema
    found: Any = error.instance
    if error.validator == "additionalProperties":
        allowed = sorted(rule.get("properties", {}))
        unknown = min(set(found) - set(allowed))
        close = difflib.get_close_matches(unknown, allowed, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        return f"{key} has no key {unknown!r}{hint}; allowed: {', '.join(allowed)}."
    if error.validator == "enum":
        return f"{key} is {found!r}; allowed: {', '.join(map(str, rule['enum']))}."
    if error.validator == "required":
        return f"{key} is incomplete: {error.message}."
    return f"{key} is wrong: {error.message}."


def _check_names(config: Mapping[str, Any]) -> None:
    """Checks what a schema cannot: names that refer to other keys."""

    def require(name: str, key: str, allowed: list[str], where: str) -> None:
        if name not in allowed:
            raise UserError(
                f"Config key {key} names {name!r}, which is not among {where}: "
                f"{', '.join(allowed) or 'none'}."
            )

    fits = config["fits"]
    for name in fits["models"]:
        require(name, "fits.models", sorted(config.get("models", {})), "models")
    for name in fits["losses"]:
        require(name, "fits.losses", sorted(config.get("losses", {})), "losses")
    require(config["figures"]["model"], "figures.model", fits["models"], "fits.models")
    baseline = config["statistics"]["baseline"]
    require(baseline, "statistics.baseline", sorted(config.get("losses", {})), "losses")
    releases = [config["data"]["reference"]["release"]]
    releases += [new["release"] for new in config["data"]["new"]]
    if len(set(releases)) < len(releases):
        raise UserError("Config keys data.reference and data.new name the same release twice.")
    if config["data"]["source"] == "h5ad":
        for key in ("manifest", "dir"):
            if config["data"]["h5ad"][key] is None:
                raise UserError(f"Config key data.h5ad.{key} is needed with data.source h5ad.")
