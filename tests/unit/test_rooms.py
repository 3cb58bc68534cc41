"""The rooms of the library: an order, in which no import goes upwards."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conftest import REPOSITORY

LIBRARY = REPOSITORY / "scripts" / "hce"
GROUND_FLOOR = ["errors", "files", "checksums", "sets", "names", "config", "registry", "progress"]
GROUND_FLOOR += ["download", "kernels"]
MATHEMATICS = ["losses", "decoding", "metrics"]
# In the order of the data, with one exception: counts are known to all that read or write them, so
# the store comes before the rooms that fill it.
ROOMS = ["jobs", "ontology", "store", "inputs", "census", "curation", "sources", "leakage"]
ROOMS += ["batches", "models", "training", "evaluation", "annotate"]
ROOMS += ["figures", "report", "explorer", "commands"]
ORDER = [*GROUND_FLOOR, *MATHEMATICS, *ROOMS, "cli"]


def imports() -> Iterator[tuple[Path, str]]:
    """Every module of the library, with each room or module that it imports."""
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module == "hce":
                names = [f"hce.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("hce.") and name != "hce.__version__":
                    yield path.relative_to(LIBRARY), name.split(".")[1]


def place(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def test_every_room_has_its_place_in_the_order():
    found = {place(path.relative_to(LIBRARY)) for path in LIBRARY.rglob("*.py")}
    assert found - {"__init__"} == set(ORDER)


def test_no_room_imports_a_later_one_so_that_no_two_import_each_other():
    upwards = [
        f"{path} imports {name}"
        for path, name in imports()
        if name != place(path) and ORDER.index(name) > ORDER.index(place(path))
    ]
    assert upwards == []


def test_mathematics_knows_no_files():
    allowed = {"errors", "registry", *MATHEMATICS}
    assert {name for path, name in imports() if place(path) in MATHEMATICS} <= allowed


def test_the_tests_of_a_room_lie_in_a_folder_of_its_name():
    folders = {path.name for path in (REPOSITORY / "tests" / "unit").iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} <= set(ROOMS)
