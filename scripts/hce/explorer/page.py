"""Writes one HTML file with the page, its style, its scripts and its data."""

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from hce.report.page_assets import page_asset

# In the order of their dependencies; together they are one module of the page.
SCRIPTS = (
    *("model.js", "address.js", "counts.js", "tree.js", "search.js", "table.js"),
    *("overview.js", "heatmap.js", "flow.js", "detail.js", "main.js"),
)


def build_page(data: Mapping[str, Any]) -> str:
    """Puts the data into the page.

    Args:
        data: as `hce.explorer.data.explorer_data` returns it.

    Returns:
        HTML that needs no other file and no network.

    Raises:
        ValueError: the data contain a NaN or an infinity, which JSON cannot represent.
    """
    source = files("hce.explorer") / "assets"
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    parts = {
        "colours.css": page_asset("colours.css"),
        "explorer.css": (source / "explorer.css").read_text(encoding="utf-8"),
        "explorer.js": "\n".join((source / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "note": escape(data["note"] or "", quote=False),
        "data": b64encode(zlib.compress(text.encode(), 9)).decode(),  # a fifth of the text
    }
    page = (source / "explorer.html").read_text(encoding="utf-8")
    for name, part in parts.items():
        page = page.replace(f"<!-- {name} -->", part)
    return page
