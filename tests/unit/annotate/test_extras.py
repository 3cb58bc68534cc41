"""`hce annotate` needs the packages of its own extra and no others."""

import subprocess
import sys
import tomllib

import pytest

from annotators import annotator, cells, model_path, source

__all__ = ["annotator", "cells", "model_path", "source"]

WITHOUT = """
import sys
sys.modules |= dict.fromkeys({others!r})
from hce.cli import main
sys.exit(main(sys.argv[1:]))
"""
# A package's name → that of its module, where they differ.
MODULES = {"cellxgene-census": "cellxgene_census", "pillow": "PIL"}


@pytest.fixture
def others(repository):
    """Modules of the other extras."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = {
        extra: {requirement.split(">")[0] for requirement in requirements}
        for extra, requirements in project["optional-dependencies"].items()
    }
    unneeded = set().union(*extras.values()) - extras["annotate"]
    return sorted(MODULES.get(name, name) for name in unneeded)


def annotate(others, *arguments):
    command = [sys.executable, "-c", WITHOUT.format(others=others), "annotate"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


def test_annotating_needs_no_package_of_another_extra(others, source, model_path, tmp_path):
    out = tmp_path / "types.tsv"
    done = annotate(others, source, "--model", model_path, "--out", out, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert out.is_file()


def test_a_page_without_the_packages_for_it_is_refused_in_a_sentence(
    others, source, model_path, tmp_path
):
    outputs = "--out", tmp_path / "types.tsv", "--report", tmp_path / "page.html"
    done = annotate(others, source, "--model", model_path, *outputs)
    assert done.returncode == 1
    assert "install hce with its extras annotate, figures and report" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "types.tsv").exists()
