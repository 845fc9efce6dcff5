"""The paper that the leaderboard's pictures are drawn on: width, fonts, marks, texts, head with legend, PNG and SVG.

Colours are Okabe and Ito's, and no mark is told by its colour alone. Names are drawn as text, never as mathematics.
"""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable

FONTS = (
    "DejaVu Sans",
    "WenQuanYi Zen Hei",
    "IPAPMincho",
    "IPAMincho",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Hebrew",
    "Noto Sans Thai",
)
WIDTH, LEFT, RIGHT = 390 / 96, 1.55, 0.14  # inches; a browser shows 96 of an SVG's pixels as one
ROW, TITLE, AXIS, HEAD_LINE = 0.165, 0.34, 0.27, 0.155  # heights in inches
TEXT, SMALL = 8.2, 7.4  # points
STYLES = {
    "mmedc": ("#0072B2", "o", "fine-tuned, further pretrained on MMedC"),
    "plain": ("#D55E00", "s", "fine-tuned, no MMedC"),
    "unstated": ("#CC79A7", "D", "fine-tuned, corpus not stated"),
    "zero-shot": ("#009E73", "^", "zero-shot (no fine-tuning): another setting"),
}
GREY, PALE = "#555555", "#F0F0F0"


@contextlib.contextmanager
def paper(height_in: float):
    """An empty figure, and matplotlib set up so that its bytes depend on what is drawn and on the fonts alone."""
    import matplotlib
    from matplotlib import font_manager
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    installed = {font.name for font in font_manager.fontManager.ttflist}
    settings = {
        "font.family": [name for name in FONTS if name in installed],
        "font.size": TEXT,
        "svg.hashsalt": "mmedbench",
        "svg.fonttype": "path",
        "axes.linewidth": 0.6,
    }
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)  # no line for a font without a face of the wanted weight: its only face is taken
    try:
        with matplotlib.rc_context(settings):
            figure = Figure(figsize=(WIDTH, height_in), dpi=192, facecolor="white")
            FigureCanvasAgg(figure)
            yield figure
    finally:
        logger.setLevel(level)


def drawn(build: Callable, height_in: float) -> tuple[dict[str, bytes], set[str]]:
    """({"png": bytes, "svg": bytes}, characters that no installed font holds) of what build(figure) draws."""
    files = {}
    with paper(height_in) as figure, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        build(figure)
        for form, metadata in (("png", {"Software": None}), ("svg", {"Date": None, "Creator": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=form, metadata=metadata)
            files[form] = _fewer_colours(buffer) if form == "png" else buffer.getvalue()
    missing = (re.match(r"Glyph (\d+) .* missing from font", str(warning.message)) for warning in seen)
    return files, {chr(int(found[1])) for found in missing if found} - {"…"}  # ours: drawn with its neighbours' font


def _fewer_colours(png: io.BytesIO) -> bytes:
    """The picture in 256 colours, which it looks the same in: half the bytes."""
    from PIL import Image

    small = io.BytesIO()
    with Image.open(png) as image:
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(small, format="png", optimize=True)
    return small.getvalue()


def text(place, x: float, y: float, words: str, **more):
    """Text that is never read as mathematics; place: a figure or axes."""
    return place.text(x, y, words, parse_math=False, **more)


def fitted(figure, words: str, width_in: float, end: str = "", **more) -> str:
    """Words and end, the words' middle left out where they are too wide: names often differ at their end."""
    probe = text(figure, 0, 0, words + end, **more)
    renderer = figure.canvas.get_renderer()
    short = words + end
    for kept in range(len(words) - 1, 1, -1):
        if probe.get_window_extent(renderer).width / figure.dpi <= width_in:
            break
        short = words[: (kept + 1) // 2] + "…" + words[len(words) - kept // 2 :] + end
        probe.set_text(short)
    probe.remove()
    return short


def plain_axes(figure, top_in: float, height_in: float, left_in: float = LEFT, right_in: float = RIGHT):
    """Axes at a distance from the figure's top, all lengths in inches."""
    whole = figure.get_figheight()
    axes = figure.add_axes(
        [left_in / WIDTH, 1 - (top_in + height_in) / whole, (WIDTH - left_in - right_in) / WIDTH, height_in / whole]
    )
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(labelsize=SMALL, length=2.5, width=0.6, pad=2)
    return axes


def head(figure, title: str, notes: list[str], styles: list[str]) -> float:
    """Title, notes and legend at the top; returns where they end, in inches."""
    whole, y = figure.get_figheight(), 0.08
    text(figure, 0.1 / WIDTH, 1 - y / whole, title, fontsize=11, fontweight="bold", va="top")
    y += 0.25
    for note in notes:
        text(figure, 0.1 / WIDTH, 1 - y / whole, note, fontsize=SMALL, va="top", color=GREY)
        y += HEAD_LINE
    y += 0.03
    for style in styles:
        colour, marker, words = STYLES[style]
        axes = figure.add_axes([0.1 / WIDTH, 1 - (y + HEAD_LINE) / whole, 0.2 / WIDTH, HEAD_LINE / whole])
        axes.axis("off")
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.plot(0.5, 0.5, marker, color=colour, mfc="white", ms=4.6, mew=1.3)
        text(figure, 0.35 / WIDTH, 1 - (y + HEAD_LINE / 2) / whole, words, fontsize=SMALL, va="center_baseline")
        y += HEAD_LINE
    return y


def head_height(data: dict) -> float:
    return 0.36 + HEAD_LINE * (len(data["notes"]) + len(data["styles"]))


def dot(axes, x: float, y: float, low: float, high: float, style: str, filled: bool, upright: bool = False) -> None:
    """One value with its 95 % interval; filled: reproduced here, hollow: reported."""
    colour, marker, _ = STYLES[style]
    if upright:
        axes.plot([x, x], [low, high], color=colour, lw=1.2, solid_capstyle="butt", zorder=2)
    else:
        axes.plot([low, high], [y, y], color=colour, lw=1.2, solid_capstyle="butt", zorder=2)
    axes.plot(x, y, marker, color=colour, mfc=colour if filled else "white", ms=4.6, mew=1.3, zorder=3)
