"""What a rule's script sees as `snakemake`, without a Snakemake."""

from pathlib import Path
from types import SimpleNamespace


def fake_job(rule: str, log: Path, **parts) -> SimpleNamespace:
    """A job of a rule on one core that asked for no memory and time; `parts`: input, output, …"""
    parts = {"output": [], **parts}
    return SimpleNamespace(
        rule=rule, log=[str(log)], threads=1, resources=SimpleNamespace(), **parts
    )
