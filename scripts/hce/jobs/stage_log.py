"""One line per stage of a run, for a log that is not a terminal and draws no progress bar."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import TextIO

from snakemake_interface_logger_plugins.common import LogEvent


class StageLog(logging.Handler):
    """Writes a line when the last job of a stage has finished: what is done and what is left.

    Args:
        stages: id of each job of the run → its stage, in the order in which they are to be listed.
        stream: where the lines go.
    """

    def __init__(self, stages: Mapping[int, str], stream: TextIO) -> None:
        super().__init__()
        self.waiting = dict(stages)
        self.jobs = Counter(stages.values())
        self.stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Takes what Snakemake logs, and counts the jobs that finished."""
        if getattr(record, "event", None) != LogEvent.JOB_FINISHED:
            return
        stage = self.waiting.pop(getattr(record, "job_id", -1), None)
        if stage is not None and stage not in self.waiting.values():
            print(self.line(stage), file=self.stream, flush=True)

    def line(self, stage: str) -> str:
        """The line for a stage whose last job has just finished."""
        jobs, total = self.jobs[stage], self.jobs.total()
        left = Counter(self.waiting.values())
        listed = ", ".join(f"{name} {jobs}" for name, jobs in left.items()) or "nothing"
        return (
            f"{time.strftime('%H:%M:%S')} {stage}: done, {jobs} {'job' if jobs == 1 else 'jobs'}. "
            f"Whole run: {total - left.total()} of {total} jobs; left: {listed}."
        )
