"""The configuration: checked, and completed with defaults."""

import datetime
import difflib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match

from hce.errors import UserError

# A gene list can be in the working directory; an ontology is local only with a slash.
LOCAL_SUFFIXES = (".txt", ".tsv", ".parquet")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
# Larger values are not integers for NumPy and torch.
LARGEST_INTEGER = 2**63 - 1
# Below these keys braces are allowed; elsewhere Snakemake takes them as wildcards.
FREE = ("arguments", "tiledb")


def _is_integer(checker: Any, value: Any) -> bool:
    """Makes an integer of 2048.0 and the like, which JSON takes as integers and NumPy does not."""
    del checker
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES = Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer)
_Validator = validators.extend(Draft202012Validator, type_checker=_TYPES)


def read_schema(path: str | Path) -> dict[str, Any]:
    """Reads the JSON schema (written as YAML) of the configuration."""
    with open(path, encoding="utf-8") as handle:
        return yaml.safe_load(handle)


def resolve(config: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a configuration and fills in the defaults.

    Args:
        config: the merged config files and options of the user.
        schema: the JSON schema, see `read_schema`.

    Returns:
        A new configuration with every key of the schema.

    Raises:
        UserError: an unknown key, a wrong type or value, a path with a variable that is not set, or
            names that do not fit together (for example a model in `fits.models` that `models` does
            not describe).
    """
    resolved = _expand(deepcopy(dict(config)))
    _check_values(resolved)
    _fill(resolved, schema)
    error = best_match(_Validator(schema).iter_errors(resolved))
    if error is not None:
        raise UserError(_sentence(error))
    _check_names(resolved)
    return resolved


def _expand(value: Any, key: str = "") -> Any:
    """Replaces ~ and $NAME by the home directory and variables of the environment.

    data.stage is left to the job, where a variable can have another value.
    """
    if isinstance(value, dict):
        return {k: _expand(v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(item, key) for item in value]
    if not isinstance(value, str) or key == "data.stage":
        return value
    expanded = os.path.expandvars(os.path.expanduser(value) if value.startswith("~") else value)
    if unknown := _VARIABLE.search(expanded):
        raise UserError(
            f"Config key {key} is {value!r}, but the variable {unknown[0]} is not set here: set "
            "it, or write the path out."
        )
    if expanded.startswith("~"):
        raise UserError(f"Config key {key} is {value!r}, whose home directory is not known here.")
    return expanded


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


def _check_values(config: Mapping[Any, Any]) -> None:
    """Checks what types of a schema cannot: keys are text, numbers finite, texts on one line."""
    for path, value in _values(config):
        where = ".".join(map(str, path))
        if isinstance(value, str):
            if any(ord(character) < 32 or ord(character) == 127 for character in value):
                raise UserError(f"Config key {where} is {value!r}: it must be on one line.")
            if set(value) & set("{}") and not set(path) & set(FREE):
                raise UserError(f"Config key {where} is {value!r}: leave the braces out.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"Config key {where} is {value}: it must be a finite number.")
        elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise UserError(f"Config key {where} is {value}: it must be below 2 ** 63.")


def _values(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value that is not a mapping or a list, with the path of keys to it.

    Raises:
        UserError: a key is not text.
    """
    if isinstance(node, Mapping):
        for key, value in node.items():
            if not isinstance(key, str):
                where = ".".join(map(str, path))
                raise UserError(
                    f"The config has the key {key!r}{where and ' in ' + where}, which is not text "
                    f'to YAML: put it in quotes, "{key}".'
                )
            yield from _values(value, (*path, key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _values(value, (*path, number))
    else:
        yield path, node


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
    if isinstance(found, datetime.date):
        return f'{key} is a date to YAML: put it in quotes, "{found}".'
    if error.validator == "type" and isinstance(found, str) and _is_number(found):
        return f"{key} is text to YAML, {found!r}: write {float(found)!r}."
    if error.validator == "required":
        return f"{key} is incomplete: {error.message}."
    return f"{key} is wrong: {error.message}."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


# Decoders that a model file can be read with; the others need what it does not hold.
DECODERS_OF_MODEL_FILES = ("argmax", "ancestor_sum", "hierarchical_f1")


def _check_names(config: Mapping[str, Any]) -> None:
    """Checks names that refer to other keys, which a schema cannot do."""
    if not set(DECODERS_OF_MODEL_FILES) & set(config["decoders"]):
        raise UserError(
            "Config key decoders has none by which model files can be compared: add one of "
            f"{', '.join(DECODERS_OF_MODEL_FILES)}."
        )

    def require(name: str, key: str, allowed: list[str], where: str) -> None:
        if name not in allowed:
            raise UserError(
                f"Config key {key} names {name!r}, which is not among {where}: "
                f"{', '.join(allowed) or 'none'}."
            )

    fits = config["fits"]
    for name in fits["models"]:
        require(name, "fits.models", sorted(config.get("models", {})), "models")
    for i, entry in enumerate(fits["also"]):
        for name in entry["models"]:
            require(name, f"fits.also.{i}.models", sorted(config.get("models", {})), "models")
    for key, losses in _losses_of_fits(config).items():
        for name in losses:
            require(name, key, sorted(config.get("losses", {})), "losses")
    _check_controls(config, require)
    _check_published(config, require)
    require(config["figures"]["model"], "figures.model", fits["models"], "fits.models")
    baseline = config["statistics"]["baseline"]
    if len(fits["losses"]) > 1:
        require(baseline, "statistics.baseline", fits["losses"], "fits.losses")
    compared = config["statistics"]["compared"]
    require(compared, "statistics.compared", sorted(config.get("losses", {})), "losses")
    if compared == baseline:
        raise UserError(
            f"Config keys statistics.baseline and statistics.compared are both {baseline!r}: name "
            "two losses."
        )
    releases = [config["data"]["reference"]["release"]]
    releases += [new["release"] for new in config["data"]["new"]]
    sets = ["id", *(["ood"] if len(releases) > 1 else [])]
    sets += [f"ood_{release}" for release in releases[2:]]
    for name in config["training"]["monitor"]:
        require(name, "training.monitor", sets, "the evaluation sets")
    if len(set(releases)) < len(releases):
        raise UserError("Config keys data.reference and data.new name the same release twice.")
    if config["data"]["source"] == "sctab" and config["curation"]["studies"] is not None:
        raise UserError("Config key curation.studies must be null with data.source sctab.")
    if config["data"]["source"] == "sctab" and config["data"]["sctab"]["archive"] is None:
        raise UserError("Config key data.sctab.archive is needed with data.source sctab.")
    if config["data"]["source"] == "published":
        if not any(entry["holds"] == "checkpoint" for entry in config["published"]):
            raise UserError(
                "Config key published names no checkpoint, but data.source is published: give one."
            )
        if config["curation"]["expected_types"] is None:
            raise UserError(
                "Config key curation.expected_types is needed with data.source published: its "
                "table names the types of the checkpoints."
            )
    if config["data"]["source"] == "h5ad":
        for key in ("manifest", "dir"):
            if config["data"]["h5ad"][key] is None:
                raise UserError(f"Config key data.h5ad.{key} is needed with data.source h5ad.")
        if config["data"]["h5ad"]["new_study"] is not None and len(releases) != 2:
            raise UserError(
                "Config key data.h5ad.new_study needs one newer release, but data.new names "
                f"{len(releases) - 1}: name one there."
            )


def _losses_of_fits(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The config keys that name losses to train, and what they name."""
    also = enumerate(config["fits"]["also"])
    further = {f"fits.also.{i}.losses": entry["losses"] for i, entry in also}
    return {"fits.losses": config["fits"]["losses"]} | further


def fits_of(config: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """What is trained: (model, loss, seed) of each fit, model by model."""
    fits = config["fits"]
    named = [fits, *fits["also"]]
    losses = {
        model: dict.fromkeys(loss for e in named if model in e["models"] for loss in e["losses"])
        for model in fits["models"]
    }
    return [(m, loss, seed) for m in losses for loss in losses[m] for seed in fits["seeds"]]


def _check_controls(config: Mapping[str, Any], require: Callable[..., None]) -> None:
    """Checks the names of the controls, and that losses with another reachability are controls."""
    controls = config["controls"]
    for name in controls["losses"]:
        require(name, "controls.losses", sorted(config.get("losses", {})), "losses")
        if not _differs(config["losses"][name]):
            raise UserError(
                f"Config key controls.losses names {name!r}, which uses the run's hierarchy and "
                "types: give it a reachability or left_out in losses, or name it in fits.losses."
            )
    if controls["losses"]:
        for name in controls["models"]:
            require(name, "controls.models", sorted(config.get("models", {})), "models")
    for key, losses in _losses_of_fits(config).items():
        for name in losses:
            if _differs(config["losses"][name]):
                raise UserError(
                    f"Config key {key} names {name!r}, which uses another reachability or leaves "
                    "types out: name it in controls.losses instead."
                )


def _differs(loss: Mapping[str, Any]) -> bool:
    """Whether a loss is one of a control."""
    return loss["reachability"] is not None or loss["left_out"] is not None


def _check_published(config: Mapping[str, Any], require: Callable[..., None]) -> None:
    seen = set()
    later = [f"ood_{new['release']}" for new in config["data"]["new"][1:]]
    for entry in config["published"]:
        name, what = entry["name"], entry["holds"]
        require(entry["set"], f"published.{name}.set", ["val", "id", "ood", *later], "the sets")
        for key in ("model", "loss"):
            catalogue = {"model": "models", "loss": "losses"}[key]
            known = sorted(config.get(catalogue, {}))
            require(entry[key], f"published.{name}.{key}", known, catalogue)
        if what == "checkpoint" and name in config["models"]:
            raise UserError(
                f"Config key published names a checkpoint {name}, which is also a model in models: "
                "give it another name, for example with _published at the end."
            )
        if (entry["path"] is None) == (entry["url"] is None):
            raise UserError(f"The {what} {name} in published needs either a path or a url.")
        if (fit := (what, name, entry["loss"], entry["seed"])) in seen:
            raise UserError(
                f"Config key published has {name} with loss {fit[2]} and seed {fit[3]} twice: give "
                "each run its seed."
            )
        seen.add(fit)


def named_classes(config: Mapping[str, Any]) -> frozenset[str]:
    """The classes named in models and losses, which a run may import."""
    catalogues = (config["models"], config["losses"])
    return frozenset(spec.get("class", name) for c in catalogues for name, spec in c.items())


def check_files(config: Mapping[str, Any], find: Callable[[str], str]) -> None:
    """Checks that the local files which the configuration names are there.

    Args:
        config: a resolved configuration.
        find: path → the path of that file, which can be one that the repository ships; unknown
            paths are returned unchanged.

    Raises:
        UserError: a file does not exist.
    """
    ontology, data = config["ontology"]["file"], config["data"]
    named = {"ontology.file": ontology} if is_local(ontology) else {}
    if is_local(data["genes"]):
        named["data.genes"] = data["genes"]
    if data["source"] == "h5ad":
        named["data.h5ad.manifest"] = data["h5ad"]["manifest"]
        if data["h5ad"]["originals"]:
            named["data.h5ad.originals"] = data["h5ad"]["originals"]
    if config["curation"]["expected_types"]:
        named["curation.expected_types"] = config["curation"]["expected_types"]
    places = {key: find(path) for key, path in named.items()}
    places |= {f"published.{e['name']}.path": e["path"] for e in config["published"] if e["path"]}
    for key, path in places.items():
        if not Path(path).is_file():
            raise UserError(f"Config key {key} names {path}, which does not exist.")


def is_local(name: str) -> bool:
    """Whether a name is a path (with a slash or a known suffix) and not an address."""
    return "://" not in name and (Path(name).name != name or Path(name).suffix in LOCAL_SUFFIXES)
