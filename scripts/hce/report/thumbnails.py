"""Small pictures of figures that a page can hold."""

import base64
import io
from pathlib import Path

from PIL import Image

# Twice the width of a picture on the page, for screens of high density; pixels.
WIDTH = 560
QUALITY = 60


def thumbnail(path: str | Path) -> tuple[str, int, int]:
    """Reduces a picture.

    Args:
        path: a PNG.

    Returns:
        A `data:` address of a WebP, and its width and height in pixels.
    """
    with Image.open(path) as picture:
        height = max(1, round(picture.height * WIDTH / picture.width))
        small = picture.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
    held = io.BytesIO()
    small.save(held, "WEBP", quality=QUALITY, method=6)
    text = base64.b64encode(held.getvalue()).decode("ascii")
    return f"data:image/webp;base64,{text}", WIDTH, height
