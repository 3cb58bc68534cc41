"""The workflow runs from any folder, and as a module of another workflow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from documents import snippets
from workplace import jobs_of_each_rule

pytestmark = pytest.mark.workflow

HOST = 'github("OWNER/NAME", path="workflow/Snakefile", tag="vX.Y.Z")'


@pytest.fixture
def empty(tmp_path):
    """An empty folder."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def plan(*arguments, cwd, environment=None):
    """What a dry run says."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "reason", *arguments]
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | (environment or {}),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def importing(repository, snakefile):
    """The Snakefile that config/README.md shows, with the workflow from elsewhere."""
    page = [s.text for s in snippets(repository) if s.page == "config/README.md"]
    text = "\n".join(block for block in page if block.startswith(("configfile:", "onstart:")))
    assert text.count(HOST) == 1
    assert "hce.make_report()" in text
    return text.replace(HOST, snakefile)


def git(*arguments, cwd):
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=cwd, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def in_place(new_workplace):
    """Jobs of the demo where the working directory is the repository."""
    place = new_workplace().folder
    return jobs_of_each_rule(plan("--configfile", "config/demo.yaml", cwd=place))


@pytest.mark.parametrize("snakefile", ["Snakefile", "workflow/Snakefile"])
def test_the_demo_is_planned_from_an_empty_folder(repository, empty, in_place, snakefile):
    demo = repository / "config/demo.yaml"
    arguments = ["-s", repository / snakefile, "--directory", empty, "--configfile", demo]
    said = plan(*arguments, cwd="/")
    assert jobs_of_each_rule(said) == in_place
    assert in_place["fit"] == 34
    assert str(repository / "resources/ontology/cl-slim.obo") in said
    assert [path.name for path in empty.iterdir()] in ([], [".snakemake"])


def test_the_config_and_files_of_the_working_directory_go_first(repository, empty):
    config = yaml.safe_load((repository / "config/config.yaml").read_text()) | {"run": "mine"}
    (empty / "config").mkdir()
    (empty / "config/config.yaml").write_text(yaml.safe_dump(config))
    own = empty / "resources/published.tsv"
    own.parent.mkdir()
    shutil.copy(repository / "resources/published.tsv", own)
    said = plan("-s", repository / "Snakefile", cwd=empty)
    assert "output: results/mine/summary.md" in said
    assert ", resources/published.tsv" in said
    assert str(repository / "resources/published.tsv") not in said


def test_the_demo_is_planned_as_a_module_of_another_workflow(repository, empty, in_place):
    shutil.copytree(repository / "config", empty / "config")
    snakefile = repr(str(repository / "workflow/Snakefile"))
    (empty / "Snakefile").write_text(importing(repository, snakefile))
    assert jobs_of_each_rule(plan("--configfile", "config/demo.yaml", cwd=empty)) == in_place


def test_the_demo_is_planned_as_a_module_that_a_git_host_has(repository, tmp_path, empty, in_place):
    origin = tmp_path / "origin"
    try:
        listed = git("ls-files", "--cached", "--others", "--exclude-standard", cwd=repository)
    except subprocess.CalledProcessError:
        pytest.skip("the repository is not a git checkout: what belongs to it is not known")
    for name in listed.splitlines():
        if (repository / name).is_file():
            (origin / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, origin / name, follow_symlinks=False)
    for step in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "All"], ["tag", "v1"]):
        git(*step, cwd=origin)
    shutil.copytree(repository / "config", empty / "config")
    snakefile = 'github("someone/hce", path="workflow/Snakefile", tag="v1")'
    (empty / "Snakefile").write_text(importing(repository, snakefile))

    cache = tmp_path / "cache"
    environment = {
        "XDG_CACHE_HOME": str(cache),
        "GIT_CONFIG_COUNT": "1",  # in place of the host, the folder
        "GIT_CONFIG_KEY_0": f"url.{origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/someone/hce",
    }
    said = plan("--configfile", "config/demo.yaml", cwd=empty, environment=environment)
    assert jobs_of_each_rule(said) == in_place
    fetched = Path(next(cache.rglob("v1/resources/ontology/cl-slim.obo"))).parents[2]
    assert str(fetched / "resources/ontology/cl-slim.obo") in said
    library = (path.relative_to(repository) for path in (repository / "scripts/hce").rglob("*.py"))
    assert [str(path) for path in library if not (fetched / path).exists()] == []
