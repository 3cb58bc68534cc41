"""Compiled loops are kept from run to run, and known again by their own file alone."""

import ast
from collections.abc import Iterator

from conftest import REPOSITORY


def compiled() -> Iterator[tuple[str, ast.FunctionDef, set[str]]]:
    """Compiled functions, with the names that their file imports from others of the library."""
    for path in sorted((REPOSITORY / "scripts" / "hce").rglob("*.py")):
        statements = ast.parse(path.read_text(encoding="utf-8")).body
        imported = {
            alias.asname or alias.name
            for statement in statements
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("hce")
            for alias in statement.names
        }
        for statement in statements:
            if isinstance(statement, ast.FunctionDef) and any(
                "njit" in ast.unparse(decorator) for decorator in statement.decorator_list
            ):
                yield path.name, statement, imported


def test_compiled_loops_use_nothing_of_other_files_whose_change_they_would_not_notice():
    found = list(compiled())
    assert len(found) > 20
    for file, function, imported in found:
        names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        assert not names & imported, f"{file}: {function.name} uses {names & imported}"
