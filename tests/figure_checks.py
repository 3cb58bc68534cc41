"""What is written in a figure, and whether it can be read."""

from itertools import combinations
from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from hce.figures import style


def texts(figure: Figure) -> list[Text]:
    """The texts that are drawn: not, for example, the labels of ticks beyond an axis."""
    drawn: list[Text] = []
    draw = Text.draw

    def record(text: Text, *args: object, **kwargs: object) -> None:
        drawn.append(text)
        draw(text, *args, **kwargs)

    with style.house_style(), mock.patch.object(Text, "draw", record):
        FigureCanvasAgg(figure).draw()
    return [text for text in drawn if text.get_visible() and text.get_text().strip()]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]


def check_layout(figure: Figure) -> None:
    """Asserts that no text is below 6 points, beyond the page, or over another."""
    figure.dpi = 150
    shown = texts(figure)
    assert min(text.get_fontsize() for text in shown) >= 6
    boxes = [(text.get_text(), text.get_window_extent(), text.get_rotation()) for text in shown]
    page = figure.bbox
    for name, box, _ in boxes:
        assert page.x0 <= box.x0, name
        assert box.x1 <= page.x1, name
        assert page.y0 <= box.y0, name
        assert box.y1 <= page.y1, name
    # Letters may touch the line above by their ascenders: only the middle of a line counts.
    lines = []
    for name, b, rotation in boxes:
        x, y = (0.25 * b.width, 0.0) if rotation % 180 else (0.0, 0.25 * b.height)
        lines.append((name, b.x0 + x, b.x1 - x, b.y0 + y, b.y1 - y))
    for (a, ax0, ax1, ay0, ay1), (b, bx0, bx1, by0, by1) in combinations(lines, 2):
        assert ax1 <= bx0 or bx1 <= ax0 or ay1 <= by0 or by1 <= ay0, f"{a!r} overlaps {b!r}"
