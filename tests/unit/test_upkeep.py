"""Checks run from one list, versions agree, and a run does not change the checkout."""

import re
import subprocess
import tomllib

import pytest
import yaml

from hce import __version__


def commands(script):
    """The commands of a shell script, without comments and blank lines."""
    lines = (line.strip() for line in script.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_hooks_and_continuous_integration_run_what_make_lint_runs(repository):
    hooks = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text())
    entries = [hook for repo in hooks["repos"] for hook in repo["hooks"]]
    assert [repo["repo"] for repo in hooks["repos"]] == ["local"]
    assert [hook["entry"] for hook in entries] == ["make lint"]
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in entries)

    ci = commands((repository / ".ci/run").read_text())
    assert "make lint" in ci
    workflow = yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["ci"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]


@pytest.mark.parametrize(
    "check",
    ["ruff check", "ruff format", "snakefmt", "mypy", "codespell", "snakemake --lint"],
)
def test_make_lint_has_every_check(repository, check):
    makefile = (repository / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M).group(1)
    assert [line for line in commands(recipe) if line.startswith(check)] != []


def test_continuous_integration_has_every_python_that_is_supported(repository):
    workflow = yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())
    tried = workflow["jobs"]["ci"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    assert tried == [c.removeprefix(prefix) for c in project["classifiers"] if c.startswith(prefix)]


def test_citation_and_changelog_have_the_version_of_the_library(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    headings = re.findall(r"^## (\S+) \(", (repository / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == __version__
    assert headings == sorted(headings, key=lambda v: [int(n) for n in v.split(".")], reverse=True)


@pytest.mark.parametrize(
    "made",
    [
        "results/paper/summary.md",
        "resources/atlas/paper/genes.parquet",
        "resources/genes/features.parquet",
        "resources/genes/logs/download.log",
        "resources/ontology/v2023-05-22/cl-simple.obo",
        "resources/ontology/logs/v2023-05-22_cl-simple.obo.log",
        ".snakemake/log/run.log",
    ],
)
def test_git_ignores_what_a_run_makes(repository, made):
    done = subprocess.run(["git", "check-ignore", "-q", made], cwd=repository)
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.returncode == 0
