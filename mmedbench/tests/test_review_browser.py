"""The review page in a real browser: Chromium without a window, clicked and typed through from all three sides.

Needs Debian's chromium and chromium-driver, or CHROMIUM and CHROMEDRIVER naming them, and the package selenium.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from review_desk.review_store import Answer, ReviewStore

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
EVIL = "<script>window.evil = 1</script><img src=x onerror='window.evil = 1'>"

ZH = [
    {
        "question": "急性下壁心肌梗死最常见的罪犯血管是哪一支？",
        "answer_idx": "B",
        "options": {"A": "左前降支", "B": "右冠状动脉", "C": "对角支"},
        "rationale": f"II、III、aVF 导联抬高提示下壁，多由右冠状动脉供血。{EVIL}",
    },
    {
        "question": "下列哪些维生素是脂溶性的？",
        "options": {"A": "维生素A", "B": "维生素C", "C": "维生素D"},
        "answer_idx": "A,C",
        "rationale": "维生素A和D储存于脂肪组织，维生素C溶于水。",
    },
    {
        "question": "缺乏维生素B1会引起什么？",
        "options": {"A": "坏血病", "B": "脚气病"},
        "answer_idx": "B",
        "rationale": "坏血病由缺乏维生素C引起；脚气病由缺乏维生素B1引起。",
    },
]
AR = [
    {
        "question": "أي شريان تاجي يصاب غالباً في الاحتشاء السفلي؟",
        "answer_idx": "B",
        "options": {"A": "الأمامي النازل", "B": "التاجي الأيمن"},
        "rationale": "يغذي الشريان التاجي الأيمن الجدار السفلي عند معظم الناس (II وIII وaVF).",
    },
    {
        "question": "أي الفيتامينات الآتية تذوب في الدهون؟",
        "answer_idx": "A,C",
        "options": {"A": "فيتامين A", "B": "فيتامين C", "C": "فيتامين D"},
        "rationale": "يُخزَّن الفيتامينان A وD في النسيج الدهني، أما فيتامين C فيذوب في الماء.",
    },
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
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options=options, service=selenium.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


class Review:
    """A review made and served by review.py, on a port that stays the same over restarts."""

    def __init__(self, stage, folder):
        self.stage, self.path, self.port = stage, folder / "r.sqlite", 0
        (folder / "b" / "Test").mkdir(parents=True)
        for name, records in (("Chinese", ZH), ("Arabic", AR)):
            text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            (folder / "b" / "Test" / f"{name}.jsonl").write_text(text, encoding="utf-8")
        made = subprocess.run(
            [
                sys.executable,
                "review.py",
                "make",
                folder / "b",
                "--db",
                self.path,
                "--reviewers",
                "anna",
                "ben",
                "--referee",
                "chen",
            ],
            cwd=stage,
            capture_output=True,
            text=True,
            check=True,
        )
        self.tokens = dict(re.findall(r"^  (\w+) \(\w+\): \S+/r/([\w-]+)/$", made.stdout, re.MULTILINE))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "review.py", "serve", self.path, "--port", str(self.port)],
            cwd=self.stage,
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in self.process.stdout:
            if line.startswith("serving"):
                self.port = int(re.search(r"port (\d+)", line)[1])
                return
        raise AssertionError("review.py serve did not start")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def address(self, who: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/r/{self.tokens[who]}/{path}"

    def answers(self, who: str) -> list[Answer]:
        store = ReviewStore(self.path)
        try:
            return list(store.answers(next(person for person in store.people if person.name == who)).values())
        finally:
            store.close()


@pytest.fixture
def review(raw, tmp_path, browser):
    made = Review(raw.stage, tmp_path)
    yield made
    browser.get("about:blank")  # lets go of the page, so that nothing of it is sent to the next server
    made.kill()


class Page:
    """What a person does: look, click, type."""

    def __init__(self, browser, address: str = ""):
        self.browser = browser
        if address:
            browser.get(address)

    def find(self, selector: str):
        return self.browser.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def keys(self, *keys: str) -> None:
        """Typed at whatever has the focus, as on a keyboard."""
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def wait(self, condition) -> None:
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, 15, poll_frequency=0.05).until(lambda _: condition())

    def wait_saved(self, word: str) -> None:
        self.wait(lambda: self.text("#status") == word)

    def move(self, act, to: str) -> None:
        """Do something that leads to another page, and wait for the address to end as it should."""
        act()
        self.wait(
            lambda: (
                self.browser.current_url.endswith(to)
                and self.browser.execute_script("return document.readyState") == "complete"
            )
        )

    def checked(self) -> list[str]:
        return self.browser.execute_script(
            "return [...document.querySelectorAll('input:checked')].map((i) => `${i.name} ${i.value}`)"
        )


ENTER, ESCAPE = "\ue007", "\ue00c"


def test_two_reviewers_and_a_referee_work_through_chinese(browser, review, run, tmp_path, raw):
    page = Page(browser, review.address("anna"))
    page.move(lambda: page.find("#open-zh").click(), "/zh/1")
    assert browser.execute_script("return document.documentElement.lang") == "zh"
    assert page.text("#supports legend") == "解析是否支持给定答案？"
    # With the mouse.
    page.find("#supports label:nth-child(1)").click()
    page.wait_saved("已保存")
    page.find("#correct label:nth-child(1)").click()
    page.wait(lambda: page.text("#progress") == "已评判 1 / 3")
    page.move(lambda: page.find("#save").click(), "/zh/2")
    # With keys, and a note in which keys are letters.
    page.keys("1", "4", "n")
    page.keys("证据不足 1234 njk")
    page.keys(ESCAPE, "3", "4")
    page.move(lambda: page.keys(ENTER), "/zh/3")
    page.keys("j")  # there is no next one
    page.move(lambda: page.keys("k"), "/zh/2")
    assert page.checked() == ["supports yes", "correct no"]
    assert page.find("#note").get_attribute("value") == "证据不足 1234 njk"
    page.move(lambda: page.keys("j"), "/zh/3")
    page.keys(ENTER)
    assert page.text("#status") == "请先回答所有问题。"
    page.keys("2", "4")
    page.move(lambda: page.keys(ENTER), "/zh/finished")
    assert page.text("#finished") == "该语言的内容已全部完成，谢谢！"

    page = Page(browser, review.address("ben", "zh/"))
    assert browser.current_url.endswith("/zh/1") and page.checked() == []
    for number, keys in ((1, "13"), (2, "13"), (3, "24")):
        assert "证据不足" not in browser.page_source and "anna" not in browser.page_source
        page.keys(*keys)
        page.move(lambda: page.keys(ENTER), "/zh/finished" if number == 3 else f"/zh/{number + 1}")

    page = Page(browser, review.address("chen", "zh/"))
    assert browser.current_url.endswith("/zh/2")
    assert page.text("#place") == "第 1 条，共 1 条"
    assert page.text("#supports .agreed") == "双方一致"
    said = [element.text for element in browser.find_elements("css selector", "#correct .said li")]
    assert said == ["评审人 1 否", "评审人 2 是"]
    assert "证据不足 1234 njk" in page.text(".said-note")
    page.keys("1")  # agreed already: the key does nothing
    page.keys("4")
    page.move(lambda: page.keys(ENTER), "/zh/finished")
    assert review.answers("chen") == [Answer(None, False)]

    done = run("review.py", "export", review.path, "--data", tmp_path / "b", "--out", tmp_path / "c")
    assert done.returncode == 0, done.stderr
    passed = [r["human_check_passed"] for r in raw.lines(tmp_path / "c" / "Test" / "Chinese.jsonl")]
    assert sorted(passed) == [False, False, True]
    assert run("check.py", tmp_path / "c").returncode == 0


def test_two_reviewers_and_a_referee_work_through_arabic_from_right_to_left(browser, review):
    browser.set_window_size(1280, 900)
    page = Page(browser, review.address("anna"))
    page.move(lambda: page.find("#open-ar").click(), "/ar/1")
    assert browser.execute_script("return getComputedStyle(document.body).direction") == "rtl"
    yes, no = (page.find(f"#supports label:nth-child({n})").rect for n in (1, 2))
    assert yes["x"] > no["x"]
    exam, judge = page.find(".reading").rect, page.find(".judge").rect
    assert exam["x"] > judge["x"]
    page.keys("1", "3", "n")
    page.keys("ملاحظة عن II وaVF")
    page.wait_saved("تم الحفظ")
    page.keys(ESCAPE)
    page.move(lambda: page.keys(ENTER), "/ar/2")
    page.find("#supports label:nth-child(2)").click()
    page.find("#correct label:nth-child(2)").click()
    page.move(lambda: page.find("#save").click(), "/ar/finished")
    assert review.answers("anna") == [Answer(True, True, "ملاحظة عن II وaVF"), Answer(False, False)]

    page = Page(browser, review.address("ben", "ar/"))
    page.keys("2", "4")
    page.move(lambda: page.keys(ENTER), "/ar/2")
    page.keys("2", "4")
    page.move(lambda: page.keys(ENTER), "/ar/finished")

    page = Page(browser, review.address("chen", "ar/1"))
    assert page.text("#progress") == "حُسم 0 من 1 من الخلافات"
    assert page.text("#supports .said li:first-child") == "المراجع 1 نعم"
    assert "ملاحظة عن II وaVF" in page.text(".said-note")
    page.keys("1", "3")
    page.move(lambda: page.keys(ENTER), "/ar/finished")
    assert "اكتمل كل شيء" in page.text("#finished")
    assert review.answers("chen") == [Answer(True, True)]


def test_an_answer_shown_as_saved_outlives_kill_9_and_one_that_is_not_is_sent_after_the_restart(browser, review):
    page = Page(browser, review.address("anna", "zh/1"))
    page.keys("1", "3")
    page.wait(lambda: page.text("#progress") == "已评判 1 / 3" and page.text("#status") == "已保存")
    review.kill()
    assert review.answers("anna") == [Answer(True, True)]
    page.keys("4", "n")
    page.keys("断线时写的")
    page.wait(lambda: page.text("#status").startswith("未保存"))
    page.keys(ESCAPE, ENTER)  # does not leave the page with something unsaved
    review.start()
    page.wait(lambda: review.answers("anna") == [Answer(True, False, "断线时写的")])
    page.wait_saved("已保存")
    browser.refresh()
    assert page.checked() == ["supports yes", "correct no"]
    assert page.find("#note").get_attribute("value") == "断线时写的"


def test_a_conflict_that_is_gone_says_so_and_lets_the_referee_leave(browser, review):
    for who, keys in (("anna", "13"), ("ben", "14")):
        page = Page(browser, review.address(who, "zh/1"))
        page.keys(*keys)
        page.wait(lambda page=page: page.text("#progress") == "已评判 1 / 3")
    page = Page(browser, review.address("chen", "zh/1"))
    browser.switch_to.new_window("tab")
    other = Page(browser, review.address("ben", "zh/1"))
    other.keys("3")
    other.wait(lambda: review.answers("ben") == [Answer(True, True)])
    browser.close()
    browser.switch_to.window(browser.window_handles[0])
    page.keys("3")
    page.wait(lambda: page.text("#status").startswith("未保存：服务器拒绝"))
    assert review.answers("chen") == []
    page.find("header a").click()
    page.wait(lambda: browser.current_url == review.address("chen"))
    assert page.text("#progress-zh") == "目前没有分歧"


def test_text_of_a_model_is_shown_and_never_run_and_nothing_foreign_is_loaded(browser, review):
    browser.get_log("browser")  # drops what earlier tests left
    seen = []
    for path in ("", "zh/1", "zh/2", "zh/3", "ar/1", "zh/finished"):
        page = Page(browser, review.address("anna", path))
        if path.startswith("zh/") and path != "zh/finished":
            seen.append(page.text("#rationale"))
        assert browser.execute_script("return window.evil") is None
        loaded = browser.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(name.startswith((f"http://127.0.0.1:{review.port}/static/", "data:")) for name in loaded)
    assert sum(EVIL in text for text in seen) == 1
    assert [entry["message"] for entry in browser.get_log("browser")] == []  # no blocked script, style or image


@pytest.mark.parametrize("path", ["", "zh/1", "ar/1", "ar/finished"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_width_makes_a_page_scroll_sideways(browser, review, path, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 768}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        Page(browser, review.address("anna", path))
        wide = browser.execute_script("return document.documentElement.scrollWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= width
