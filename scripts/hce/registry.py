"""Classes by name: those of hce, or any other as `package.module:Class`."""

import importlib
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from hce.errors import UserError


def find(name: str, known: Mapping[str, type], kind: str) -> type:
    """Finds a class.

    Args:
        name: a key of `known`, or "package.module:Class".
        known: the registry.
        kind: "model" or "loss", for the message.

    Raises:
        UserError: the name is unknown or cannot be imported.
    """
    if name in known:
        return known[name]
    if ":" not in name:
        raise UserError(
            f"Unknown {kind} {name!r}: known are {', '.join(sorted(known))}; a class of your own "
            "is named package.module:Class."
        )
    module, _, attribute = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"The {kind} {name} cannot be imported: {error}.") from error
    if not isinstance(found, type):
        raise UserError(f"The {kind} {name} is not a class: name one as package.module:Class.")
    return found


def check_class(
    path: str | Path, kind: str, name: str, known: Container[str], trusted: Container[str]
) -> None:
    """Checks before any import that the class of a file is part of hce or trusted.

    Args:
        path: the file, for the message.
        kind: "model" or "loss".
        name: the class that the file names.
        known: the registry.
        trusted: further names, such as those of the run's config.

    Raises:
        UserError: the class is neither.
    """
    if name not in known and name not in trusted:
        raise UserError(
            f"Model file {path} names a {kind} that is not part of hce, {name!r}, and opening it "
            "would run that code: if you trust the origin of the file, name the class in the "
            "config's models and losses, or allow imports."
        )


def build(name: str, known: Mapping[str, type], kind: str, *args: Any, **arguments: Any) -> Any:
    """Finds a class (see `find`) and makes an instance.

    Raises:
        UserError: see `find`, or the class does not accept the arguments.
    """
    try:
        return find(name, known, kind)(*args, **arguments)
    except UserError:
        raise
    except Exception as error:  # a class can raise any error for its arguments
        reason = " ".join(str(error).split()) or repr(error)
        raise UserError(f"The {kind} {name} does not accept its arguments: {reason}.") from error
