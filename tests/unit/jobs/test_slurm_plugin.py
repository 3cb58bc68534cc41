"""What is changed in Snakemake's SLURM plugin, on the sbatch lines that it writes."""

import asyncio
import shlex
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin

from hce.jobs.slurm_plugin import adapt_plugin

PARAMS = {
    "run_uuid": "5015bfb7-1497-47d2-b8f3-d6e6655a67ce",
    "slurm_logfile": "%j.log",
    "comment_str": "rule_fit",
    "account": "",
    "partition": " -p gpu",
    "workdir": "/clone",
}


class Resources(dict):
    """As Snakemake's: by key and by attribute."""

    __getattr__ = dict.__getitem__


def job(rule, *wildcards, runtime=60):
    return SimpleNamespace(
        rule=SimpleNamespace(name=rule),
        wildcards=wildcards,
        threads=2,
        resources=Resources(mem_mb=4000, runtime=runtime),
        is_group=lambda: False,
    )


def group(*levels, runtime):
    together = job("any", runtime=runtime)
    together.is_group = lambda: True
    together.toposorted = levels
    return together


@pytest.fixture
def adapted(monkeypatch):
    """The plugin as a run has it, for jobs of 23 hours at most; afterwards as it was."""
    for name in ("get_min_job_age", "get_submit_command", "query_job_status"):
        monkeypatch.setattr(plugin, name, getattr(plugin, name))
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: None)
    adapt_plugin(max_hours=23)


def asked(submitted, option):
    words = shlex.split(plugin.get_submit_command(submitted, PARAMS))
    return words[words.index(option) + 1]


@pytest.mark.parametrize(("runtime", "minutes"), [(1350, "1350"), (5400, "1380")])
def test_no_job_asks_for_more_time_than_the_site_gives(adapted, runtime, minutes):
    fits = group([job("fit", "mlp", "ce", "0")], [job("predict")], runtime=runtime)
    assert asked(fits, "-t") == minutes


def test_jobs_keep_the_name_of_the_run_and_say_what_they_are(adapted):
    fits = group([job("fit", "mlp", "hce", "0")], [job("predict", "mlp", "hce", "0")], runtime=60)
    assert asked(fits, "--comment") == "fit mlp hce 0"
    assert asked(fits, "--job-name") == PARAMS["run_uuid"]
    assert asked(job("export_counts", "2023-05-15", "7"), "--comment") == (
        "export_counts 2023-05-15 7"
    )
    several = group([job("fit", "mlp", "ce", str(seed)) for seed in range(9)], runtime=60)
    assert len(asked(several, "--comment")) <= 100


def test_a_state_of_sacct_that_says_who_cancelled_is_that_of_a_cancelled_job(adapted, tmp_path):
    table = tmp_path / "states"
    table.write_text("1|CANCELLED by 1000\n2|RUNNING\n")
    states, _ = asyncio.run(plugin.query_job_status(f"cat {table}", None))
    assert states == {"1": "CANCELLED", "2": "RUNNING"}
