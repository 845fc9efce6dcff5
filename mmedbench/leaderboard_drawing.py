"""Draws the leaderboard's three pictures with matplotlib, tall and narrow: as wide as a phone, to be read without zoom.

Reads and writes nothing: picture_contents.py says what is drawn, leaderboard_pictures.py keeps the files.
"""

import math

from picture_canvas import (
    AXIS,
    GREY,
    LEFT,
    PALE,
    RIGHT,
    ROW,
    SMALL,
    STYLES,
    TEXT,
    TITLE,
    WIDTH,
    dot,
    drawn,
    fitted,
    head,
    head_height,
    plain_axes,
    text,
)


def draw(kind: str, data: dict) -> tuple[dict[str, bytes], set[str]]:
    """({"png": bytes, "svg": bytes}, characters that no installed font holds) of one picture.

    kind: a key of PICTURES; data: as picture_contents.picture_data gives it.
    """
    build, height = PICTURES[kind]
    return drawn(lambda figure: build(figure, data), height(data))


def _list_axes(figure, top: float, title: str, labels: list[str], limits: tuple[float, float]):
    """Axes with a line a label, the first on top, and a title above them."""
    whole, count = figure.get_figheight(), len(labels)
    text(figure, 0.1 / WIDTH, 1 - (top + 0.09) / whole, title, fontsize=TEXT + 0.6, fontweight="bold", va="top")
    axes = plain_axes(figure, top + TITLE, ROW * count)
    axes.set(xlim=limits, ylim=(count - 0.5, -0.5), yticks=[])
    axes.grid(axis="x", color="#CCCCCC", lw=0.5)
    axes.set_axisbelow(True)
    for number, label in enumerate(labels):
        if number % 2 == 0:
            axes.axhspan(number - 0.5, number + 0.5, color=PALE, lw=0, zorder=0)
        text(axes, -0.05 / (WIDTH - LEFT - RIGHT), number, fitted(figure, label, LEFT - 0.15), ha="right",
              va="center", transform=axes.get_yaxis_transform())  # fmt: skip
    return axes


def _draw_languages(figure, data: dict) -> None:
    """A list of dots for each language, the models in one order in all of them."""
    top = head(figure, data["title"], data["notes"], data["styles"])
    for panel in data["panels"]:
        axes = _list_axes(figure, top, panel["title"], [row["label"] for row in data["rows"]], data["limits"])
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
        axes = _list_axes(figure, top, fitted(figure, panel["title"], WIDTH - 0.2, fontweight="bold"),
                          [label for label, _ in panel["gains"]], data["limits"])
        axes.axvline(0, color="black", lw=0.9, zorder=1)
        for number, (_, (gain, low, high)) in enumerate(panel["gains"]):
            dot(axes, gain, number, low, high, "mmedc", panel["reproduced"])
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:+.0f}" if x else "0")
        top += TITLE + ROW * len(panel["gains"]) + AXIS


def _gains_height(data: dict) -> float:
    return head_height(data) + sum(TITLE + ROW * len(panel["gains"]) + AXIS for panel in data["panels"])


SIZES_HEIGHT, SIZES_NAMES = 6.0, 1.45  # inches: of the plot; of the column of names right of it
DODGE = 1.13  # the factor of size by which dots that would cover each other are set apart


def _draw_sizes(figure, data: dict) -> None:
    """Average against size on a logarithmic axis; names in a column to the right, each led to its dot."""
    top = head(figure, data["title"], data["notes"], data["styles"]) + 0.12
    axes = plain_axes(figure, top, _plot_height(data), left_in=0.42, right_in=SIZES_NAMES)
    axes.spines["left"].set_visible(True)
    low, high = data["limits"]
    known = [point["size"] for point in data["points"] if point["size"] is not None]
    first, last = (min(known), max(known)) if known else (1.0, 10.0)
    unknown = last * 2.2
    axes.set(xscale="log", xlim=(first / 1.5, unknown * 1.5), ylim=(low, high), ylabel="average accuracy, per cent")
    ticks = [size for size in (0.1, 0.5, 1, 2, 7, 30, 70, 200, 400, 1000) if first / 1.4 <= size <= last * 1.3]
    some_unknown = len(known) < len(data["points"])
    axes.set_xticks([*ticks, *([unknown] if some_unknown else [])],
                    [*(f"{size:g}B" for size in ticks), *(["\nsize not\npublished"] if some_unknown else [])])
    axes.minorticks_off()
    axes.grid(axis="y", color="#DDDDDD", lw=0.5)
    if some_unknown:
        axes.axvline(unknown / 1.5, color=GREY, lw=0.6, ls=":")
    points = sorted(data["points"], key=lambda point: -point["cell"][0])
    step = (high - low) * ROW / _plot_height(data)
    places: list[float] = []
    for point in points:  # beside each other where intervals at one place would cover each other
        x = unknown if point["size"] is None else point["size"]
        near = [place for other, place in zip(points, places, strict=False) if other["cell"][1] <= point["cell"][2]]
        free = (x * DODGE**by for by in (0, -1, 1, -2, 2)
                if all(abs(math.log(place / (x * DODGE**by), DODGE)) > 0.9 for place in near))
        places.append(next(free, x))
    heights = spread([point["cell"][0] for point in points], step, low, high)
    for x, point, height in zip(places, points, heights, strict=True):
        value, under, over = point["cell"]
        colour = STYLES[point["style"]][0]
        dot(axes, x, value, under, over, point["style"], point["reproduced"], upright=True)
        edge = unknown * 1.5
        axes.plot([x, edge], [value, height], color=colour, lw=0.5, alpha=0.5, clip_on=False, zorder=1)
        text(axes, edge * 1.04, height, fitted(figure, point["label"], SIZES_NAMES - 0.12), va="center",
              clip_on=False)  # fmt: skip


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


PICTURES = {"accuracy_by_language": (_draw_languages, _languages_height),
            "gain_over_base": (_draw_gains, _gains_height), "accuracy_by_size": (_draw_sizes, _sizes_height)}
