"""Writes docs/tables.md, the meaning of every column of the tables, from hce/report/tables.yaml.

Run it with `make docs`, which also writes docs/config.md.
"""

from pathlib import Path

from hce.files import atomic_path
from hce.report.glossary import glossary

PAGE = Path(__file__).parents[1] / "docs" / "tables.md"
START = """# The tables and their columns

Made by `make docs` from `scripts/hce/report/tables.yaml`; do not edit this page. `summary.md` and
`index.html` of every run end with the same list.

"""


def reference() -> str:
    """The page as Markdown."""
    return START + glossary() + "\n"


if __name__ == "__main__":
    with atomic_path(PAGE) as temporary:
        temporary.write_text(reference(), encoding="utf-8")
    print(f"Wrote {PAGE.name}.")
