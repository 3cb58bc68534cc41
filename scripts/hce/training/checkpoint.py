"""A fit that is killed goes on where it was."""

import hashlib
import json
import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from hce.errors import UserError
from hce.files import atomic_path, check_members, clear_partial

logger = logging.getLogger(__name__)


def fingerprint(content: Mapping[str, Any]) -> str:
    """Identifies what a fit is made of; a checkpoint of something else is not resumed."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class Checkpoint:
    """The state of a fit, on disk.

    Args:
        path: the file.
        identity: see `fingerprint`.
        minutes: time between two saves within an epoch.
    """

    def __init__(self, path: str | Path, identity: str, minutes: float) -> None:
        self.path = Path(path)
        self.identity = identity
        self.seconds = 60 * minutes
        self.stop_requested = False
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The saved state, or None where there is none that belongs to this fit."""
        clear_partial(self.path)
        if not self.path.is_file():
            return None
        try:
            check_members(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            matches = state["identity"] == self.identity
        except Exception as error:  # torch.load raises whatever its input provokes
            logger.warning("%s cannot be read (%s); starting anew", self.path, error)
            return None
        if not matches:
            logger.warning(
                "%s belongs to another configuration, version or number of processes: starting "
                "anew",
                self.path,
            )
            return None
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replaces the saved state, atomically."""
        with atomic_path(self.path) as temporary:
            torch.save({"identity": self.identity, **state}, temporary)
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Whether the state should be saved before the epoch ends."""
        return self.stop_requested or time.monotonic() - self._saved_at > self.seconds

    def stop_if_requested(self) -> None:
        """Ends a fit that was told to stop; call when the state has been saved.

        Raises:
            UserError: SIGTERM came.
        """
        if self.stop_requested:
            raise UserError(
                f"Stopped by SIGTERM with the state saved in {self.path}: run the same again to "
                "continue."
            )

    @contextmanager
    def watching_sigterm(self) -> Iterator[None]:
        """Turns SIGTERM (sent by schedulers before they kill) into a request to stop."""

        def request(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.stop_requested = True

        previous = signal.signal(signal.SIGTERM, request)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, previous)
