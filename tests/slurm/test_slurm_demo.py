"""The demo through `snakemake --profile slurm-gpu` on a real SLURM."""

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

FEW_JOBS = ("--group-components", "fit=4", "store=4")


@pytest.fixture(scope="module")
def through_slurm(submit, new_workplace):
    return submit(new_workplace(), *FEW_JOBS)


def test_every_table_equals_that_of_a_local_run_byte_for_byte(through_slurm, finished):
    output = through_slurm.wait()
    assert through_slurm.process.returncode == 0, output[-5000:]
    here, there = (place.folder / "results/demo" for place in (finished, through_slurm.place))
    tables = sorted(path.name for path in (here / "tables").iterdir())
    assert tables
    for table in tables:
        assert (there / "tables" / table).read_bytes() == (here / "tables" / table).read_bytes()
    figures = {path.name for path in (here / "figures").iterdir()}
    assert {path.name for path in (there / "figures").iterdir()} == figures
    assert (there / "report.html").is_file()
