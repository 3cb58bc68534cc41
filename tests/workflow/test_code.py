"""A change of the code reruns what runs it: not only the script's, and not for words alone."""

import shutil

import pytest

from workplace import Workplace

pytestmark = pytest.mark.workflow

# As the profiles have it.
TRIGGERS = ["--rerun-triggers", "mtime", "params", "input", "software-env"]
FIGURES = {"plot_figure_1", "plot_figure_2", "plot_supplement", "plot_diagnostics", "plot_audit"}


@pytest.fixture
def place(finished, repository, tmp_path):
    """A finished run whose scripts are a copy that may be changed."""
    place = finished.copy(tmp_path / "place")
    (place.folder / "scripts").unlink()
    shutil.copytree(
        repository / "scripts",
        place.folder / "scripts",
        ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
    )
    return place


def edit(place: Workplace, name: str, old: str, new: str) -> None:
    path = place.folder / "scripts" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def fits(place: Workplace) -> int:
    return len(list(place.folder.glob("results/demo/fits/*/*/*/model.pt")))


def test_words_rerun_nothing(place):
    edit(
        place, "hce/losses.py", '"""Hierarchical cross-entropy as published', '"""HCE as published'
    )
    edit(place, "fit_model.py", '"""Trains', '"""Fits')
    edit(place, "hce/batches/densify.py", "# Augmented expression", "# Shifted expression")
    assert place.planned({}, *TRIGGERS) == {}


def test_another_normalisation_trains_again_and_says_why(place):
    edit(place, "hce/store/counts.py", "TARGET_TOTAL = 10_000.0", "TARGET_TOTAL = 1_000.0")
    planned = place.planned({}, *TRIGGERS)
    assert planned["fit"] == fits(place)
    assert {"predict", "score_fit"} <= set(planned)
    assert "simulate_census" not in planned
    done = place.snakemake("--dry-run", *TRIGGERS)
    assert "code of select_genes.py" in done.stdout + done.stderr


def test_another_figure_draws_figures_alone(place):
    edit(place, "hce/figures/bars.py", "import ", "import math\nimport ")
    planned = set(place.planned({}, *TRIGGERS))
    assert FIGURES - {"plot_audit"} <= planned
    assert not planned & {"fit", "predict", "score_fit", "gather_scores", "compare_losses"}


def test_touch_keeps_results_that_the_change_does_not_concern(place):
    edit(place, "hce/losses.py", "import torch\n", "import math\n\nimport torch\n")
    assert place.planned({}, *TRIGGERS)["fit"] == fits(place)
    done = place.snakemake("--touch", *TRIGGERS)
    assert done.returncode == 0, done.stderr
    assert place.planned({}, *TRIGGERS) == {}


def test_an_input_that_changed_under_an_older_time_stamp_is_noticed(place):
    published = place.folder / "resources/published.tsv"
    text = published.resolve().read_text()
    published.unlink()
    published.write_text(text.replace("types", "kinds", 1))
    shutil.copystat(place.folder / "Snakefile", published)
    planned = place.planned({}, *TRIGGERS)
    assert {"report_curation", "checksum_inputs"} <= set(planned)
    assert "fit" not in planned
