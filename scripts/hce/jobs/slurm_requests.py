"""What a run would ask SLURM for, job by job, in the very words of its sbatch lines."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hce.errors import UserError

SNAKEFILE = Path(__file__).parents[3] / "Snakefile"
# Names the file to which a Snakemake writes its requests, in place of submitting anything.
REQUESTS_VARIABLE = "HCE_SLURM_REQUESTS"
# Options of a job that say nothing of where it runs; the first ones have a value behind them.
_WITH_VALUE = ("--job-name", "--output", "--comment", "-D", "-t", "--mem", "--mem-per-cpu")
_OTHERS = ("--parsable", "--export", "--requeue", "--no-requeue", "--ntasks", "--cpus-per-")


@dataclass(frozen=True)
class Request:
    """What some SLURM jobs ask for.

    Attributes:
        names: what the jobs are, `fit mlp ce 0`.
        rules: that run in them.
        options: for sbatch.
        memory_known: whether they ask for memory as they will; else it follows from files that are
            not there yet.
    """

    names: tuple[str, ...]
    rules: tuple[str, ...]
    options: tuple[str, ...]
    memory_known: bool = True

    def value(self, option: str) -> str:
        """The word behind an option, or ""."""
        place = self.options.index(option) + 1 if option in self.options else None
        return "" if place is None else self.options[place]

    @property
    def partition(self) -> str:
        """Its name, or "" for the site's default."""
        return self.value("-p")

    @property
    def gpu(self) -> bool:
        """Whether the jobs have a GPU."""
        return any(word.startswith(("--gpus", "--gres=gpu")) for word in self.options)

    def place(self) -> tuple[str, ...]:
        """The options that say where a job runs, for sbatch and srun."""
        kept, words = [], iter(self.options)
        for word in words:
            if word in _WITH_VALUE:
                next(words)
            elif not word.startswith(_OTHERS):
                kept.append(word)
        return tuple(kept)

    def __str__(self) -> str:
        more = f" and {len(self.names) - 1} more" if len(self.names) > 1 else ""
        asked = [f"{option} {self.value(option)}" for option in ("-t", "--mem")]
        return f"{self.names[0]}{more}: {' '.join([*self.place(), *asked])}"


def collect_requests(workflow: Any) -> list[dict[str, Any]]:
    """The requests of all jobs that a Snakemake with the SLURM plugin is about to submit.

    To be called before its first job, with the plugin as `adapt_plugin` leaves it.
    """
    import snakemake_executor_plugin_slurm as plugin
    from snakemake.common.tbdstring import TBDString

    from hce.jobs.slurm_plugin import name_job

    executor, dag = workflow.scheduler._executor, workflow.dag
    submitted = {}
    for job in dag.needrun_jobs():
        if not job.is_local:
            whole = dag.get_job_group(job) or job
            submitted[id(whole)] = whole
    found = []
    for job in submitted.values():
        parts = list(job) if job.is_group() else [job]
        params = {
            "run_uuid": executor.run_uuid,
            "slurm_logfile": "/dev/null",
            "comment_str": "",
            "account": next(executor.get_account_arg(job)),
            "partition": executor.get_partition_arg(job),
            "workdir": None,
        }
        call = plugin.get_submit_command(job, params, settings=workflow.executor_settings)
        known = not any(isinstance(part.resources.get("mem_mb"), TBDString) for part in parts)
        found.append(
            {
                "name": name_job(job),
                "rules": sorted({part.rule.name for part in parts}),
                "options": shlex.split(call + plugin.set_gres_string(job))[1:],
                "memory_known": known,
            }
        )
    return found


def ask_snakemake(profile: Path, config_files: Sequence[Path]) -> list[Request]:
    """Has a Snakemake say what it would ask SLURM for from this folder; nothing is submitted.

    Args:
        profile: folder of the profile.
        config_files: that override the config.

    Returns:
        The requests, equal ones together.

    Raises:
        UserError: in Snakemake's words, why it would not start.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE)]
    command += ["--profile", str(profile), "--nolock"]
    if config_files:
        command += ["--configfile", *map(str, config_files)]
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "requests.json")
        done = subprocess.run(
            command,
            env=os.environ | {REQUESTS_VARIABLE: str(answer)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if answer.is_file():
            return _together(json.loads(answer.read_text()))
    if done.returncode == 0:
        return []  # nothing is left to do
    raise UserError(" ".join(done.stdout.split()[-60:]) or "Snakemake does not start.")


def _together(found: Sequence[dict[str, Any]]) -> list[Request]:
    """Equal requests as one; the comment, which is a job's name, does not count."""
    alike: dict[tuple, list[str]] = {}
    for each in found:
        options = list(each["options"])
        options[options.index("--comment") + 1] = ""
        key = (tuple(options), tuple(each["rules"]), each["memory_known"])
        alike.setdefault(key, []).append(each["name"])
    return [
        Request(tuple(sorted(names)), rules, options, known)
        for (options, rules, known), names in alike.items()
    ]
