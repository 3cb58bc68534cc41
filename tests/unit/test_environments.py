"""The pinned environments agree: pip lock, torch pin, conda files, pyproject.toml."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
CONDA_FILES = ["cpu.yaml", "gpu.yaml"]

# conda name → PyPI name, where they differ
PYPI_NAMES = {"matplotlib-base": "matplotlib", "pytorch": "torch"}
# What conda brings along in its own way
FREE = {"python", "pip"}


def locked_versions() -> dict[str, str]:
    """Package → version of the lock and the torch pin."""
    text = (ENVS / "lock.txt").read_text() + (ENVS / "torch.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, flags=re.MULTILINE))


def conda_versions(text: str) -> dict[str, str]:
    """Package (PyPI name) → version of a conda file, its pip section included."""
    versions = {}
    for entry in yaml.safe_load(text)["dependencies"]:
        for spec in entry["pip"] if isinstance(entry, dict) else [entry]:
            name, *rest = re.split(r"=+", spec)
            versions[PYPI_NAMES.get(name, name)] = rest[0] if rest else ""
    return versions


def drift(conda: dict[str, str], locked: dict[str, str]) -> list[str]:
    """What a conda file pins otherwise than the lock does, a sentence each."""
    return [
        f"{name}: conda file {version or 'unpinned'}, lock {locked.get(name, 'without it')}"
        for name, version in conda.items()
        if name not in FREE and locked.get(name) != version
    ]


def requirements() -> list[Requirement]:
    """The direct requirements, as requirements.in states them."""
    lines = (ENVS / "requirements.in").read_text().splitlines()
    stated = (line.split("#")[0].strip() for line in lines)
    return [Requirement(line) for line in stated if line]


def library_requirements() -> list[Requirement]:
    """What pyproject.toml says that the library needs, its optional groups included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = project["optional-dependencies"].values()
    return [Requirement(r) for r in project["dependencies"] + [r for g in groups for r in g]]


@pytest.mark.parametrize("file", CONDA_FILES)
def test_conda_files_pin_the_versions_of_the_lock(file):
    assert drift(conda_versions((ENVS / file).read_text()), locked_versions()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("numpy=", "numpy=0."), ("pytorch=", "pytorch=0."), ("snakemake==", "snakemake==0.")],
)
def test_drift_is_noticed_in_both_sections_and_under_either_name(before, after):
    text = (ENVS / "gpu.yaml").read_text()
    assert before in text
    names = [
        line.split(":")[0]
        for line in drift(
            conda_versions(text.replace(f"- {before}", f"- {after}")), locked_versions()
        )
    ]
    assert names == [PYPI_NAMES.get(before.rstrip("="), before.rstrip("="))]


@pytest.mark.parametrize("file", CONDA_FILES)
def test_conda_files_hold_everything_the_library_and_the_workflow_import(file):
    needed = {r.name for r in library_requirements()}
    needed |= {r.name for r in requirements() if r.name.startswith("snakemake")}
    assert needed - conda_versions((ENVS / file).read_text()).keys() == set()


def test_conda_files_differ_in_the_build_of_pytorch_alone():
    first, second = (
        yaml.safe_load((ENVS / file).read_text())["dependencies"] for file in CONDA_FILES
    )
    different = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    assert [(a.split("=")[0], b.split("=")[0]) for a, b in different] == [("pytorch", "pytorch")]


def test_the_lock_meets_the_requirements_and_the_ranges_of_pyproject():
    locked = locked_versions()
    for requirement in requirements() + library_requirements():
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in the lock: run make lock"
        assert requirement.specifier.contains(version), f"{requirement} is not met by {version}"


def test_every_locked_package_is_pinned_with_a_hash():
    entries = re.split(r"\n(?=\S)", (ENVS / "lock.txt").read_text().strip())
    assert len(entries) > 100
    assert [e.split()[0] for e in entries if "==" not in e or "--hash=sha256:" not in e] == []


def test_pandas_stubs_describe_the_locked_pandas():
    locked = locked_versions()
    assert locked["pandas-stubs"].split(".")[:2] == locked["pandas"].split(".")[:2]


def test_triton_for_the_tests_is_the_one_that_torchs_cuda_builds_bring():
    stated = [Requirement(entry) for entry in metadata.requires("torch") or []]
    wanted = [str(entry.specifier) for entry in stated if entry.name == "triton"]
    if not wanted:
        pytest.skip("torch is a CPU build here, which names no Triton")
    assert f"triton{wanted[0]}" == (ENVS / "triton.txt").read_text().strip()
