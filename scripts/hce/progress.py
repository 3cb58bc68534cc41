"""Progress of a long job, as lines of its log."""

import logging
import sys
import time

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0
SECONDS_BETWEEN_DRAWINGS = 0.2
BAR = 20


class Progress:
    """Logs a bar, the speed and the time left, every half minute.

    Args:
        what: begins each line.
        cells: total number of cells.
        done: cells processed by an earlier attempt, which do not count for the speed.
    """

    def __init__(self, what: str, cells: int, done: int = 0) -> None:
        self.what, self.cells = what, cells
        self.started_with = self.done = done
        self.start = self.last_line = time.monotonic()

    def advance(self, cells: int) -> None:
        """Counts cells, and logs a line if it is time."""
        self.done += cells
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            logger.info("%s", self.line(now))

    def line(self, now: float) -> str:
        """The line for a moment of `time.monotonic`."""
        share = min(self.done / max(self.cells, 1), 1.0)
        speed = self.speed(now)
        bar = "#" * int(BAR * share)
        left = (self.cells - self.done) / speed / 60 if speed else float("nan")
        return f"{self.what} [{bar:-<{BAR}}] {share:.0%}, {speed:,.0f} cells/s, {left:.1f} min left"

    def speed(self, now: float) -> float:
        """Cells per second since the start."""
        return (self.done - self.started_with) / max(now - self.start, 1e-9)

    def end(self) -> None:
        """Logs the speed."""
        now = time.monotonic()
        logger.info("%s: %s cells/s", self.what, f"{self.speed(now):,.0f}")


class Bar(Progress):
    """Shows the same on one line of a terminal, several times per second."""

    def advance(self, cells: int) -> None:
        """Counts cells, and redraws the line if it is time."""
        self.done += cells
        now = time.monotonic()
        if now - self.last_line >= SECONDS_BETWEEN_DRAWINGS:
            self.last_line = now
            print(f"\r{self.line(now)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Draws the last line and ends it."""
        print(f"\r{self.line(time.monotonic())}", file=sys.stderr, flush=True)
