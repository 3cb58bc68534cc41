"""Files that the pages of a run are made of."""

from importlib.resources import files


def page_asset(file: str) -> str:
    """The text of a file of hce/report/assets, such as `colours.css`."""
    return (files("hce.report") / "assets" / file).read_text(encoding="utf-8")
