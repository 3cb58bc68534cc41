"""What code a script uses: a fingerprint that changes when its numbers may, and not with its words.

Snakemake sees a rule's script and not the library behind it. The fingerprint goes over the syntax
trees of all modules that the script imports, directly or not, without docstrings; comments and
layout are not in a tree. Files that lie beside a module, such as the explorer's, count as well.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from hce.errors import UserError
from hce.files import atomic_path

# What is written down of a module is good for this version of Python and of these functions.
_VERSION = f"2 {sys.version_info.major}.{sys.version_info.minor}"


class Fingerprints:
    """Fingerprints of scripts.

    Args:
        roots: folders in which modules are looked for; others, such as installed packages, do not
            count: their versions are those of the environment.
        cache: where it is written down what is known of each module; it saves most of the time.
    """

    def __init__(self, roots: Sequence[Path], cache: Path) -> None:
        self.roots = roots
        self.cache = cache
        self._known: dict[str, dict[str, Any]] = _read(cache)
        self._used: dict[str, dict[str, Any]] = {}
        self._files: dict[str, Path | None] = {}

    def of(self, script: Path, further: Collection[str] = ()) -> str:
        """The fingerprint of a script, 12 hexadecimal digits.

        Args:
            script: the file.
            further: modules that it imports by a name from elsewhere, such as the config.

        Raises:
            UserError: a module is not valid Python.
        """
        found = self._modules(script, further)
        parts = {str(place): self._module(path)["digest"] for place, path in found.items()}
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def modules(self, script: Path) -> set[str]:
        """Names of the modules that a script imports, directly or not."""
        return {name for name in self._modules(script, ()) if name}

    def save(self) -> None:
        """Writes down what is known of the modules that were asked for."""
        if self._used != self._known:
            with atomic_path(self.cache) as temporary:
                content = {"version": _VERSION, "modules": self._used}
                temporary.write_text(json.dumps(content), encoding="utf-8")

    def _modules(self, script: Path, further: Collection[str]) -> dict[str, Path]:
        """Name → file of all modules, and "" → the script."""
        found = {"": script}
        ahead = [*self._module(script)["imports"], *further]
        while ahead:
            name = ahead.pop()
            path = self._find(name)
            if name in found or path is None:
                continue
            found[name] = path
            # Importing a module imports the packages around it.
            ahead += [name.rpartition(".")[0], *self._module(path)["imports"]]
        return found

    def _find(self, name: str) -> Path | None:
        if name and name not in self._files:
            places = (root.joinpath(*name.split(".")) for root in self.roots)
            files = (p for at in places for p in (at.with_suffix(".py"), at / "__init__.py"))
            self._files[name] = next((path for path in files if path.is_file()), None)
        return self._files.get(name)

    def _module(self, path: Path) -> dict[str, Any]:
        """Age and size of a file, a digest of what it says, and what it imports."""
        key = str(path)
        if key not in self._used:
            beside = [] if path.name != "__init__.py" else sorted(_beside(path.parent))
            age = [[p.stat().st_mtime_ns, p.stat().st_size] for p in (path, *beside)]
            known = self._known.get(key)
            if known is None or known["age"] != age:
                known = {"age": age, **self._read_module(path, beside)}
            self._used[key] = known
        return self._used[key]

    def _read_module(self, path: Path, beside: Sequence[Path]) -> dict[str, Any]:
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            raise UserError(f"{path} cannot be read as Python: {error}.") from error
        digest = hashlib.sha256("".join(_plain(tree)).encode())
        for file in beside:
            digest.update(file.read_bytes())
        package = next(
            (path.relative_to(r).parent.parts for r in self.roots if path.is_relative_to(r)), ()
        )
        imports = {name for node in _running(tree) for name in _imported(node, package)}
        return {"digest": digest.hexdigest(), "imports": sorted(imports)}


def _read(cache: Path) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
        return dict(content["modules"]) if content["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _beside(package: Path) -> Iterator[Path]:
    """Files of a package that are no Python; those of packages within it are theirs."""
    for path in package.iterdir():
        if path.is_dir():
            if path.name != "__pycache__" and not (path / "__init__.py").exists():
                yield from _beside(path)
        elif path.suffix not in (".py", ".pyc"):
            yield path


def _plain(node: Any) -> Iterator[str]:
    """A syntax tree as text, without docstrings, the version and what is empty."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(node, _DOCUMENTED):
                value = value[_is_docstring(value[0]) :] if value else value
                value = [line for line in value if not _is_version(line)]
            if value is not None and value != []:
                yield f" {name}="
                yield from _plain(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for value in node:
            yield from _plain(value)
        yield "]"
    else:
        yield repr(node)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_version(node: ast.stmt) -> bool:
    """Whether it sets __version__, with which no number changes."""
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree but those that only type checkers read."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield from _running(child)


def _imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[str]:
    """Names of what may be modules in an import, or in a text that names a module of the library.

    Such a text is how `python -m` is told what to run.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package[: len(package) + 1 - node.level] if node.level else ()
        module = ".".join([*above, *filter(None, [node.module])])
        yield module
        yield from (f"{module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and str(node.value).startswith("hce."):
        yield str(node.value)


def contents_of(*paths: str | Path) -> list[str]:
    """What given files hold, so that a change is noticed whatever their time stamps say.

    Returns:
        Of each file its name with the start of its SHA-256 where it is small, else with its size. A
        file that is not there is left out.
    """
    found = [path for path in map(Path, paths) if path.is_file()]
    return [f"{path.name} {_content(path)}" for path in found]


# Reading more than this at every start would be felt.
SMALL = 2**20


def _content(path: Path) -> str:
    if (size := path.stat().st_size) > SMALL:
        return f"{size} bytes"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
