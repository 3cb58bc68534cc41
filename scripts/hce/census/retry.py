"""The connection to a Census: finding a build, and reading again after errors."""

import json
import logging
import re
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tiledbsoma

from hce.errors import UserError

logger = logging.getLogger(__name__)

T = TypeVar("T")

DIRECTORY = "https://census.cellxgene.cziscience.com/cellxgene-census/v1/release.json"
DIRECTORY_TIMEOUT_SECONDS = 20
LONGEST_WAIT_SECONDS = 60.0
# Errors when reading a SOMA: those of the client, and those of TileDB.
READ_ERRORS = (tiledbsoma.SOMAError, RuntimeError, OSError)
# Answers that another try does not change.
_FINAL = re.compile(
    r"does not exist|No such|NoSuchKey|NoSuchBucket|AccessDenied|"
    r"HTTP Response Code: (400|401|403|404)\b"
)


@dataclass(frozen=True)
class Connection:
    """Settings of the connection; the keys of `data.connection` in the config.

    Attributes:
        directory: address of the Census release directory, a JSON file of builds.
        tries: maximum number of tries of a read, if the error may be temporary.
        wait: seconds before the second try; doubled for each further one, at most 60.
        tiledb: settings of TileDB, such as `vfs.s3.proxy_host`.
    """

    directory: str = DIRECTORY
    tries: int = 8
    wait: float = 2.0
    tiledb: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, str]:
        """The settings in the form that TileDB expects; true of YAML becomes "true"."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.tiledb.items()
        }


def is_remote(uri: str) -> bool:
    """Whether an address is on a network."""
    return "://" in uri and not uri.startswith("file://")


def can_pass(uri: str, error: BaseException) -> bool:
    """Whether an error of a read may be temporary."""
    return is_remote(uri) and not _FINAL.search(str(_origin(error)))


def first_line(error: BaseException) -> str:
    """The first line of the original error, without headers of replies and final full stop."""
    origin = _origin(error)
    line = (str(origin).splitlines() or [type(origin).__name__])[0]
    return re.sub(r" ?\[(Headers|Remote IP): .*?\]", "", line).rstrip(". ")


def _origin(error: BaseException) -> BaseException:
    """The original error that an error was raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def try_again(action: Callable[[int], T], what: str, uri: str, connection: Connection) -> T:
    """Runs an action that uses the connection, and repeats it after temporary errors.

    Args:
        action: called with the number of the try, from 1.
        what: what is read, for messages.
        uri: where it is read from, for messages.
        connection: number of tries, and waiting time.

    Raises:
        UserError: all tries failed, or one failed with an error that is not temporary.
    """
    wait = connection.wait
    for attempt in range(1, connection.tries + 1):
        try:
            return action(attempt)
        except READ_ERRORS as error:
            passing = can_pass(uri, error)
            if attempt == connection.tries or not passing:
                cure = (
                    "check the network, or raise data.connection.tries in the config"
                    if passing
                    else "it is damaged, or reading it is not allowed"
                )
                tries = f" in {attempt} tries" if attempt > 1 else ""
                raise UserError(
                    f"Cannot read {what} of {uri}{tries}: {first_line(error)}; {cure}."
                ) from error
            logger.warning(
                "reading %s of %s failed (%s); try %d of %d in %.0f s",
                what,
                uri,
                first_line(error),
                attempt + 1,
                connection.tries,
                wait,
            )
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)
    raise AssertionError("connection.tries is at least 1")


def read_again(
    node: Any, read: Callable[[Any], T], what: str, connection: Connection
) -> tuple[T, Any]:
    """Reads from an open SOMA object, and repeats it after temporary errors.

    A failed object may keep a dead connection, so each further try opens it again with a new TileDB
    context.

    Args:
        node: the open SOMA object.
        read: function that reads from the object.
        what: what is read, for messages.
        connection: number of tries, and waiting time.

    Returns:
        The result of `read`, and the object to use from now on: the given one, or the one that was
        opened again.

    Raises:
        UserError: see `try_again`.
    """

    def action(attempt: int) -> tuple[T, Any]:
        used = node
        if attempt > 1:
            used = type(node).open(node.uri, context=node.context.replace(tiledb_config={}))
        return read(used), used

    return try_again(action, what, node.uri, connection)


def find_build(name: str, connection: Connection) -> tuple[str, str | None]:
    """Looks up a build in the release directory.

    Args:
        name: build name, for example "2023-05-15", or an alias such as "stable".
        connection: settings, with the address of the directory.

    Returns:
        The build's URI, and the region of its bucket.

    Raises:
        UserError: the directory cannot be read, or it has no such build.
    """
    try:
        address = connection.directory
        if "://" not in address:
            address = Path(address).resolve().as_uri()
        with urllib.request.urlopen(address, timeout=DIRECTORY_TIMEOUT_SECONDS) as reply:
            builds = json.load(reply)
        entry = builds.get(name)
        while isinstance(entry, str):  # an alias
            entry = builds.get(entry)
        if entry is not None:
            if entry.get("flags", {}).get("retracted"):
                logger.warning("the build %s is retracted: %s", name, entry.get("retraction"))
            return str(entry["soma"]["uri"]), entry["soma"].get("s3_region")
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise UserError(
            f"Cannot look up the build {name} in {connection.directory} ({first_line(error)}): "
            "without a network, name an address in data.reference.uri and data.new in the config."
        ) from error
    names = sorted(key for key, value in builds.items() if not isinstance(value, str))
    raise UserError(
        f"There is no Census build {name} (data.reference and data.new in the config): name one of "
        f"{', '.join(names)}, or the address of a copy of it as uri."
    )
