"""The knowledge check's verdict (passed, failed or inconclusive), its reasons, report.md and picture.

The verdict is about the pipeline. "Inconclusive": the small model never learned to answer the questions about the
medicines that every arm knows, so a low score on the others means nothing.
"""

import json
from pathlib import Path

from synthetic_facts.knowledge_steps import ARMS

CHANCE = 25.0  # one of four options
# The notes' three seeds were 32 to 60 points apart, and controls at 23.6 to 29.2 %; with 288 questions chance is within
# 18 and 32 % in 99 of 100 runs.
MIN_GAP, CONTROL_RANGE = 20.0, (18.0, 32.0)
MIN_KNOWN, MIN_CLOZE, MIN_LETTERS = 80.0, 95.0, 90.0
MAX_BEFORE = 45.0  # of the sentences, before their facts were read; few are asked in the smoke version
SIGNIFICANT = 0.05
# The arms' additional training text, as labels in the picture.
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


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def documents_of(folder: Path, arm: str) -> dict[str, int]:
    """How many documents the arm's corpora had when they were written, were omitted with a reason, and are tokens."""
    corpora = ARMS[arm] or ["base"]
    written = sum(read(folder / "world/world.json")["documents"][corpus] for corpus in corpora)
    left_out = 0
    for corpus in corpora:
        for row in read(folder / "documents" / corpus / "manifest.json")["counts"].values():
            left_out += row["read"] - row["kept"]
    name = arm if ARMS[arm] else "base"
    left_out += sum(read(folder / "corpora" / name / "manifest.json")["removed"].values())
    counts = read(folder / "tokens" / name / "manifest.json")["counts"]
    return {"written": written, "left out": left_out, "tokenised": sum(row["documents"] for row in counts.values())}


def letters_bound(folder: Path, test: Path) -> dict[str, int]:
    """{"n": answers whose rationale names one of the options, "right": those whose letter is that option's}."""
    options = {}
    for path in test.glob("*.jsonl"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
            options[path.stem, number] = json.loads(line)["options"]
    n = right = 0
    for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        mine = options[row["key"], row["number"]]
        named = [letter for letter, text in mine.items() if f" {text} " in row["output"]]
        if len(named) == 1 and row["letters"]:
            n += 1
            right += row["letters"] == named
    return {"n": n, "right": right}


def score(path: Path, group: str) -> dict:
    """{n, right, accuracy, ci95, unparsed} of a group of medicines in a result of inference/eval.py."""
    row = read(path / "result.json")["scores"][group]
    return {key: row[key] for key in ("n", "right", "accuracy", "ci95", "unparsed")}


def measure(folder: Path, arm: str, epochs: float | None) -> dict:
    """Everything the verdict looks at for one seed and arm. epochs: None where nothing was fine-tuned (smoke)."""
    after = arm if ARMS[arm] else "base"
    found = {
        "documents": documents_of(folder, arm),
        "cloze before": score(folder / "cloze/base", "asked"),
        "cloze after": score(folder / "cloze" / after, "asked"),
    }
    if epochs is not None:
        name = f"{arm}-{epochs:g}"
        found |= {
            "epochs": epochs,
            "steps": read(folder / "tuned" / name / "run.json")["steps"],
            "known": score(folder / "results" / name, "known"),
            "asked": score(folder / "results" / name, "asked"),
            "cloze tuned": score(folder / "cloze" / f"{name}-tuned", "asked"),
            "letters": letters_bound(folder / "results" / name, folder / "world/benchmark/Test"),
        }
    return found


def percent(row: dict) -> float:
    return 100 * row["right"] / row["n"] if row["n"] else 0.0


def corpus_faults(seed: int, arm: str, found: dict) -> list[str]:
    """Why an arm's corpus did not come as far as the model, in sentences."""
    documents, faults = found["documents"], []
    lost = documents["written"] - documents["left out"] - documents["tokenised"]
    if lost:
        faults.append(
            f"seed {seed}, {arm}: {lost:,} of {documents['written']:,} documents are neither among the tokens nor left "
            "out with a reason: they were dropped between the corpus and the tokens"
        )
    before, after = percent(found["cloze before"]), percent(found["cloze after"])
    if arm == "target" and before > MAX_BEFORE:
        faults.append(
            f"seed {seed}: {before:.1f} % of the sentences are completed before their facts were read, chance being "
            f"{CHANCE:g} %: they have leaked into the base corpus"
        )
    if arm == "target" and after < MIN_CLOZE:
        faults.append(
            f"seed {seed}: after pretraining {after:.1f} % of the corpus' own sentences are completed rightly, "
            f"{MIN_CLOZE:g} % are expected ({before:.1f} % before): the facts did not reach the model"
        )
    return faults


def answer_doubts(seed: int, arm: str, found: dict) -> list[str]:
    """Why the arm's score says nothing, in sentences."""
    known, doubts = found["known"], []
    if percent(known) < MIN_KNOWN:
        lost = 100 * known["unparsed"] / known["n"]
        doubts.append(
            f"seed {seed}, {arm}: of the medicines that every arm knows {percent(known):.1f} % of the questions are "
            f"answered rightly, {MIN_KNOWN:g} % are needed ({lost:.1f} % of the answers do not keep the prompt's "
            f"format; {found['steps']} fine-tuning steps): the questions are not understood, or asked otherwise than "
            "they were trained"
        )
    if arm == "target" and percent(found["letters"]) < MIN_LETTERS:
        doubts.append(
            f"seed {seed}, {arm}: where a rationale names an option, its letter follows in "
            f"{percent(found['letters']):.1f} % of the answers, {MIN_LETTERS:g} % are needed: letters are not bound"
        )
    return doubts


def conclude(measured: dict[int, dict[str, dict]], compared: dict[int, dict]) -> tuple[str, list[str]]:
    """(passed, failed, inconclusive or reported; the reasons) of {seed: {arm: `measure`}} and {seed: comparison}.

    compared: the group "asked" of inference/compare.py, control against target. "reported": not both of these arms ran,
    so that there is nothing to judge but the corpus.
    """
    faults = [why for seed, arms in measured.items() for arm in arms for why in corpus_faults(seed, arm, arms[arm])]
    if faults:
        return "failed", faults
    tuned = {seed: {arm: found for arm, found in arms.items() if "asked" in found} for seed, arms in measured.items()}
    doubts = [why for seed, arms in tuned.items() for arm in arms for why in answer_doubts(seed, arm, arms[arm])]
    if doubts:
        return "inconclusive", doubts
    if not any(tuned.values()):
        ends = [percent(arms["target"]["cloze after"]) for arms in measured.values() if "target" in arms]
        if not ends:
            return "reported", ["no arm target: nothing to judge"]
        return "passed", [f"after pretraining {min(ends):.1f} % of the corpus' sentences are completed rightly or more"]
    if not compared:
        return "reported", ["the verdict needs the arms target and control"]
    for seed, row in compared.items():
        control, gap = percent(tuned[seed]["control"]["asked"]), row["difference"]
        low, high = CONTROL_RANGE
        if not low <= control <= high:
            faults.append(
                f"seed {seed}: the control arm, which never read the facts, answers {control:.1f} %; chance is "
                f"{CHANCE:g} %, {low:g} to {high:g} % are expected: the answers leak, or letters are not chosen freely"
            )
        if gap < MIN_GAP or row["p"] >= SIGNIFICANT:
            faults.append(
                f"seed {seed}: the target arm is {gap:+.1f} points from the control arm (p {row['p']:.2g}), "
                f"{MIN_GAP:g} are expected: the facts are in the model and do not reach the score"
            )
    if faults:
        return "failed", faults
    gaps = [row["difference"] for row in compared.values()]
    return "passed", [
        f"the target arm is {min(gaps):.1f} to {max(gaps):.1f} points above the control arm in {len(gaps)} of "
        f"{len(gaps)} seeds"
    ]


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
