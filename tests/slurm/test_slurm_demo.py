"""The demo through `snakemake --profile slurm-gpu` on a real SLURM, as a job itself (head.sh)."""

import sys

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(2400)]

HEAD = "workflow/profiles/slurm-gpu/head.sh"
FEW_JOBS = ("--group-components", "fit=4", "store=4")


@pytest.fixture(scope="module")
def through_slurm(cluster, new_workplace):
    """The workplace in which the demo has run to its end."""
    place = new_workplace()
    (place.folder / ".venv").symlink_to(sys.prefix)
    _, _, _, *options = place.command(*FEW_JOBS)
    options += ["--slurm-init-seconds-before-status-checks", "1"]  # the cluster is idle
    job = cluster.run(
        *("sbatch", "--parsable", "--partition=cpu", HEAD), *options, folder=place.folder
    ).strip()
    ended = cluster.wait_for_end(job, 2300)
    log = place.folder / f"hce-head-{job}.log"
    assert ended == "COMPLETED", log.read_text()[-5000:]
    return place


def test_every_table_equals_that_of_a_local_run_byte_for_byte(through_slurm, finished):
    here, there = (place.folder / "results/demo" for place in (finished, through_slurm))
    tables = sorted(path.name for path in (here / "tables").iterdir())
    assert tables
    for table in tables:
        assert (there / "tables" / table).read_bytes() == (here / "tables" / table).read_bytes()
    figures = {path.name for path in (here / "figures").iterdir()}
    assert {path.name for path in (there / "figures").iterdir()} == figures
    assert (there / "report.html").is_file()
