"""What Snakemake's SLURM plugin (2.8) does differently here, and why."""

import re
from collections.abc import Callable
from typing import Any

import snakemake_executor_plugin_slurm as plugin

# A comment of SLURM may be longer; more of it is not read.
COMMENT_LENGTH = 100


def adapt_plugin(max_hours: float) -> None:
    """Changes the plugin of this process.

    Args:
        max_hours: no job asks for more time, the config's slurm.max_hours.
    """
    _keep_asking_squeue()
    plugin.get_submit_command = _submitting(plugin.get_submit_command, int(60 * max_hours))
    plugin.query_job_status = _reading_states(plugin.query_job_status)


def _keep_asking_squeue() -> None:
    """Asks squeue for jobs also after the controller was down.

    Before each look, the plugin asks the controller for MinJobAge, and without an answer takes
    sacct for that look; where a site has no job database, it then never hears of its jobs again.
    The answer, which stays the same, is kept here instead.
    """
    age = plugin.get_min_job_age()
    if age is not None:
        plugin.get_min_job_age = lambda: age


def _submitting(submit_command: Callable[..., str], max_minutes: int) -> Callable[..., str]:
    """Bounds a job's time, also where it is a sum over the rules of a group, and says what it is.

    All jobs of a run have one name, by which the plugin finds them; the comment tells them apart.
    """

    def command(job: Any, params: dict[str, Any], *others: Any, **options: Any) -> str:
        call = submit_command(job, params | {"comment_str": name_job(job)}, *others, **options)
        return re.sub(
            r"(?<= -t )\d+", lambda found: str(min(int(found[0]), max_minutes)), call, count=1
        )

    return command


def name_job(job: Any) -> str:
    """What a SLURM job is: the first rule of it with its wildcards, `fit mlp hce 0`."""
    first = sorted(job.toposorted[0], key=str) if job.is_group() else [job]
    names = [" ".join([each.rule.name, *each.wildcards]) for each in first]
    return ", ".join(dict.fromkeys(names))[:COMMENT_LENGTH]


def _reading_states(query: Callable[..., Any]) -> Callable[..., Any]:
    """Knows a cancelled job also from sacct, which says by whom: `CANCELLED by 1000`."""

    async def ask(*arguments: Any) -> tuple[dict[str, str] | None, float | None]:
        states, seconds = await query(*arguments)
        if states is not None:
            states = {job: state.split()[0] for job, state in states.items() if state}
        return states, seconds

    return ask
