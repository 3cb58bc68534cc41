"""Files that the pages are made of, and the engine that puts them together."""

import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_asset(file: str) -> str:
    """The text of a file of hce/report/assets, such as `colours.css`."""
    return (files("hce.report") / "assets" / file).read_text(encoding="utf-8")


def templates() -> Environment:
    """The templates of hce/report/assets: what is put in is escaped, what is missing an error."""
    environment = Environment(
        loader=PackageLoader("hce.report", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["minus"] = _minus
    return environment


def _minus(text: str) -> str:
    """The text with the sign in place of the hyphen before a number."""
    return re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", text)
