"""The leaderboard as one self-contained HTML file, sorted and filtered by its own script.

Reads   rows of leaderboard_rows.py; leaderboard_page/page.css and page.js, which become part of the file
Example python mmedbench/leaderboard.py render --html leaderboard.html

Every text of a result passes through `text`: one line, escaped, with isolated text direction.
The script contains no data. The content security policy allows only the file's own style and script.
"""

import base64
import hashlib
import html
from collections.abc import Sequence
from pathlib import Path

from leaderboard_pages.leaderboard_rows import Cell, Row, size_text
from leaderboard_pages.page_text import flat, two
from mmedbench_questions import LANGUAGE_FILES

PARTS = Path(__file__).resolve().parents[1] / "leaderboard_page"
LANGUAGE_NAMES = {code: name.removesuffix(".jsonl") for code, name in LANGUAGE_FILES.items()}
SECTIONS = {
    "fine-tuned": ("Fine-tuned on MMedBench's train split", ""),
    "zero-shot": ("Zero-shot", ""),
    "check": (
        "Check of the machinery",
        "Tiny models that show that the pipeline runs end to end: no claim about medicine, no rank.",
    ),
}
KINDS = {"reported": "reported", "reproduced": "reproduced", "check": "check of the machinery"}
BANDS = {
    "small": ("under 3B", 3.0),
    "middle": ("3B to 10B", 10.0),
    "large": ("10B and more", float("inf")),
    "unknown": ("not published", None),
}
INTRODUCTION = """<p>Per cent of the test questions whose set of letters is exactly right; under each score its
95&nbsp;% interval. n is the number of questions. Research use; no score is medical advice.</p>"""
NOTES = """<p><b>Intervals</b>: Wilson's for a language, the normal one for the average, which is the plain mean over
languages. n is in the head of a column, and in cells with another n.</p>
<p><b>Rank</b>: 1 + the number of rows of the same setting that are significantly better, over all languages; filters do
not change it. <b>=</b> marks a tie: no significant difference from at least one other row. Fine-tuned and zero-shot
rows are different settings and are not ranked together. Paired: tested question by question; unpaired: from the
averages.</p>
<p>‡ No k of n gives this figure: its denominator is unknown. † Not the released test split: not comparable with the
reported rows.</p>"""


def text(value: object) -> str:
    """Any text as HTML: one line, escaped, isolated from the direction of its surroundings."""
    return f"<bdi>{html.escape(flat(value)) or '–'}</bdi>"


def attribute(value: object) -> str:
    """Any text as the value of a quoted attribute."""
    return html.escape(flat(value), quote=True)


def section_of(row: Row) -> str:
    return "check" if row.is_check else row.setting


def band(row: Row) -> str:
    """The key of BANDS that a row's size falls in."""
    if row.size_billion is None:
        return "unknown"
    return next(key for key, (_, below) in BANDS.items() if row.size_billion < below)


def score_cell(cell: Cell | None, usual_n: int | None, language: str = "") -> str:
    """A score, its interval, and its n if it differs from the column's head."""
    where, kind = (f' data-language="{language}"', "score") if language else ("", "score overall")
    if cell is None:
        return f'<td class="{kind}" data-value=""{where}>–</td>'
    mark = ("" if cell.exact else " ‡") + ("" if cell.comparable else " †")
    n = "" if cell.n == usual_n else f"<small>n {cell.n:,}</small>"
    return (
        f'<td class="{kind}" data-value="{cell.accuracy:.6f}"{where}>{two(cell.accuracy)}{mark}'
        f"<small>{cell.low:.1f}–{cell.high:.1f}</small>{n}</td>"
    )


def table_row(row: Row, codes: Sequence[str], usual: dict[str, int | None]) -> str:
    """One row; usual: {language or "": n that the head says}."""
    kind = "check" if row.is_check else row.kind
    rank = "–" if row.rank is None else f"{row.rank}{' =' if row.ties else ''}"
    how = f"<small>{attribute(row.rank_how)}</small>" if row.rank_how else ""
    corpus = {True: "yes", False: "no", None: ""}[row.mmedc]
    size = "" if row.size_billion is None else f", {size_text(row.size_billion)}"
    return "".join(
        [
            f'<tr class="{kind}" data-kind="{kind}" data-setting="{attribute(row.setting)}" data-size="{band(row)}">',
            f'<th scope="row" class="model" data-value="{attribute(row.model)}">',
            f'<a href="#about-{attribute(row.key)}">{text(row.model)}</a>',
            f"<small>{KINDS[kind]}{size}</small></th>",
            f'<td class="overall" data-value="{row.rank or ""}">{rank}{how}</td>',
            score_cell(row.average, usual[""]),
            *(score_cell(row.cells.get(code), usual[code], code) for code in codes),
            f'<td data-value="{row.size_billion or ""}">{size_text(row.size_billion)}</td>',
            f'<td data-value="{attribute(row.training)}">{text(row.training)}</td>',
            f'<td data-value="{corpus}">{corpus or "not stated"}</td></tr>',
        ]
    )


def column_n(cells: Sequence[Cell | None]) -> int | None:
    """n for the column's head: that of its comparable cells, if all have the same."""
    found = {cell.n for cell in cells if cell is not None and cell.comparable}
    return found.pop() if len(found) == 1 else None


def section(which: str, rows: Sequence[Row]) -> str:
    """A setting's table, or that of the checks; nothing without rows."""
    if not rows:
        return ""
    title, note = SECTIONS[which]
    codes = [code for code in LANGUAGE_NAMES if any(code in row.cells for row in rows)]
    usual = {"": column_n([row.average for row in rows])} | {
        code: column_n([row.cells.get(code) for row in rows]) for code in codes
    }
    heads = ['<th scope="col" class="model">Model</th>', '<th scope="col" class="number overall">Rank</th>']
    for code in ("", *codes):
        n = f"<small>n {usual[code]:,}</small>" if usual[code] else ""
        more = f'" data-language="{code}"' if code else ' overall average" aria-sort="descending"'
        name = LANGUAGE_NAMES.get(code, "Average")
        heads.append(f'<th scope="col" class="number score{more}><span>{name} {n}</span></th>')
    heads += ['<th scope="col" class="number">Size</th>', '<th scope="col">Training</th>', '<th scope="col">MMedC</th>']
    order = sorted(rows, key=lambda row: (row.average is None, -(row.average.accuracy if row.average else 0), row.key))
    return (
        f'<section aria-labelledby="{which}"><h2 id="{which}">{title}</h2>{f"<p>{note}</p>" if note else ""}'
        f'<div class="scroll" role="region" tabindex="0" aria-labelledby="{which}"><table>\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n"
        + "\n".join(table_row(row, codes, usual) for row in order)
        + "\n</tbody></table></div></section>"
    )


def about(row: Row) -> str:
    """Details of a row: source, ties, and for our rows what is needed to reproduce it."""
    facts = {
        "kind": KINDS["check" if row.is_check else row.kind],
        "setting": row.setting,
        "source": row.source.replace("*", ""),
    }  # Markdown's emphasis
    if row.printed_average is not None:
        facts["average as printed"] = two(row.printed_average)
    if row.rank is not None:
        facts["tied with"] = "; ".join(row.ties) or "no row"
    facts |= row.details
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in facts.items())
    return f'<details id="about-{attribute(row.key)}"><summary>{text(row.label)}</summary><dl>{listed}</dl></details>'


def choice(name: str, label: str, options: dict[str, str]) -> str:
    """A drop-down list whose first entry is all."""
    entries = "".join(f'<option value="{key}">{words}</option>' for key, words in {"": "all", **options}.items())
    return f'<label>{label}<select name="{name}">{entries}</select></label>'


def filters(rows: Sequence[Row]) -> str:
    """The form, hidden until the script runs, with the values that occur."""
    bands, kinds = {band(row) for row in rows}, {"check" if row.is_check else row.kind for row in rows}
    spoken = {code for row in rows for code in row.cells}
    return "".join(
        [
            '<form class="filters" hidden>',
            choice(
                "setting",
                "Setting",
                {key: key for key in ("fine-tuned", "zero-shot") if any(row.setting == key for row in rows)},
            ),
            choice("size", "Size (parameters)", {key: words for key, (words, _) in BANDS.items() if key in bands}),
            choice("kind", "Kind", {key: words for key, words in KINDS.items() if key in kinds}),
            choice("language", "Language", {code: name for code, name in LANGUAGE_NAMES.items() if code in spoken}),
            '<button type="reset">Show all</button><p class="shown" role="status"></p></form>',
        ]
    )


def page(rows: Sequence[Row]) -> str:
    """The whole file. rows: leaderboard_rows.accuracy_rows."""
    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))

    def allowed(part: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() + "'"

    policy = (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">',
            f"<title>MMedBench leaderboard</title>\n<style>{style}</style>\n</head>\n<body>",
            "<h1>MMedBench leaderboard</h1>",
            INTRODUCTION,
            filters(rows),
            "<main>",
            *(section(name, [row for row in rows if section_of(row) == name]) for name in SECTIONS),
            f'<section aria-labelledby="notes"><h2 id="notes">How to read it</h2>{NOTES}</section>',
            '<section aria-labelledby="about"><h2 id="about">About each row</h2>',
            *map(about, rows),
            "</section>",
            f"</main>\n<script>{script}</script>\n</body>\n</html>\n",
        ]
    )
