"""Classes by name: our own, or anything importable as `package.module:Class`."""

import importlib
from collections.abc import Mapping
from typing import Any

from hce.errors import UserError


def find(name: str, known: Mapping[str, type], kind: str) -> type:
    """Finds a class.

    Args:
        name: a key of `known`, or "package.module:Class".
        known: the registry.
        kind: what is looked for, for the message ("model", "loss").

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
    return found


def build(name: str, known: Mapping[str, type], kind: str, *args: Any, **arguments: Any) -> Any:
    """Finds a class (see `find`) and makes an instance.

    Raises:
        UserError: also where the class refuses the arguments.
    """
    try:
        return find(name, known, kind)(*args, **arguments)
    except TypeError as error:
        raise UserError(f"The {kind} {name} refuses its arguments: {error}.") from error
