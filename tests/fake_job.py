"""What a rule's script sees as `snakemake`, without a Snakemake."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace


class Files(SimpleNamespace):
    """Files with names, one or a list each; iterates over all of them, as Snakemake's do."""

    def __iter__(self) -> Iterator[str]:
        for files in vars(self).values():
            yield from files if isinstance(files, list) else [files]


def fake_job(rule: str, log: Path, **parts) -> SimpleNamespace:
    """A job of a rule on one core that asked for no memory and time; `parts`: input, output, …"""
    parts = {"input": [], "output": [], **parts}
    return SimpleNamespace(
        rule=rule, log=[str(log)], threads=1, resources=SimpleNamespace(), **parts
    )
