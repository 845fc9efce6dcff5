"""The report.md and picture of the knowledge check."""

from pathlib import Path

from synthetic_facts.knowledge_verdict import CHANCE, CONTROL_RANGE, percent

# What each arm was trained on further, in a word under its place in the picture.
READ = {
    "none": "nothing",
    "target": "the facts",
    "control": "other facts",
    "wrong": "wrong facts",
    "half": "half the facts",
    "french": "facts in French",
    "parallel": "French and\na few in both",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito's, for the colour-blind


def cell(row: dict | None) -> str:
    if row is None:
        return "-"
    low, high = row["ci95"]
    return f"{row['right']} of {row['n']} = {percent(row):.1f} ({low:.1f} to {high:.1f})"


def report(result: dict) -> str:
    """report.md: the verdict, a line per seed and arm, the comparisons, the time."""
    lines = ["# Does what the corpus teaches reach the score?", "", f"**{result['verdict']}**", ""]
    lines += [f"- {why}" for why in result["reasons"]]
    lines += ["", f"Chance is {CHANCE:g} %. Right answers with 95 % intervals (Wilson), in percent:", ""]
    heads = [
        "seed",
        "arm",
        "sentences before",
        "sentences after",
        "and after fine-tuning",
        "known medicines",
        "asked medicines",
        "letter follows rationale",
        "steps",
        "documents",
    ]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for seed, arms in result["measured"].items():
        for arm, found in arms.items():
            letters = f"{percent(found['letters']):.1f} (n {found['letters']['n']})" if "letters" in found else "-"
            kinds = ("cloze before", "cloze after", "cloze tuned", "known", "asked")
            cells = [str(seed), arm, *(cell(found.get(kind)) for kind in kinds), letters]
            cells += [str(found.get("steps", "-")), f"{found['documents']['tokenised']:,}"]
            lines.append(f"| {' | '.join(cells)} |")
    if result["compared"]:
        lines += ["", "Target less control, question by question (inference/compare.py):", ""]
        lines += ["| seed | n | only control right | only target right | points | McNemar p |", f"|{'---|' * 6}"]
    for seed, row in result["compared"].items():
        low, high = row["ci95"]
        points = f"{row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
        lines.append(f"| {seed} | {row['n']} | {row['only_a']} | {row['only_b']} | {points} | {row['p']:.2g} |")
    lines += ["", f"Steps of {result['step_seconds']:,.0f} s in all, {result['workers']} at a time.", ""]
    lines += ["The medicines are invented; nothing here is medical knowledge.", ""]
    return "\n".join(lines)


def draw(result: dict, folder: Path) -> list[Path]:
    """knowledge.png and .svg: by arm the corpus' sentences and the questions about the same facts, a point a seed."""
    from matplotlib.figure import Figure

    measured = result["measured"]
    arms = list(dict.fromkeys(arm for found in measured.values() for arm in found))
    panels = [("cloze after", "Sentences of the corpus, completed")]
    if any("asked" in found for mine in measured.values() for found in mine.values()):
        panels.append(("asked", "Exam questions about the same facts"))
    figure = Figure(figsize=(max(3.6, 1.3 * len(arms) + 1) * len(panels), 4), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (kind, title) in zip(axes, panels, strict=True):
        axis.axhline(CHANCE, color="black", linestyle="--", linewidth=1, label=f"chance, {CHANCE:g} %")
        if kind == "asked" and "control" in arms:
            axis.axhspan(*CONTROL_RANGE, color="0.9", label="where the control arm belongs")
        for number, (seed, mine) in enumerate(measured.items()):
            places, rows = [], []
            for arm, found in mine.items():
                if kind in found:
                    places.append(arms.index(arm) + 0.14 * (number - (len(measured) - 1) / 2))
                    rows.append(found[kind])
            heights = [percent(row) for row in rows]
            below = [height - row["ci95"][0] for height, row in zip(heights, rows, strict=True)]
            above = [row["ci95"][1] - height for height, row in zip(heights, rows, strict=True)]
            axis.errorbar(
                places,
                heights,
                [below, above],
                fmt="os^Dv"[number % 5],
                capsize=3,
                markersize=5,
                color=COLOURS[number % len(COLOURS)],
                label=f"seed {seed}",
            )
        axis.set_title(title, fontsize=11)
        axis.set_xticks(range(len(arms)), [f"{arm}\n{READ[arm]}" for arm in arms], fontsize=9)
        axis.set_xlim(-0.6, len(arms) - 0.4)
        axis.set_ylim(0, 104)
        axis.grid(axis="y", color="0.92")
        axis.set_axisbelow(True)
    axes[0].set_ylabel("right, % (95 % interval)")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    paths = [folder / "knowledge.png", folder / "knowledge.svg"]
    for path in paths:
        figure.savefig(path, dpi=144)
    return paths
