"""The fingerprint of a script changes with what it runs, and not with words and layout."""

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY
from hce.errors import UserError
from hce.jobs.fingerprint import Fingerprints, contents_of

SCRIPTS = REPOSITORY / "scripts"
MODULES = {
    "script.py": '"""A script."""\nfrom lib.used import double\nprint(double(2))\n',
    "lib/__init__.py": "",
    "lib/used.py": (
        '"""Doubles."""\n\nfrom typing import TYPE_CHECKING\n\nfrom . import deep\n\n'
        "if TYPE_CHECKING:\n    from lib import types_only\n\n\n"
        'def double(x):\n    """Twice."""\n    # by adding\n    return deep.add(x, x)\n'
    ),
    "lib/deep.py": "def add(a, b):\n    return a + b\n",
    "lib/types_only.py": "KIND = int\n",
    "lib/unused.py": "VALUE = 1\n",
}


class Library:
    """Some modules, and the fingerprint of their script by a fresh process or with a cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in MODULES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns + 1_000_000))

    def fingerprint(self, cache: str = "cache.json", **options) -> str:
        fingerprints = Fingerprints([self.folder], self.folder / cache)
        found = fingerprints.of(self.folder / "script.py", **options)
        fingerprints.save()
        return found


@pytest.fixture
def library(tmp_path):
    return Library(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", '"""A script."""', '"""Another text."""'),
        ("lib/used.py", '"""Twice."""', '"""Two times\n\n    as much.\n    """'),
        ("lib/used.py", '    """Twice."""\n', ""),
        ("lib/used.py", "# by adding", "# by means of addition"),
        ("lib/deep.py", "return a + b", "return (\n        a + b\n    )"),
        ("lib/unused.py", "1", "2"),
        ("lib/__init__.py", "", '__version__ = "2.0"\n'),
        ("lib/types_only.py", "int", "float"),
    ],
)
def test_words_layout_and_what_is_not_run_do_not_count(library, name, old, new):
    before = library.fingerprint()
    library.edit(name, old, new)
    assert library.fingerprint() == before
    assert library.fingerprint("fresh.json") == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("script.py", "double(2)", "double(3)"),
        ("lib/used.py", "add(x, x)", "add(x, 2)"),
        ("lib/deep.py", "a + b", "a - b"),
        ("lib/__init__.py", "", "import warnings\n"),
    ],
)
def test_what_is_run_counts_however_far_it_is_imported(library, name, old, new):
    before = library.fingerprint()
    library.edit(name, old, new)
    after = library.fingerprint()
    assert after != before
    assert library.fingerprint("fresh.json") == after


def test_modules_that_the_config_names_count(library):
    before = library.fingerprint(further=["lib.unused"])
    assert before != library.fingerprint()
    library.edit("lib/unused.py", "1", "2")
    assert library.fingerprint(further=["lib.unused"]) != before


def test_files_beside_a_module_count_for_their_package_alone(library):
    before = library.fingerprint()
    (library.folder / "lib/page").mkdir()
    (library.folder / "lib/page/style.css").write_text("a {}")
    with_page = library.fingerprint()
    assert with_page != before
    (library.folder / "lib/page/__init__.py").touch()
    assert library.fingerprint() == before


def test_a_module_that_is_no_python_is_named(library):
    library.edit("lib/deep.py", "return", "retrun")
    with pytest.raises(UserError, match=r"deep\.py cannot be read as Python: invalid syntax"):
        library.fingerprint()


@pytest.mark.parametrize("content", ["", "{}", '{"version": "0", "modules": {}}', "[1]"])
def test_a_cache_that_is_none_is_made_again(library, content):
    before = library.fingerprint()
    (library.folder / "cache.json").write_text(content)
    assert library.fingerprint() == before


class TestTheScripts:
    @pytest.fixture
    def fingerprints(self, tmp_path):
        return Fingerprints([SCRIPTS], tmp_path / "cache.json")

    @pytest.mark.parametrize("name", ["fit_model.py", "export_model.py", "make_explorer.py"])
    def test_know_every_module_of_the_library_that_python_loads_for_them(self, fingerprints, name):
        tree = ast.parse((SCRIPTS / name).read_text())
        imports = [ast.unparse(n) for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        code = "import sys; print(*(name for name in sys.modules if name.split('.')[0] == 'hce'))"
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([*imports, code])],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        )
        assert done.returncode == 0, done.stderr
        assert set(done.stdout.split()) <= fingerprints.modules(SCRIPTS / name)

    def test_of_a_fit_know_the_processes_that_it_starts_and_no_figure(self, fingerprints):
        found = fingerprints.modules(SCRIPTS / "fit_model.py")
        assert {"hce.losses", "hce.training.worker", "hce.batches.densify"} <= found
        rooms = {name.split(".")[1] for name in found if "." in name}
        assert not rooms & {"figures", "report", "explorer", "evaluation", "annotate", "census"}

    def test_of_a_figure_know_nothing_of_training(self, fingerprints):
        found = fingerprints.modules(SCRIPTS / "plot_figures.py")
        rooms = {name.split(".")[1] for name in found if "." in name}
        assert not rooms & {"training", "batches", "store", "losses", "census"}


def test_small_files_are_known_by_content_and_large_ones_by_size(tmp_path, monkeypatch):
    monkeypatch.setattr("hce.jobs.fingerprint.SMALL", 10)
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_text("abc")
    large.write_text("a" * 11)
    before = contents_of(small, large, tmp_path / "absent")
    assert [text.split()[0] for text in before] == ["small", "large"]
    small.write_text("abd")
    os.utime(small, (0, 0))
    large.write_text("b" * 11)
    after = contents_of(str(small), str(large))
    assert after[0] != before[0]
    assert after[1] == before[1] == "large 11 bytes"
