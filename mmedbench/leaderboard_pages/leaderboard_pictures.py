"""The leaderboard's pictures: their data, their files, and the Markdown that embeds them.

Reads   rows of leaderboard_rows.py
Writes  <folder>/accuracy_by_language, gain_over_base, accuracy_by_size (.svg and .png) and, last, leaderboard.json with
        the SHA-256 of what was drawn and of each file
Example python mmedbench/leaderboard.py render

`problems` compares what would be drawn with what leaderboard.json says was drawn, and the files with their sums there.
It does not redraw, because the bytes of a picture depend on the machine's fonts.
"""

import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from leaderboard_pages import leaderboard_drawing
from leaderboard_pages.leaderboard_drawing import STYLES
from leaderboard_pages.leaderboard_rows import LANGUAGES, Cell, Row, size_text, test_sizes
from leaderboard_pages.page_text import escape, flat, macro_percent
from mmedbench_questions import LANGUAGE_FILES
from run_record import InputError, describe_files, read_json, sha256_of_file, write_json

MAX_ROWS = 60  # more would be unreadable; the tables list all rows
# The general model that each published one was further pretrained from (Qiu et al. 2024); Llama 3.1 is not reported.
REPORTED_BASES = {"MMedLM": "InternLM", "MMedLM 2": "InternLM 2", "MMed-Llama 3": "Llama 3"}
LANGUAGE_NAMES = {code: name.removesuffix(".jsonl") for code, name in LANGUAGE_FILES.items()}


def name_and_more(row: Row) -> dict[str, str]:
    """{"name", "more"}: a model's name on one line, and its size and LoRA, which are never truncated."""
    name, size = flat(row.model) or "-", "" if row.size_billion is None else size_text(row.size_billion)
    return {
        "name": name,
        "more": (f" {size}" if size and size not in name else "") + (" LoRA" if row.training == "lora" else ""),
    }


def label(row: Row) -> str:
    """Both parts of name_and_more as one text."""
    return "".join(name_and_more(row).values())


def style(row: Row) -> str:
    """The key of STYLES."""
    if row.setting == "zero-shot":
        return "zero-shot"
    return {True: "mmedc", False: "plain", None: "unstated"}[row.mmedc]


def shown_cells(row: Row) -> dict[str, Cell]:
    """Those scores of a row that are on a released test split."""
    return {code: cell for code, cell in row.cells.items() if cell.comparable}


def comparable_average(row: Row) -> tuple[float, float, float] | None:
    """(mean, low, high) over the six languages; None where one is missing or not on the released split."""
    cells = shown_cells(row)
    if any(code not in cells for code in LANGUAGES):
        return None
    return macro_percent([(cells[code].accuracy, cells[code].n) for code in LANGUAGES])


def shown_rows(rows: Sequence[Row]) -> list[Row]:
    """Rows that pictures show: claims with a comparable score; fine-tuned before zero-shot, best average first."""
    good = [row for row in rows if not row.is_check and shown_cells(row)]

    def place(row: Row) -> tuple:
        average = comparable_average(row)
        return row.setting == "zero-shot", average is None, -(average or (0.0,))[0], row.key

    return sorted(good, key=place)


def limits(intervals: Sequence[Sequence[float]], step: int) -> list[float]:
    """The axis that contains every (value, low, high), from and to a multiple of step."""
    return [
        step * math.floor(min(low for _, low, _ in intervals) / step),
        step * math.ceil(max(high for _, _, high in intervals) / step),
    ]


def who(rows: Sequence[Row]) -> str:
    """The legend of reported and reproduced rows, with their counts."""
    ours = sum(row.kind == "reproduced" for row in rows)
    if not ours:
        return f"All {len(rows)} rows are reported by others (hollow); none is reproduced here."
    return f"Hollow: reported by others ({len(rows) - ours}). Filled: reproduced here ({ours})."


def common_n(rows: Sequence[Row], code: str) -> str:
    """n of a language, the same in all comparable rows."""
    return ", ".join(f"{n:,}" for n in sorted({shown_cells(row)[code].n for row in rows if code in shown_cells(row)}))


def by_language(rows: list[Row]) -> dict | None:
    """Dots of every model, a panel for the average and one per language."""
    shown = rows[:MAX_ROWS]
    if not shown:
        return None
    codes = [code for code in LANGUAGE_NAMES if any(code in shown_cells(row) for row in shown)]
    cells = {code: [shown_cells(row).get(code) for row in shown] for code in codes}
    panels = [
        {
            "title": f"{LANGUAGE_NAMES[code]} (n = {common_n(shown, code)} questions)",
            "cells": [cell and [cell.accuracy, cell.low, cell.high] for cell in cells[code]],
        }
        for code in codes
    ]
    averages = [comparable_average(row) for row in shown]
    total = sum(test_sizes().values())
    panels.insert(0, {"title": f"Average of the six languages (n = {total:,})", "cells": averages})
    notes = ["Per cent of questions with exactly the right letters.", "Lines: 95 % intervals. Released test split."]
    if len(rows) > len(shown):
        notes.append(f"The first {len(shown)} of {len(rows)} rows; the tables hold all.")
    return {
        "title": "Accuracy by language",
        "notes": [*notes, who(shown)],
        "styles": [name for name in STYLES if name in map(style, shown)],
        "rows": [name_and_more(row) | {"style": style(row), "reproduced": row.kind == "reproduced"} for row in shown],
        "panels": panels,
        "limits": limits([cell for panel in panels for cell in panel["cells"] if cell], 10),
    }


def difference(new: Sequence[float], old: Sequence[float]) -> list[float]:
    """[new - old, low, high] of two independent (value, low, high), by Newcombe's method 10.

    R. G. Newcombe, Statistics in Medicine 17:873 (1998): from both Wilson intervals; with normal intervals it is the
    normal interval of a difference. Both models answered the same questions, so it is wider than a paired one.
    """
    gain = new[0] - old[0]
    return [
        gain,
        gain - math.hypot(new[0] - new[1], old[2] - old[0]),
        gain + math.hypot(new[2] - new[0], old[0] - old[1]),
    ]


def pairs_with_base(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """(model, the base it was made from): two rows of the same kind, setting, training and size."""
    found = []
    for row in rows:
        name = REPORTED_BASES.get(row.model) if row.kind == "reported" else row.base
        bases = [
            base
            for base in rows
            if base.model == name
            and base is not row
            and (row.kind, row.setting, row.training, row.size_billion)
            == (base.kind, base.setting, base.training, base.size_billion)
        ]
        found += [(row, base) for base in bases[:1]]
    return found


def gains(rows: list[Row]) -> dict | None:
    """What further pretraining gained: one panel per model, with the average and each language."""
    panels, shown = [], []
    for row, base in pairs_with_base(rows)[: MAX_ROWS // 3]:
        new, old = shown_cells(row), shown_cells(base)
        values = [
            (
                f"{LANGUAGE_NAMES[code]} ({new[code].n:,})",
                difference(
                    (new[code].accuracy, new[code].low, new[code].high),
                    (old[code].accuracy, old[code].low, old[code].high),
                ),
            )
            for code in LANGUAGE_NAMES
            if code in new and code in old and new[code].n == old[code].n
        ]
        averages = comparable_average(row), comparable_average(base)
        if all(averages):
            values.insert(0, (f"average ({sum(test_sizes().values()):,})", difference(*averages)))
        if values:
            shown.append(row)
            panels.append(
                {
                    "title": f"{label(row)} over {label(base)}",
                    "gains": values,
                    "style": style(row),
                    "reproduced": row.kind == "reproduced",
                }
            )
    if not panels:
        return None
    return {
        "title": "Gain over the base model",
        "panels": panels,
        "styles": [name for name in STYLES if name in map(style, shown)],
        "notes": [
            "Points of accuracy above the base model that was pretrained",
            "further, in the same setting. Lines: 95 % intervals of the",
            "difference (unpaired). Where a line crosses zero no gain is shown.",
            "In brackets: n, test questions.",
            who(shown).replace("rows are", "models are"),
        ],
        "limits": limits([gain for panel in panels for _, gain in panel["gains"]], 5),
    }


def by_size(rows: list[Row]) -> dict | None:
    """Average over the six languages against the number of parameters."""
    points = [
        name_and_more(row)
        | {
            "size": row.size_billion,
            "cell": list(comparable_average(row)),
            "style": style(row),
            "reproduced": row.kind == "reproduced",
        }
        for row in rows
        if comparable_average(row)
    ][:MAX_ROWS]
    if not points:
        return None
    shown = [row for row in rows if comparable_average(row)][:MAX_ROWS]
    total = sum(test_sizes().values())
    return {
        "title": "Accuracy against size",
        "points": points,
        "notes": [
            f"Average over six languages, n = {total:,} test questions",
            "in all. Lines: 95 % intervals. Size: parameters, logarithmic;",
            "dots that would cover each other stand side by side.",
            who(shown),
        ],
        "styles": [name for name in STYLES if name in map(style, shown)],
        "limits": limits([point["cell"] for point in points], 5),
    }


def picture_data(rows: Sequence[Row]) -> dict[str, dict]:
    """{picture's name: what it shows}, those that have something to show."""
    shown = shown_rows(rows)
    made = {
        "accuracy_by_size": by_size(shown),
        "gain_over_base": gains(shown),
        "accuracy_by_language": by_language(shown),
    }
    return {name: data for name, data in made.items() if data is not None}


RECORD = "leaderboard.json"


def drawn_sha256(rows: Sequence[Row]) -> str:
    """The SHA-256 of what is drawn and of the code that draws it: the same on every machine."""
    code = [sha256_of_file(Path(leaderboard_drawing.__file__))]
    # Pythons differ in a float's last digits (sum() compensates from 3.12 on), which no picture shows; + 0.0: no -0.0.
    data = json.loads(json.dumps(picture_data(rows)), parse_float=lambda digits: round(float(digits), 6) + 0.0)
    text = json.dumps([data, code], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_pictures(rows: Sequence[Row], folder: Path) -> list[str]:
    """Draw what is not current, the record last. Returns messages: what was drawn, which letters lack a font."""
    if not problems(rows, folder):
        return [f"the pictures in {folder} are up to date"]
    wanted, notes, missing, written = picture_data(rows), [], set(), []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for name in leaderboard_drawing.PICTURES:  # delete pictures without data
        for form in ("png", "svg"):
            (folder / f"{name}.{form}").unlink(missing_ok=True)
    for name, data in wanted.items():
        files, lacking = leaderboard_drawing.draw(name, data)
        missing |= lacking
        for form, content in files.items():
            path = folder / f"{name}.{form}"
            aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            aside.write_bytes(content)
            aside.replace(path)
            written.append(path)
    write_json(
        folder / RECORD,
        {
            "format_version": 1,
            "stage": "mmedbench/leaderboard.py render",
            "drawn_sha256": drawn_sha256(rows),
            "files": describe_files(folder, written),
        },
    )
    notes.append(f"drew {len(written)} pictures in {folder}")
    if missing:
        notes.append(
            f"no installed font has {len(missing)} letters of models' names, drawn as boxes: "
            f"{' '.join(sorted(missing))}; install fonts that do (such as the Noto fonts) and delete {RECORD}"
        )
    return notes


def problems(rows: Sequence[Row], folder: Path) -> list[str]:
    """Pictures that are missing, changed, or drawn from other results; [] if all are current."""
    record = folder / RECORD
    if not record.exists():
        return [f"{record}: missing"]
    try:
        found = read_json(record)
    except InputError as error:
        return [str(error)]
    said = []
    if found.get("drawn_sha256") != drawn_sha256(rows):
        said.append(f"{record}: the pictures were drawn from other results or by other code")
    files = found.get("files") if isinstance(found.get("files"), dict) else {}
    for name in (f"{name}.{form}" for name in picture_data(rows) for form in ("png", "svg")):
        facts, path = files.get(name), folder / name
        if not path.is_file():
            said.append(f"{path}: missing")
        elif not isinstance(facts, dict) or facts.get("sha256") != sha256_of_file(path):
            said.append(f"{path}: not the picture that {RECORD} names")
    return said


def alt_text(name: str, data: dict) -> str:
    """Alternative text of a picture; one line, not escaped."""
    if name == "accuracy_by_language":
        best = data["rows"][0]["name"] + data["rows"][0]["more"]
        return (
            f"Dots with 95 % intervals: accuracy of {len(data['rows'])} models, the average and each of "
            f"{len(data['panels']) - 1} languages, fine-tuned and zero-shot apart. First in the list: {best}."
        )
    if name == "gain_over_base":
        first = ((panel["title"], *panel["gains"][0][1]) for panel in data["panels"])
        said = "; ".join(f"{title}: {gain:+.1f} ({low:+.1f} to {high:+.1f})" for title, gain, low, high in first)
        return f"Dots with 95 % intervals: points gained over the base model, on average. {said}."
    return (
        f"Dots with 95 % intervals: average accuracy of {len(data['points'])} models against their size, "
        "by setting and by whether they saw MMedC."
    )


def picture_lines(rows: Sequence[Row], folder: Path, page: Path) -> list[str]:
    """The Markdown section that embeds the pictures (SVG, linked to the PNG); folder relative to the page's."""
    where = quote(Path(os.path.relpath(folder.resolve(), page.resolve().parent)).as_posix())
    lines = [
        "## Pictures",
        "",
        "The figures of the tables, without the checks of the machinery. Hollow marks: reported by others; filled:",
        "reproduced here. Click on a picture for its PNG.",
        "",
    ]
    for name, data in picture_data(rows).items():
        lines += [f"[![{escape(alt_text(name, data))}]({where}/{name}.svg)]({where}/{name}.png)", ""]
    return lines
