"""Reads commands, Python and YAML from the documents, so that tests can run them as written."""

import re
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

FOLDERS = ("", "config", "docs", "envs", "resources/pbmc", "tests/benchmarks")
# What makes a line a command, after any settings of variables.
PROGRAM = re.compile(
    r"(?:[A-Z_]+=\S+ )*"
    r"(?:snakemake|hce|make|python[\d.]*|pip|conda|apptainer|srun|sbatch|scontrol|tmux|source|export"
    r"|pre-commit|git|\.venv/bin/\w+)(?= |$)"
)
LANGUAGES = {"python": "python", "yaml": "yaml", "bash": "shell", "sh": "shell"}


@dataclass(frozen=True)
class Snippet:
    """A piece of code of a document.

    Attributes:
        page: path of the document in the repository.
        kind: "shell" (one command), "python", "yaml" or "text" (a drawing, output of a command).
        text: the code, without a comment at the end of a command.
    """

    page: str
    kind: str
    text: str


def pages_of(repository: Path) -> list[Path]:
    """The documents."""
    return [page for folder in FOLDERS for page in sorted((repository / folder).glob("*.md"))]


def snippets(repository: Path) -> list[Snippet]:
    """All code of all documents: blocks, and commands within sentences and tables."""
    return [
        Snippet(str(page.relative_to(repository)), kind, text)
        for page in pages_of(repository)
        for kind, text in read(page.read_text(encoding="utf-8"))
    ]


def read(markdown: str) -> list[tuple[str, str]]:
    """Kind and text of the snippets of one document, in its order."""
    found = []
    for token in MarkdownIt().enable("table").parse(markdown):
        if token.type in ("fence", "code_block"):
            kind = LANGUAGES.get(token.info.strip(), "text")
            if kind == "text" and PROGRAM.match(token.content):
                kind = "shell"
            texts = commands(token.content) if kind == "shell" else [token.content]
            found += [(kind, text) for text in texts]
        for child in token.children or []:
            if child.type == "code_inline" and is_command(child.content):
                found.append(("shell", child.content))
    return found


def is_command(code: str) -> bool:
    """Whether code within a sentence is a command, and not just the name of one."""
    names_one = re.fullmatch(r"[\w.-]+|hce \w+", code)
    return PROGRAM.match(code) is not None and not names_one


def commands(block: str) -> list[str]:
    """The commands of a block, with continued lines and loops joined and comments removed."""
    joined = re.sub(r"\s*\\\n\s*", " ", block)
    joined = re.sub(
        r"^for .*?^done$",
        lambda loop: re.sub(r"(?<!do)\n\s*", "; ", re.sub(r"do\n\s*", "do ", loop[0])),
        joined,
        flags=re.MULTILINE | re.DOTALL,
    )
    lines = joined.splitlines()
    return [text for line in lines if (text := re.sub(r"(^|\s+)# .*", "", line).strip())]
