"""leaderboard.py render --html: one whole file, every row in it, every foreign text escaped, nothing loaded."""

import base64
import hashlib
import html.parser
import re
from dataclasses import replace

import pytest

from leaderboard_pages.leaderboard_html import page
from leaderboard_pages.leaderboard_rows import accuracy_rows, mean_cell, share_cell

EVIL = [
    "</script><script>window.evil = 1</script>",
    '"><img src=x onerror="window.evil = 1">',
    "' onclick='x",
    "a | b\nc",
    "<!-- -->",
    "]]>",
    "x\u202eevil\u200f",
    "&lt;b&gt; &amp;",
    "\ud800half",
    "\x00nul",
    "模型",
    "نموذج طبي",
    "{0} ${x} %s",
]
VOID = {"meta", "link", "br", "img", "input"}


def ours(name: str, **more):
    """A reproduced row whose every text is hostile."""
    row = next(row for row in accuracy_rows([]) if row.model == "Llama 3")
    cells = {**row.cells, "de": share_cell(50, 100, False)}
    return replace(
        row,
        **{
            "key": "ours",
            "kind": "reproduced",
            "model": name,
            "mmedc": None,
            "cells": cells,
            "average": mean_cell(list(row.cells.values())),
            "rank": 3,
            "rank_how": "paired",
            "ties": (name,),
            "source": name,
            "training": name,
            "details": {name: name},
            "printed_average": None,
            **more,
        },
    )


class Reader(html.parser.HTMLParser):
    """Tags that were opened and not closed, attributes, and text outside style and script."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.words, self.faults = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)


def rows_of(text: str) -> list[str]:
    """The table rows of the page's body, as text of HTML."""
    return re.findall(r'^<tr class="\w+" data-kind.*</tr>$', text, re.MULTILINE)


def test_the_command_writes_it_and_checks_it(tmp_path, run, result):
    (tmp_path / "results").mkdir()
    out = tmp_path / "site" / "board.html"
    arguments = [
        "leaderboard.py",
        "render",
        "--results",
        tmp_path / "results",
        "--out",
        tmp_path / "leaderboard.md",
        "--no-pictures",
        "--html",
        out,
    ]
    done = run(*arguments)
    assert (done.returncode, f"wrote {out}" in done.stdout) == (0, True), done.stderr
    text = out.read_text(encoding="utf-8")
    assert run(*arguments, "--check").returncode == 0
    out.write_text(text.replace("80.60", "80.61", 1), encoding="utf-8")
    done = run(*arguments, "--check")
    line = text[: text.index("80.60")].count("\n") + 1
    assert (done.returncode, f"board.html:{line}: differs" in done.stdout) == (1, True)
    assert "80.61" in out.read_text(encoding="utf-8")
    out.unlink()
    assert run(*arguments, "--check").returncode == 2


def test_every_reported_row_stands_in_it_with_scores_intervals_n_and_rank():
    rows = accuracy_rows([])
    text = page(rows)
    shown = rows_of(text)
    assert len(shown) == len(rows) == 20
    for row in rows:
        mine = [line for line in shown if f"#about-{row.key}" in line]
        assert len(mine) == 1
        for cell in [row.average, *row.cells.values()]:
            assert f">{cell.accuracy + 1e-9:.2f}{'' if cell.exact else ' ‡'}<" in mine[0]
            assert f"<small>{cell.low:.1f}–{cell.high:.1f}</small>" in mine[0]
        assert f'<td class="overall" data-value="{row.rank}">{row.rank}' in mine[0]
    for n in ("n 1,273", "n 3,426", "n 199", "n 622", "n 256", "n 2,742", "n 8,518"):
        assert text.count(f"<small>{n}</small>") == 2  # the heads of the two settings' tables
    tuned, zero = text.split('<h2 id="zero-shot">')
    assert "GPT-4" not in tuned
    assert "#about-reported-llama-3-8b-fine-tuned" not in zero.split("<h2 id=")[0]


def test_a_check_of_the_machinery_stands_in_a_table_apart_without_a_rank():
    tiny = ours("tiny", is_check=True, rank=None, rank_how="", ties=())
    before, after = page([*accuracy_rows([]), tiny]).split('<h2 id="check">')
    assert len(rows_of(before)) == 20
    assert [">tiny<" in row for row in rows_of(after)] == [True]
    assert "no claim about medicine" in after
    assert '<td class="overall" data-value="">–</td>' in rows_of(after)[0]


def test_a_cell_of_another_split_or_another_n_says_so():
    text = page([*accuracy_rows([]), ours("x")])
    mine = next(row for row in rows_of(text) if "#about-ours" in row)
    assert "50.00 †<small>40.4–59.6</small><small>n 100</small>" in mine
    assert mine.count("<small>n ") == 1


@pytest.mark.parametrize("name", EVIL)
def test_foreign_text_adds_no_tag_no_attribute_and_stays_readable(name):
    plain, evil = (Reader(page([*accuracy_rows([]), ours(text)])) for text in ("harmless", name))
    assert evil.open == evil.faults == []
    assert [(tag, sorted(attributes)) for tag, attributes in plain.tags] == [
        (tag, sorted(attributes)) for tag, attributes in evil.tags
    ]
    assert not any(key.startswith("on") for _, attributes in evil.tags for key in attributes)
    cleaned = " ".join(re.sub("[\x00\n\u202e\u200f\ud800]", " ", name).split())
    assert sum(words == cleaned for words in evil.words) >= 4  # table, summary, source, details
    assert not re.search("[\x00\u202e\u200f]", page([ours(name)]))


def test_the_file_needs_nothing_else_and_lets_only_its_own_script_and_style_run():
    text = page(accuracy_rows([]))
    reader = Reader(text)
    for tag, attributes in reader.tags:
        assert "src" not in attributes
        assert "style" not in attributes
        assert attributes.get("href", "#")[:1] == "#" or (tag, attributes["href"]) == ("link", "data:,")
    assert "http:" not in text
    assert "@import" not in text
    assert "url(" not in text
    policy = next(a["content"] for tag, a in reader.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    for part in ("style", "script"):
        inside = re.findall(rf"<{part}>(.*?)</{part}>", text, re.DOTALL)
        assert len(inside) == 1
        digest = base64.b64encode(hashlib.sha256(inside[0].encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy


def test_a_board_without_rows_and_one_with_a_row_of_one_language_are_whole():
    for rows in ([], [ours("x", cells={"ar": share_cell(1, 3)}, average=share_cell(1, 3))]):
        reader = Reader(page(rows))
        assert reader.open == reader.faults == []


def test_only_what_occurs_can_be_chosen():
    choices = page(accuracy_rows([])).split("<form")[1].split("</form>")[0]
    assert re.findall(r'<option value="([^"]+)"', choices) == [
        "fine-tuned",
        "zero-shot",
        "small",
        "middle",
        "large",
        "unknown",
        "reported",
        "en",
        "zh",
        "ja",
        "fr",
        "ru",
        "es",
    ]
