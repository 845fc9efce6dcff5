"""Plot a run: training loss, learning rate, and bits per byte on held-out documents by language.

Reads   <out>/training/metrics.jsonl and, where it is there, <out>/training/validation.jsonl
Writes  <out>/training/loss.png and loss.svg
Example python pretrain/loss_picture.py checkpoints/pretrained

train_lm.py draws it at its end; this command draws it at any time.
"""

import argparse
import json
import sys
from pathlib import Path

from run_record import InputError, parse_arguments, run_command
from training.lm_log import read_metrics

# Okabe & Ito's colours, told apart by the colour-blind (https://jfly.uni-koeln.de/color/); each language has a marker
# and its name at the end of its line besides.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")  # one more than the colours: a second round looks otherwise


def smooth(values: list[float], share: float = 0.02) -> list[float]:
    """Exponential means over about `share` of the steps, from the left and from the right, averaged: no lag."""
    keep = 1 - 1 / max(1.0, share * len(values))

    def one_way(values: list[float]) -> list[float]:
        total, weight, out = 0.0, 0.0, []
        for value in values:
            # The weight corrects the mean of the first values, as in Adam.
            total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
            out.append(total / weight)
        return out

    return [(a + b) / 2 for a, b in zip(one_way(values), one_way(values[::-1])[::-1], strict=True)]


def read_validation(path: Path) -> dict[str, list[tuple[int, float]]]:
    """{language or "replay": [(step, bits per byte)]} from validation.jsonl; single sources are omitted."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        row = json.loads(text)
        if "/" not in row["group"]:
            lines.setdefault(row["group"], []).append((row["step"], row["bits_per_byte"]))
    return lines


def draw(folder: Path) -> list[Path]:
    """Draw the run whose files lie in `folder` (<out>/training). Returns the files written.

    Errors: InputError when there is no finished step, or matplotlib is not installed.
    """
    rows = read_metrics(folder / "metrics.jsonl")
    if not any(row["loss"] is not None for row in rows):
        raise InputError(f"{folder}/metrics.jsonl has no finished step to draw; train first (pretrain/train_lm.py)")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("drawing needs matplotlib: pip install matplotlib") from None
    validation = read_validation(folder / "validation.jsonl")
    panels = 3 if validation else 2
    figure = Figure(figsize=(8, 2.2 + 2.6 * (panels - 1)), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True, height_ratios=[3, 1, 2.4][:panels])
    _draw_loss(axes[0], rows)
    axes[1].plot([r["step"] for r in rows], [r["learning_rate"] for r in rows], color="#555555", linewidth=1.5)
    axes[1].set(ylabel="learning rate", ylim=(0, None))
    if validation:
        _draw_validation(axes[2], validation)
    for axis in axes:
        axis.grid(True, color="#DDDDDD", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("optimizer step")
    written = [folder / "loss.png", folder / "loss.svg"]
    for path in written:
        aside = path.with_name(f".{path.name}")
        figure.savefig(aside, dpi=150, format=path.suffix[1:], metadata={"Date": None} if path.suffix == ".svg" else {})
        aside.replace(path)
    return written


def _draw_loss(axis, rows: list[dict]) -> None:
    applied = [row for row in rows if not row.get("skipped") and row["loss"] is not None]
    skipped = [row for row in rows if row.get("skipped")]
    steps, losses = [row["step"] for row in applied], [row["loss"] for row in applied]
    axis.plot(steps, losses, color="#9ECAE1", linewidth=0.8, label="each step")
    axis.plot(steps, smooth(losses), color=COLOURS[0], linewidth=2, label="smoothed")
    # A spike must not flatten the rest: the axis ends a little over the smoothed curve, and what is higher, or no
    # number at all, is at its edge.
    low, high = min(losses, default=0.0), max(smooth(losses), default=1.0)
    room = max(0.05 * (high - low), 0.01)
    axis.set_ylim(low - room, high + 3 * room)
    if skipped:
        top = axis.get_ylim()[1]
        places = [top if row["loss"] is None else min(row["loss"], top) for row in skipped]
        axis.plot(
            [row["step"] for row in skipped],
            places,
            linestyle="none",
            marker="x",
            color=COLOURS[1],
            label="skipped",
            clip_on=False,
        )
    axis.set(ylabel="training loss\n(nats per token)")
    axis.legend(loc="upper right", frameon=False)


def _draw_validation(axis, lines: dict[str, list[tuple[int, float]]]) -> None:
    for number, (name, points) in enumerate(sorted(lines.items())):
        style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        style["linestyle"] = "-" if number < len(COLOURS) else "--"
        steps, bits = zip(*points, strict=True)
        axis.plot(steps, bits, linewidth=1.5, markersize=5, label=name, **style)
    axis.set(ylabel="held-out text\n(bits per byte)")
    # Names in the order of the curves' ends, beside them.
    order = sorted(range(len(lines)), key=lambda n: -sorted(lines.items())[n][1][-1][1])
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(
        [handles[n] for n in order],
        [labels[n] for n in order],
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("out", type=Path, help="model folder of the run, such as checkpoints/pretrained")
    parser.add_argument(
        "--recipe", type=Path, help="flat YAML file with these flags; the command line takes precedence"
    )
    parser.add_argument("--dry-run", action="store_true", help="validate the input, write nothing")
    args = parse_arguments(parser, argv)
    if not (args.out / "training" / "metrics.jsonl").exists():
        raise InputError(f"{args.out}/training has no metrics.jsonl: no run of pretrain/train_lm.py")
    if not args.dry_run:
        print("wrote", *draw(args.out / "training"))
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)
    run_command(main)
