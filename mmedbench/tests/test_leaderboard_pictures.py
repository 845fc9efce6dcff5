"""The leaderboard's pictures: true to the rows, readable, the same bytes twice, checked without being drawn."""

import itertools
import json
import math
import re
import xml.etree.ElementTree
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard_pages import leaderboard_drawing
from leaderboard_pages.leaderboard_drawing import PICTURES, draw, size_scale, spread
from leaderboard_pages.leaderboard_pictures import (
    difference,
    drawn_sha256,
    name_and_more,
    picture_data,
    picture_lines,
    problems,
    write_pictures,
)
from leaderboard_pages.leaderboard_rows import LANGUAGES, accuracy_rows, mean_cell, share_cell
from leaderboard_pages.leaderboard_rows import test_sizes as released_sizes

SIZES = released_sizes()
EVIL = [
    "$x_1$ \\frac{a}{b} {0} %s",
    "a | b\nc",
    "<script>alert(1)</script> ](x) ![i](y) `c`",
    "x\u202eevil\u200f",
    "\ud800half",
    "医学大模型基座版第三代",
    "モデル ひらがな カタカナ",
    "نموذج طبي عربي",
    "модель для медицины",
    "y" * 100,
]


def ours(name="ours", share=0.5, n=SIZES, comparable=True, **more):
    """A reproduced row on the released split, or on another, answered alike in every language."""
    cells = {code: share_cell(int(share * n[code]), n[code], comparable) for code in n}
    row = next(row for row in accuracy_rows([]) if row.model == "Llama 3")
    return replace(
        row,
        key=f"ours-{len(name)}-{share}",
        kind="reproduced",
        model=name,
        mmedc=None,
        cells=cells,
        average=mean_cell(list(cells.values())),
        **more,
    )


def many_rows():
    """The reported rows, and ours with names and sizes that a picture could stumble over."""
    sizes = (0.0021, 0.5, 7, None, 405, 7, 8, 13, 7, 70)
    return accuracy_rows([]) + [
        ours(
            name,
            0.3 + 0.05 * number,
            size_billion=size,
            training="lora" if number % 2 else "full",
            setting="zero-shot" if number == 4 else "fine-tuned",
        )
        for number, (name, size) in enumerate(zip(EVIL, sizes, strict=True))
    ]


@pytest.fixture
def quick_drawing(monkeypatch):
    """Files without pictures in them, for tests of what becomes of files."""
    monkeypatch.setattr(
        "leaderboard_pages.leaderboard_drawing.draw",
        lambda kind, _: ({"png": b"P" + kind.encode(), "svg": b"S"}, set()),
    )


# ---------------------------------------------------------------- the command


def test_render_draws_and_embeds_them_and_check_sees_every_change_without_drawing(tmp_path, run, result, monkeypatch):
    page, folder = tmp_path / "leaderboard.md", tmp_path / "pictures"
    (tmp_path / "results").mkdir()
    arguments = ["leaderboard.py", "render", "--results", tmp_path / "results", "--out", page]
    done = run(*arguments)
    assert (done.returncode, "drew 6 pictures" in done.stdout) == (0, True), done.stderr
    embedded = re.findall(r"^\[!\[(.+)\]\((pictures/\w+\.svg)\)\]\((pictures/\w+\.png)\)$", page.read_text(), re.M)
    assert len(embedded) == 3
    for alt, svg, png in embedded:
        assert len(alt) > 60
        assert (tmp_path / svg).is_file()
        assert (tmp_path / png).is_file()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert "up to date" in run(*arguments).stdout
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before

    monkeypatch.setattr("leaderboard_pages.leaderboard_drawing.draw", None)  # a check draws nothing
    assert run(*arguments, "--check").returncode == 0
    svg = folder / "gain_over_base.svg"
    whole = svg.read_text()
    changed = whole.replace("M 1", "M 2", 1)
    for broken, said in ((changed, "not the picture that"), (None, "gain_over_base.svg: missing")):
        svg.unlink() if broken is None else svg.write_text(broken)
        done = run(*arguments, "--check")
        assert (done.returncode, said in done.stdout) == (1, True), done.stdout
    svg.write_text(whole)
    assert run(*arguments, "--check").returncode == 0
    (folder / "leaderboard.json").write_text("{")
    assert run(*arguments, "--check").returncode == 1


def test_a_python_that_adds_floats_more_exactly_finds_the_pictures_current(tmp_path, monkeypatch, quick_drawing):
    rows = many_rows()
    write_pictures(rows, tmp_path)
    exact = picture_data(rows)
    monkeypatch.setattr(
        "leaderboard_pages.page_text.sum", math.fsum, raising=False
    )  # sum() from Python 3.12 on is as exact
    assert picture_data(many_rows()) != exact
    assert problems(many_rows(), tmp_path) == []
    ja = rows[0].cells["ja"]
    other = replace(rows[0], cells={**rows[0].cells, "ja": replace(ja, accuracy=ja.accuracy + 0.01)})
    assert drawn_sha256([other, *rows[1:]]) != drawn_sha256(rows)


def test_pictures_stand_in_the_stage_folder_where_there_is_one_and_where_the_flag_says(tmp_path, run, quick_drawing):
    (tmp_path / "results").mkdir()
    (tmp_path / "mmedbench").mkdir()
    arguments = ["leaderboard.py", "render", "--results", tmp_path / "results", "--out", tmp_path / "leaderboard.md"]
    assert run(*arguments).returncode == 0
    assert (tmp_path / "mmedbench" / "pictures" / "leaderboard.json").is_file()
    assert run(*arguments, "--pictures", tmp_path / "x y").returncode == 0
    assert "](x%20y/gain_over_base.svg)" in (tmp_path / "leaderboard.md").read_text()
    assert (tmp_path / "x y" / "gain_over_base.svg").is_file()
    assert run(*arguments, "--no-pictures").returncode == 0
    assert "![" not in (tmp_path / "leaderboard.md").read_text()
    assert run(*arguments, "--pictures", tmp_path / "x", "--no-pictures").returncode == 2


def test_the_project_readme_shows_one_and_says_what_is_in_it(raw):
    text = (raw.stage.parent / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[([^\]]+)\]\((mmedbench/pictures/(?:accuracy|gain)\w+\.(?:svg|png))\)", text)
    assert shown
    for alt, path in shown:
        assert len(alt) > 60
        assert (raw.stage.parent / path).is_file()


# ---------------------------------------------------------------- what they show


def test_they_show_every_reported_row_and_ours_apart_but_no_check_of_the_machinery():
    rows = [*accuracy_rows([]), ours(), ours("tiny", 0.2, is_check=True)]
    data = picture_data(rows)
    names = [row["name"] + row["more"] for row in data["accuracy_by_language"]["rows"]]
    assert len(names) == 21
    assert "tiny 8B" not in names
    assert [row["name"] for row in data["accuracy_by_language"]["rows"] if row["reproduced"]] == ["ours"]
    assert names[-3:] == ["GPT-4", "Gemini-1.0 pro", "GPT-3.5"]
    assert len(data["accuracy_by_size"]["points"]) == 21
    for picture in data.values():
        assert any("20" in note or "4 models" in note for note in picture["notes"] if "eported" in note)
    assert "All 20 rows are reported by others" in picture_data(accuracy_rows([]))["accuracy_by_size"]["notes"][-1]


def test_every_reported_accuracy_stands_in_its_panel_with_its_n():
    data = picture_data(accuracy_rows([]))["accuracy_by_language"]
    panels = data["panels"]
    assert [panel["title"].split(" (")[0] for panel in panels[1:]] == [
        "English",
        "Chinese",
        "Japanese",
        "French",
        "Russian",
        "Spanish",
    ]
    assert [int(re.sub(r"\D", "", panel["title"])) for panel in panels] == [
        sum(SIZES.values()),
        *(SIZES[code] for code in LANGUAGES),
    ]
    row = [row["name"] for row in data["rows"]].index("MMed-Llama 3")
    assert [panel["cells"][row][0] for panel in panels[1:]] == [66.06, 79.25, 61.81, 55.63, 75.39, 68.38]
    assert panels[0]["cells"][row] == pytest.approx((67.75, 66.1, 69.4), abs=0.06)


def test_scores_on_another_split_are_not_drawn():
    rows = [*accuracy_rows([]), ours("elsewhere", comparable=False), ours("part", n={"ja": 199, "de": 50})]
    data = picture_data(rows)
    names = [row["name"] for row in data["accuracy_by_language"]["rows"]]
    assert "elsewhere" not in names
    place = names.index("part")
    assert [panel["cells"][place] is not None for panel in data["accuracy_by_language"]["panels"]] == [
        False,
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    assert "part" not in [point["name"] for point in data["accuracy_by_size"]["points"]]


def test_gains_are_those_of_the_four_published_pairs_and_of_ours_where_its_base_is_there():
    rows = [*accuracy_rows([]), ours("further", 0.6, base="plain"), ours("plain", 0.5), ours("alone", 0.6, base="gone")]
    panels = picture_data(rows)["gain_over_base"]["panels"]
    assert {panel["title"] for panel in panels} == {
        "MMedLM 7B over InternLM 7B",
        "MMedLM 2 7B over InternLM 2 7B",
        "MMedLM 2 1.8B over InternLM 2 1.8B",
        "MMed-Llama 3 8B over Llama 3 8B",
        "further 8B over plain 8B",
    }
    llama = dict(next(panel for panel in panels if panel["title"].startswith("MMed-Llama"))["gains"])
    assert llama["average (8,518)"] == pytest.approx([4.96, 2.6, 7.4], abs=0.06)
    assert llama["Japanese (199)"][0] == pytest.approx(61.81 - 48.24)
    assert [panel["reproduced"] for panel in panels].count(True) == 1


def test_the_interval_of_a_difference_is_newcombes_of_his_own_example():
    new, old = share_cell(56, 70), share_cell(48, 80)  # Statistics in Medicine 17:873, table II, (a), method 10
    found = difference((new.accuracy, new.low, new.high), (old.accuracy, old.low, old.high))
    assert found == pytest.approx([20.0, 5.24, 33.39], abs=0.01)


def test_a_board_of_more_rows_than_a_picture_holds_says_so():
    rows = accuracy_rows([]) + [ours(f"model {number}", number / 100) for number in range(60)]
    data = picture_data(rows)["accuracy_by_language"]
    assert len(data["rows"]) == 60
    assert "The first 60 of 80 rows; the tables hold all." in data["notes"]


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("rows", [accuracy_rows([]), many_rows()], ids=["reported", "with ours"])
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_leaves_the_picture_or_covers_another(name, rows):
    data, (build, height) = picture_data(rows)[name], PICTURES[name]
    with leaderboard_drawing.paper(height(data)) as figure:
        build(figure, data)
        figure.canvas.draw()
        texts = list(figure.texts)
        for axes in (axes for axes in figure.axes if axes.axison):
            ticks = [(axis, tick) for axis in (axes.xaxis, axes.yaxis) for tick in axis.get_major_ticks()]
            texts += [
                *axes.texts,
                axes.yaxis.label,
                *(
                    tick.label1
                    for axis, tick in ticks
                    if axis.get_view_interval()[0] <= tick.get_loc() <= axis.get_view_interval()[1]
                ),
            ]
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
        whole = figure.bbox
    assert len(boxes) > 30
    assert any("…" in words for words, _ in boxes) == (len(rows) > 20 and name != "gain_over_base")  # names cut short
    for words, box in boxes:
        assert box.x0 >= 0, words
        assert box.x1 <= whole.x1, words
        assert box.y0 >= 0, words
        assert box.y1 <= whole.y1, words
    for (words, a), (others, b) in itertools.combinations(boxes, 2):
        across, up = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 1 or up <= 4, (words, others)  # letters of neighbouring lines have room of their own


def test_the_same_rows_give_the_same_bytes_and_other_rows_others(tmp_path, quick_drawing):
    first, second, other = (
        draw("gain_over_base", picture_data(rows)["gain_over_base"])[0]
        for rows in (accuracy_rows([]), accuracy_rows([]), [ours("new", 0.6, base="old"), ours("old", 0.5)])
    )
    assert first == second
    assert first["png"] != other["png"]
    assert first["svg"] != other["svg"]
    write_pictures(many_rows(), tmp_path)
    assert problems(many_rows(), tmp_path) == []
    assert "drawn from other results" in problems(accuracy_rows([]), tmp_path)[0]


def test_they_are_as_wide_as_a_phone_and_their_svg_is_whole_and_carries_no_date(tmp_path):
    data = picture_data(accuracy_rows([]))["gain_over_base"]
    files, missing = draw("gain_over_base", data)
    assert missing == set()
    assert int.from_bytes(files["png"][16:20], "big") == 2 * 390
    root = xml.etree.ElementTree.fromstring(files["svg"])
    assert float(root.get("width").removesuffix("pt")) * 96 / 72 == pytest.approx(390)
    assert b"<dc:date>" not in files["svg"]
    assert b"<text" not in files["svg"]  # letters are outlines: no font of the reader's is needed


def test_names_of_any_kind_are_drawn_as_text_and_letters_without_a_font_are_told(tmp_path, monkeypatch):
    strange = ours("\U0001e7e6 of a script that few fonts hold", 0.9, base=EVIL[0], size_billion=0.0021)
    rows = [strange, replace(ours(EVIL[0], 0.8), size_billion=0.0021)]
    monkeypatch.setattr(
        "leaderboard_pages.leaderboard_pictures.picture_data",
        lambda rows: {"gain_over_base": picture_data(rows)["gain_over_base"]},
    )
    notes = write_pictures(rows, tmp_path)
    assert any("no installed font has" in note and "\U0001e7e6" in note for note in notes)


def test_hostile_names_break_none_of_the_lines_that_embed_the_pictures(tmp_path):
    for name in EVIL:
        rows = [ours(name, 0.9, base="base"), ours("base", 0.8)]
        images = [line for line in picture_lines(rows, tmp_path, tmp_path / "page.md") if line.startswith("[![")]
        assert len(images) == 3
        for line in images:
            assert not re.search(r"<[a-z/]|\u202e|\n", line)
            assert len(re.findall(r"(?<!\\)\]\(", line)) == 2


def test_a_kill_between_two_pictures_is_seen_and_mended(tmp_path, monkeypatch, quick_drawing):
    rows, count = accuracy_rows([]), itertools.count()

    def dying(kind, data):
        if next(count) == 1:
            raise KeyboardInterrupt
        return {"png": b"P", "svg": b"S"}, set()

    with monkeypatch.context() as patch:
        patch.setattr("leaderboard_pages.leaderboard_drawing.draw", dying)
        with pytest.raises(KeyboardInterrupt):
            write_pictures(rows, tmp_path)
    assert problems(rows, tmp_path) == [f"{tmp_path / 'leaderboard.json'}: missing"]
    write_pictures(rows, tmp_path)
    assert problems(rows, tmp_path) == []


def test_a_picture_that_shows_nothing_any_more_goes(tmp_path, quick_drawing):
    write_pictures([*accuracy_rows([])], tmp_path)
    write_pictures([ours()], tmp_path)
    assert sorted(path.stem for path in tmp_path.glob("*.svg")) == ["accuracy_by_language", "accuracy_by_size"]
    assert set(json.loads((tmp_path / "leaderboard.json").read_text())["files"]) == {
        path.name for path in tmp_path.iterdir() if path.suffix in (".svg", ".png")
    }


def test_no_two_kinds_of_mark_share_their_shape_or_their_colour():
    colours, markers, _ = zip(*leaderboard_drawing.STYLES.values(), strict=True)
    assert len(set(colours)) == len(set(markers)) == len(leaderboard_drawing.STYLES)


def test_a_size_that_the_name_says_already_is_not_said_twice():
    assert name_and_more(ours("InternLM2-7B", size_billion=7.0)) == {"name": "InternLM2-7B", "more": ""}
    assert name_and_more(ours("x", size_billion=7.0, training="lora")) == {"name": "x", "more": " 7B LoRA"}


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_labels_are_spread_in_order_a_step_apart_and_within_the_axis(values):
    values = sorted(values, reverse=True)
    places = spread(values, 3.0, 0.0, 100.0)
    assert all(a - b >= 3.0 - 1e-9 for a, b in itertools.pairwise(places))
    assert -1e-9 <= places[-1] <= places[0] <= 100 + 1e-9


def test_labels_with_room_stand_at_their_values():
    assert spread([90.0, 50.0, 10.0], 3.0, 0.0, 100.0) == pytest.approx([90.0, 50.0, 10.0])


def test_sizes_stand_in_their_order_and_those_not_published_apart():
    place = size_scale([1.8, 7.0, 70.0], 2.2)
    assert 0 < place(1.8) < place(7.0) < place(70.0) < 2.2 - 0.5 < place(None) < 2.2
    assert size_scale([], 2.2)(None) < 2.2
    assert 0 < size_scale([7.0], 2.2)(7.0) < 1.7
