"""Draw the leaderboard's pictures with matplotlib, as wide as a phone screen: canvas, fonts, marks, PNG and SVG.

Reads and writes nothing: leaderboard_pictures.py says what is drawn, leaderboard_pictures.py keeps the files.
"""

import contextlib
import io
import logging
import math
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
    """Words and end, the words' middle omitted where they are too wide: names often differ at their end."""
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


def draw(kind: str, data: dict) -> tuple[dict[str, bytes], set[str]]:
    """({"png": bytes, "svg": bytes}, characters that no installed font holds) of one picture.

    kind: a key of PICTURES; data: as picture_contents.picture_data gives it.
    """
    build, height = PICTURES[kind]
    return drawn(lambda figure: build(figure, data), height(data))


def _list_axes(figure, top: float, title: str, labels: list[tuple[str, str]], limits: tuple[float, float]):
    """Axes with a line a label (name and end), the first on top, and a title above them."""
    whole, count = figure.get_figheight(), len(labels)
    text(figure, 0.1 / WIDTH, 1 - (top + 0.09) / whole, title, fontsize=TEXT + 0.6, fontweight="bold", va="top")
    axes = plain_axes(figure, top + TITLE, ROW * count)
    axes.set(xlim=limits, ylim=(count - 0.5, -0.5), yticks=[])
    axes.grid(axis="x", color="#CCCCCC", lw=0.5)
    axes.set_axisbelow(True)
    for number, (words, end) in enumerate(labels):
        if number % 2 == 0:
            axes.axhspan(number - 0.5, number + 0.5, color=PALE, lw=0, zorder=0)
        text(
            axes,
            -0.05 / (WIDTH - LEFT - RIGHT),
            number,
            fitted(figure, words, LEFT - 0.15, end),
            ha="right",
            va="center",
            transform=axes.get_yaxis_transform(),
        )
    return axes


def _draw_languages(figure, data: dict) -> None:
    """A list of dots for each language, the models in one order in all of them."""
    top = head(figure, data["title"], data["notes"], data["styles"])
    for panel in data["panels"]:
        axes = _list_axes(
            figure, top, panel["title"], [(row["name"], row["more"]) for row in data["rows"]], data["limits"]
        )
        for number, (row, cell) in enumerate(zip(data["rows"], panel["cells"], strict=True)):
            if cell is None:
                text(axes, data["limits"][0], number, "  not measured", va="center", fontsize=SMALL, color=GREY)
            else:
                dot(axes, cell[0], number, cell[1], cell[2], row["style"], row["reproduced"])
            if number and (row["style"] == "zero-shot") != (data["rows"][number - 1]["style"] == "zero-shot"):
                axes.axhline(number - 0.5, xmin=-LEFT / (WIDTH - LEFT - RIGHT), color="black", lw=0.6, clip_on=False)
        top += TITLE + ROW * len(data["rows"]) + AXIS


def _languages_height(data: dict) -> float:
    return head_height(data) + len(data["panels"]) * (TITLE + ROW * len(data["rows"]) + AXIS)


def _draw_gains(figure, data: dict) -> None:
    """For each pair of a model and its base the average's difference and each language's, with a line at none."""
    top = head(figure, data["title"], data["notes"], data["styles"])
    for panel in data["panels"]:
        axes = _list_axes(
            figure,
            top,
            fitted(figure, panel["title"], WIDTH - 0.2, fontweight="bold"),
            [(words, "") for words, _ in panel["gains"]],
            data["limits"],
        )
        axes.axvline(0, color="black", lw=0.9, zorder=1)
        for number, (_, (gain, low, high)) in enumerate(panel["gains"]):
            dot(axes, gain, number, low, high, panel["style"], panel["reproduced"])
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.0f}" if x else "0")
        top += TITLE + ROW * len(panel["gains"]) + AXIS


def _gains_height(data: dict) -> float:
    return head_height(data) + sum(TITLE + ROW * len(panel["gains"]) + AXIS for panel in data["panels"])


SIZES_HEIGHT, SIZES_LEFT, SIZES_NAMES = 6.0, 0.42, 1.45  # inches: the plot; its scale; the column of names
UNKNOWN, BESIDE, TICKS = 0.5, 0.09, 0.32  # inches: the strip of sizes not published; between dots; between ticks


def size_scale(sizes: list[float], width_in: float):
    """The function from a size in billions (None: not published) to inches, logarithmic, from 0 to width_in."""
    first, last = (min(sizes), max(sizes)) if sizes else (1.0, 1.0)
    room = width_in - UNKNOWN - 0.4

    def place(size: float | None) -> float:
        if size is None:
            return width_in - UNKNOWN / 2
        return 0.2 + (room / 2 if first == last else room * math.log(size / first) / math.log(last / first))

    return place


def _draw_sizes(figure, data: dict) -> None:
    """Average against size on a logarithmic axis; names in a column to the right, each led to its dot."""
    top = head(figure, data["title"], data["notes"], data["styles"]) + 0.12
    axes = plain_axes(figure, top, _plot_height(data), left_in=SIZES_LEFT, right_in=SIZES_NAMES)
    axes.spines["left"].set_visible(True)
    (low, high), width = data["limits"], WIDTH - SIZES_LEFT - SIZES_NAMES
    known = [point["size"] for point in data["points"] if point["size"] is not None]
    place = size_scale(known, width)
    axes.set(xlim=(0, width), ylim=(low, high), ylabel="average accuracy, per cent")
    ticks: list[tuple[float, str]] = []
    for size in sorted(set(known)):
        if not ticks or place(size) - ticks[-1][0] >= TICKS:
            ticks.append((place(size), f"{size:.3g}B" if size >= 0.1 else f"{1000 * size:.3g}M"))
    if len(known) < len(data["points"]):
        ticks.append((place(None), "\nsize not\npublished"))
        axes.axvline(width - UNKNOWN, color=GREY, lw=0.6, ls=":")
    axes.set_xticks([x for x, _ in ticks], [words for _, words in ticks])
    axes.grid(axis="y", color="#DDDDDD", lw=0.5)
    points = sorted(data["points"], key=lambda point: -point["cell"][0])
    heights = spread([point["cell"][0] for point in points], (high - low) * ROW / _plot_height(data), low, high)
    places: list[float] = []
    for point, height in zip(points, heights, strict=True):
        value, under, over = point["cell"]
        near = [x for x, other in zip(places, points, strict=False) if other["cell"][1] <= over]
        free = (place(point["size"]) + BESIDE * by for by in (0, -1, 1, -2, 2, -3, 3))
        x = next((x for x in free if all(abs(x - other) > 0.9 * BESIDE for other in near)), place(point["size"]))
        places.append(x)
        dot(axes, x, value, under, over, point["style"], point["reproduced"], upright=True)
        colour = STYLES[point["style"]][0]
        axes.plot([x, width], [value, height], color=colour, lw=0.5, alpha=0.5, clip_on=False, zorder=1)
        text(
            axes,
            width + 0.05,
            height,
            fitted(figure, point["name"], SIZES_NAMES - 0.12, point["more"]),
            va="center",
            clip_on=False,
        )


def _plot_height(data: dict) -> float:
    return max(SIZES_HEIGHT, ROW * (len(data["points"]) + 2))


def _sizes_height(data: dict) -> float:
    return head_height(data) + _plot_height(data) + 0.68


def spread(values: list[float], step: float, low: float, high: float) -> list[float]:
    """Places near the values, which fall, at least a step apart and within [low, high] where there is room."""
    # Least squares: place + number * step may not rise; pool the neighbours that would (pool adjacent violators).
    blocks: list[list[float]] = []  # [sum, count] of neighbours that share one value
    for number, value in enumerate(values):
        blocks.append([value + number * step, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] < blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1]]
    tops = [total / count for total, count in blocks for _ in range(int(count))]
    room = low + (len(values) - 1) * step
    return [min(max(top, room), high) - number * step for number, top in enumerate(tops)]


PICTURES = {
    "accuracy_by_language": (_draw_languages, _languages_height),
    "gain_over_base": (_draw_gains, _gains_height),
    "accuracy_by_size": (_draw_sizes, _sizes_height),
}
