"""The leaderboard's pictures: what each shows, their files, and the Markdown that embeds them.

Reads   rows of leaderboard_rows.py
Writes  <folder>/accuracy_by_language, gain_over_base, accuracy_by_size (.svg and .png) and, last, leaderboard.json with
        the SHA-256 of what was drawn and of each file
Example python mmedbench/leaderboard.py render

`problems` compares what would be drawn with what leaderboard.json says was drawn, and the files with their sums there.
It draws nothing: the bytes of a picture depend on the machine's fonts, so another machine's need not be equal.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from leaderboard_pages import leaderboard_drawing, picture_canvas
from leaderboard_pages.leaderboard_rows import Row
from leaderboard_pages.page_text import escape
from leaderboard_pages.picture_contents import picture_data
from run_record import InputError, describe_files, read_json, sha256_of_file, write_json

RECORD = "leaderboard.json"


def drawn_sha256(rows: Sequence[Row]) -> str:
    """The SHA-256 of what is drawn and of the code that draws it: the same on every machine."""
    code = [sha256_of_file(Path(module.__file__)) for module in (leaderboard_drawing, picture_canvas)]
    # Pythons differ in a float's last digits (sum() compensates from 3.12 on), which no picture shows; + 0.0: no -0.0.
    data = json.loads(json.dumps(picture_data(rows)), parse_float=lambda digits: round(float(digits), 6) + 0.0)
    text = json.dumps([data, code], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_pictures(rows: Sequence[Row], folder: Path) -> list[str]:
    """Draw what is not current, the record last. Returns sentences to tell: what was drawn, what lacks a font."""
    if not problems(rows, folder):
        return [f"the pictures in {folder} are up to date"]
    wanted, notes, missing, written = picture_data(rows), [], set(), []
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for name in leaderboard_drawing.PICTURES:  # one that shows nothing any more goes
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
            f"boxes stand for {len(missing)} letters of models' names that no installed font holds: "
            f"{' '.join(sorted(missing))}; install fonts that do (such as the Noto fonts) and delete {RECORD}"
        )
    return notes


def problems(rows: Sequence[Row], folder: Path) -> list[str]:
    """What of the pictures is missing, was changed, or was drawn from other results; nothing when they are current."""
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
    """What a picture says, for those who do not see it; one line, not escaped."""
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
        "The same figures as in the tables, without the checks of the machinery. Hollow marks: reported by",
        "others; filled: reproduced here. A click on a picture gives its PNG.",
        "",
    ]
    for name, data in picture_data(rows).items():
        lines += [f"[![{escape(alt_text(name, data))}]({where}/{name}.svg)]({where}/{name}.png)", ""]
    return lines
