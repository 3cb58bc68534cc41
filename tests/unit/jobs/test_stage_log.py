import io
import logging
import re

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from hce.jobs.stage_log import StageLog

STAGES = {7: "cells", 3: "cells", 4: "fits", 9: "fits", 1: "report"}


@pytest.fixture
def log():
    """A logger as Snakemake's, with the handler, and where the lines go."""
    logger, lines = logging.Logger("run"), io.StringIO()
    logger.addHandler(StageLog(STAGES, lines))

    def finish(*jobs):
        for job in jobs:
            extra = {"event": LogEvent.JOB_FINISHED, "job_id": job}
            logger.info("Finished jobid: %s", job, extra=extra)
        return [line.split(" ", 1)[1] for line in lines.getvalue().splitlines()]

    return logger, lines, finish


def test_a_line_comes_with_the_last_job_of_a_stage_and_lists_what_is_left(log):
    _, lines, finish = log
    assert finish(7, 9) == []
    cells = "cells: done, 2 jobs. Whole run: 3 of 5 jobs; left: fits 1, report 1."
    assert finish(3) == [cells]
    fits = "fits: done, 2 jobs. Whole run: 4 of 5 jobs; left: report 1."
    assert finish(4) == [cells, fits]
    assert finish(1)[-1] == "report: done, 1 job. Whole run: 5 of 5 jobs; left: nothing."
    assert re.match(r"\d\d:\d\d:\d\d cells", lines.getvalue())


def test_what_else_is_logged_and_jobs_of_no_stage_leave_no_line(log):
    logger, _, finish = log
    logger.info("1 of 5 steps (20%) done")
    logger.info("started", extra={"event": LogEvent.JOB_STARTED, "job_id": 1})
    assert finish(0) == []
