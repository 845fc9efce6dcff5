"""The leaderboard's page in a real browser: sorting, every filter, hostile names, no request, phone, print, no script.

Needs Debian's chromium and chromium-driver, or CHROMIUM and CHROMEDRIVER naming them, and the package selenium.
"""

import base64
import json
import os
import shutil
from dataclasses import replace

import pytest

from leaderboard_pages.leaderboard_html import page
from leaderboard_pages.leaderboard_rows import accuracy_rows, mean_cell, share_cell

pytestmark = pytest.mark.slow
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
CHROMEDRIVER = os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--lang=en",
)
ENTER, TAB, SPACE = "\ue007", "\ue004", "\ue00d"
EVIL = [
    "</script><script>window.evil = 1</script>",
    '"><img src=http://127.0.0.1:9/x onerror="window.evil = 1">',
    "' onmouseover='window.evil = 1",
    "<svg onload=window.evil=1>",
    "x\u202eevil\u200f نموذج",
    "模型 | <b>bold</b>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "z" * 100,
]


@pytest.fixture(scope="module")
def browser():
    selenium = pytest.importorskip("selenium.webdriver", reason="the package selenium is not installed")
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("no chromium and chromedriver here (Debian packages chromium and chromium-driver)")
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


def rows():
    """The reported rows, eight reproduced ones with hostile names, and a check of the machinery."""
    reported = accuracy_rows([])
    llama = next(row for row in reported if row.model == "Llama 3")
    sizes = (0.5, 7.0, None, 13.0, 405.0, 8.0, 1.8, 70.0)
    ours = []
    for number, (name, size) in enumerate(zip(EVIL, sizes, strict=True)):
        cells = {code: share_cell(int((0.3 + 0.05 * number) * cell.n), cell.n) for code, cell in llama.cells.items()}
        if number == 0:
            cells = {"ja": cells["ja"], "de": share_cell(60, 100, False)}
        ours.append(
            replace(
                llama,
                key=f"ours-{number}",
                kind="reproduced",
                model=name,
                size_billion=size,
                mmedc=None,
                training="lora",
                cells=cells,
                average=mean_cell(list(cells.values())),
                rank=number + 1,
                setting="zero-shot" if number == 3 else "fine-tuned",
                ties=(),
                printed_average=None,
                details={"command": name, "machine": name},
            )
        )
    check = replace(
        ours[0],
        key="tiny",
        model="tiny (demo)",
        is_check=True,
        rank=None,
        size_billion=0.0021,
        cells={"en": share_cell(2, 5, False)},
        average=share_cell(2, 5, False),
    )
    return [*reported, *ours, check]


class Board:
    """What a person does and sees."""

    def __init__(self, browser, address: str):
        self.browser, self.address = browser, address
        browser.get(address)

    def js(self, script: str, *arguments):
        return self.browser.execute_script(script, *arguments)

    def find(self, selector: str):
        return self.browser.find_element("css selector", selector)

    def column(self, number: int, table: int = 0) -> list[str]:
        """What is seen in a column (its first line), from top to bottom, of rows that are shown."""
        return self.js(
            "return [...document.querySelectorAll('table')[arguments[0]].tBodies[0].rows].filter((r) => r.offsetParent)"
            ".map((r) => r.cells[arguments[1]].innerText.split('\\n')[0])",
            table,
            number,
        )

    def numbers(self, column: int) -> list[float]:
        return [float(words.split()[0]) for words in self.column(column) if words not in "–-"]

    def names(self) -> set[str]:
        """Every model that is seen in any table."""
        return set(
            self.js(
                "return [...document.querySelectorAll('tbody tr')].filter((r) => r.offsetParent)"
                ".map((r) => r.cells[0].querySelector('bdi').textContent)"
            )
        )

    def heads(self) -> list[str]:
        return self.js(
            "return [...document.querySelector('thead').rows[0].cells].filter((c) => c.offsetParent)"
            ".map((c) => c.innerText.split('\\n')[0].trim())"
        )

    def sorted_by(self) -> list[tuple[str, str]]:
        return [
            tuple(found)
            for found in self.js(
                "return [...document.querySelector('thead').rows[0].cells].filter((c) => c.hasAttribute('aria-sort'))"
                ".map((c) => [c.innerText.split('\\n')[0].trim(), c.getAttribute('aria-sort')])"
            )
        ]

    def head(self, number: int):
        return self.find(f"thead th:nth-child({number + 1}) button")

    def choose(self, name: str, value: str) -> None:
        """As a person does: the list gets the focus, and the entry is picked by the keyboard's own means."""
        from selenium.webdriver.support.select import Select

        Select(self.find(f"select[name={name}]")).select_by_value(value)

    def said(self) -> str:
        return self.find(".shown").text

    def wait(self, condition) -> None:
        """For what the browser does after the key or click is through."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, 15, poll_frequency=0.05).until(lambda _: condition())

    def keys(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser)
        for key in keys:
            chain.send_keys(key)
        chain.perform()


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("board") / "leaderboard.html"
    path.write_text(page(rows()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def board(browser, address):
    browser.set_window_size(1400, 1000)
    for log in ("browser", "performance"):
        browser.get_log(log)  # drops what earlier tests left
    return Board(browser, address)


# ---------------------------------------------------------------- sorting


def test_a_click_sorts_by_scores_best_first_and_a_second_one_turns_it(board):
    assert board.sorted_by() == [("Average", "descending")]
    best = board.numbers(2)
    assert best == sorted(best, reverse=True)
    board.head(3).click()
    assert board.sorted_by() == [("English", "descending")]
    english = board.numbers(3)
    assert english == sorted(english, reverse=True)
    assert english != board.numbers(2)
    assert board.column(3)[-1] == "–"  # rows without a score are last, in both directions
    board.head(3).click()
    assert board.sorted_by() == [("English", "ascending")]
    assert board.numbers(3) == sorted(english)
    assert board.column(3)[-1] == "–"


def test_names_ranks_and_sizes_sort_by_their_meaning(board):
    board.head(0).click()
    names = board.js(
        "return [...document.querySelectorAll('table')[0].tBodies[0].rows].map((r) => r.cells[0].dataset.value)"
    )
    assert board.sorted_by() == [("Model", "ascending")]
    latin = [name for name in names if name[:1].isalpha() and name.isascii()]
    assert latin == sorted(latin, key=str.lower)
    board.head(1).click()
    ranks = [int(rank.split()[0]) for rank in board.column(1)]
    assert ranks == sorted(ranks)  # 10 after 9
    place = board.heads().index("Size")
    board.head(place).click()
    sizes = [float(size.removesuffix("B")) for size in board.column(place) if size.endswith("B")]
    assert sizes == sorted(sizes)
    assert board.column(place)[-1] == "-"


def test_the_keyboard_alone_sorts_filters_and_opens_what_is_said_of_a_row(board):
    board.js("document.querySelector('select[name=setting]').focus()")
    board.keys(*[TAB] * 5)
    assert board.js("return document.activeElement.getAttribute('role')") == "region"  # scrolls with the arrow keys
    board.keys(*[TAB] * 4)
    assert board.js("return document.activeElement.innerText").startswith("English")
    board.keys(ENTER)
    assert board.sorted_by() == [("English", "descending")]
    board.keys(SPACE)
    assert board.sorted_by() == [("English", "ascending")]
    outline = board.js("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    link = board.find('a[href="#about-reported-llama-3-8b-fine-tuned"]')
    board.js("arguments[0].focus()", link)
    board.keys(ENTER)
    details = board.find("#about-reported-llama-3-8b-fine-tuned")
    board.wait(lambda: details.get_attribute("open") is not None)
    assert "Nature Communications" in details.text
    board.js("document.querySelector('select[name=language]').focus()")
    board.keys("Jap", ENTER)
    board.wait(lambda: board.heads()[:2] == ["Model", "Japanese"])


# ---------------------------------------------------------------- filters


def test_each_filter_shows_what_it_says_and_all_together_what_fits_all(board):
    everything = board.names()
    assert len(everything) == 27  # two sizes of InternLM 2 and of MMedLM 2 share their names
    assert board.said() == "29 of 29 rows shown."

    board.choose("setting", "zero-shot")
    assert board.names() == {"GPT-4", "Gemini-1.0 pro", "GPT-3.5", EVIL[3]}
    assert not board.find("section[aria-labelledby=fine-tuned]").is_displayed()
    board.choose("kind", "reported")
    assert board.names() == {"GPT-4", "Gemini-1.0 pro", "GPT-3.5"}
    board.choose("size", "small")
    assert board.names() == set()
    assert board.said() == "No row fits these filters."
    board.choose("setting", "")
    assert board.names() == {"MMedLM 2", "InternLM 2"}
    assert board.said() == "2 of 29 rows shown."

    board.find("button[type=reset]").click()
    board.wait(lambda: board.names() == everything)

    board.choose("kind", "reproduced")
    assert len(board.names()) == len(EVIL)
    board.choose("kind", "check")
    assert board.names() == {"tiny (demo)"}
    board.choose("kind", "")
    board.choose("size", "unknown")
    assert {"GPT-4", "GPT-3.5", "Gemini-1.0 pro"} < board.names()
    assert len(board.names()) == 4
    board.choose("size", "large")
    assert board.names() == {"MMed-Llama 3.1", EVIL[3], "x evil نموذج", EVIL[7]}


def test_a_language_shows_its_column_alone_those_who_have_it_and_the_best_first(board):
    board.choose("language", "ja")
    assert board.heads() == ["Model", "Japanese", "Size", "Training", "MMedC"]
    assert board.sorted_by() == [("Japanese", "descending")]
    assert "tiny (demo)" not in board.names()
    seen = board.js(
        "return [...document.querySelector('tbody').rows].filter((r) => r.offsetParent)"
        ".map((r) => Number(r.querySelector('[data-language=ja]').dataset.value))"
    )
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 24
    board.choose("language", "de")
    assert len(board.names()) == 1
    board.choose("language", "")
    assert board.said() == "29 of 29 rows shown."
    assert board.heads()[:4] == ["Model", "Rank", "Average", "English"]
    assert board.sorted_by() == [("Average", "descending")]


def test_stripes_follow_what_is_shown(board):
    board.choose("kind", "reported")
    striped = board.js(
        "return [...document.querySelector('tbody').rows].filter((r) => r.offsetParent)"
        ".map((r) => r.classList.contains('striped'))"
    )
    assert striped == [number % 2 == 1 for number in range(17)]


# ---------------------------------------------------------------- hostile names, and the network


def test_hostile_names_stay_text_and_nothing_is_asked_of_any_machine(board, browser, address):
    seen = board.names()
    assert all(name in seen for name in EVIL if "\u202e" not in name)
    assert "x evil نموذج" in seen  # its marks of direction are gone
    for name in ("kind", "size", "setting", "language"):
        board.choose(name, "")
    for details in browser.find_elements("css selector", "details"):
        board.js("arguments[0].open = true", details)
    assert board.js("return window.evil") is None
    foreign = "img, svg, meta[http-equiv=refresh], td b, dd *:not(bdi), [onmouseover], body script:not(:last-child)"
    assert browser.find_elements("css selector", foreign) == []
    assert board.js("return performance.getEntriesByType('resource').length") == 0
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {address}
    assert [entry["message"] for entry in browser.get_log("browser")] == []
    assert browser.current_url == address


def test_a_script_that_came_in_nevertheless_would_not_run_and_nothing_would_be_loaded(board, browser):
    board.js(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.evil = 1'}),"
        "Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))"
    )
    assert board.js("return window.evil") is None
    said = []

    def refused_twice() -> bool:
        said.extend(entry["message"] for entry in browser.get_log("browser"))
        return " ".join(said).count("Content Security Policy") >= 2

    board.wait(refused_twice)
    assert board.js("return window.evil") is None


# ---------------------------------------------------------------- phone, dark, print, no script


@pytest.fixture
def device(browser):
    """Another screen, until the test's end."""

    def change(width: int, dark: bool = False):
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 768}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})

    yield change
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_the_page_scroll_sideways_and_names_stay_in_sight(browser, address, device, width):
    device(width)
    board = Board(browser, address)
    assert board.js("return document.documentElement.scrollWidth") <= width
    board.js("document.querySelector('.scroll').scrollLeft = 400")
    left, wide = board.js(
        "const { left, width } = document.querySelector('th.model').getBoundingClientRect();return [left, width]"
    )
    assert left >= 0
    assert wide <= width / 2
    heights = board.js("return [...document.querySelectorAll('select, form button')].map((e) => e.offsetHeight)")
    assert min(heights) >= 44  # a finger's breadth
    board.choose("language", "ja")  # of one language the scores are in sight beside the names
    board.js("document.querySelector('.scroll').scrollLeft = 0")
    assert board.js("return document.querySelector('td[data-language=ja]').getBoundingClientRect().right") <= width


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_their_ground_in_light_and_dark(browser, address, device, dark):
    device(390, dark)
    board = Board(browser, address)
    contrasts = board.js("""
        const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const light = (colour) => numbers(colour).slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        function ground(element) {
          for (; element; element = element.parentElement) {
            const colour = getComputedStyle(element).backgroundColor;
            if (numbers(colour)[3] !== 0) return colour;
          }
          return "rgb(255, 255, 255)";
        }
        return [...document.querySelectorAll("h1, p, label, select, th, td, small, a, summary, thead button")]
          .filter((e) => e.offsetParent).map((e) => {
            const [a, b] = [light(getComputedStyle(e).color), light(ground(e))].sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05);
          });""")
    assert len(contrasts) > 100
    assert min(contrasts) >= 4.5  # WCAG 2.2, 1.4.3


def test_on_paper_there_are_no_controls_every_row_and_all_that_is_said_of_it(board, browser):
    import pypdfium2

    data = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})["data"]
    document = pypdfium2.PdfDocument(base64.b64decode(data))
    width, height = document[0].get_size()
    assert width > height
    words = " ".join(" ".join(sheet.get_textpage().get_text_range() for sheet in document).split())
    assert "Show all" not in words
    assert "MMed-Llama 3.1" in words
    assert "79.0–82.0" in words
    assert "Nature Communications" in words  # from the lines that are folded on the screen
    assert board.js("return document.querySelectorAll('details[open]').length") == 0


def test_without_javascript_every_row_is_there_and_no_dead_control(browser, address):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        assert len(browser.find_elements("css selector", "tbody tr")) == 29
        assert not browser.find_element("css selector", "form").is_displayed()
        assert browser.find_elements("css selector", "thead button") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
