"""The review page over HTTP: who sees what, what is saved, what is refused; and review.py serve as a process."""

import http.client
import json
import os
import random
import re
import signal
import socket
import string
import subprocess
import sys
import threading
import urllib.parse

import pytest

from review_desk import review_app
from review_desk.review_store import NOTE_CHARACTERS, Answer, ReviewStore, create_store

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'single' {{ 7*7 }} </textarea>"
LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")


def item(language: str, position: int, **more) -> dict:
    record = {
        "split": "Test",
        "id": f"{language}{position}",
        "question": f"{language} question {position}?",
        "options": {"A": "this", "B": "that"},
        "answer_idx": "A",
        "rationale": f"reason {position}",
        **more,
    }
    return {"language": language, "position": position, "key": f"{language}-{position}", "record": record}


class Review:
    """A review under test with a client that speaks to its page in this process."""

    def __init__(self, path, items):
        people = [("anna", "reviewer"), ("ben", "reviewer"), ("chen", "referee")]
        self.path = path
        self.tokens = create_store(path, items, people, {"benchmark": "x", "arguments": {}, "inputs": {}})
        self.store = ReviewStore(path)
        self.client = review_app.create_app(self.store).test_client()

    def get(self, who: str, path: str = "", **more):
        return self.client.get(f"/r/{self.tokens[who]}/{path}", **more)

    def page(self, who: str, path: str = "") -> str:
        """The page's text without the token, which may contain any word by chance."""
        return self.get(who, path, follow_redirects=True).get_data(as_text=True).replace(self.tokens[who], "")

    def post(self, who: str, path: str, headers=(), script=True, **form):
        accept = {"Accept": "application/json"} if script else {}
        return self.client.post(f"/r/{self.tokens[who]}/{path}", data=form, headers={**accept, **dict(headers)})

    def answers(self, who: str) -> dict:
        return self.store.answers(next(person for person in self.store.people if person.name == who))


@pytest.fixture
def review(tmp_path):
    return Review(tmp_path / "r.sqlite", [item(code, n) for code in ("zh", "ar") for n in (1, 2, 3)])


def test_a_click_is_saved_and_the_page_comes_back_where_one_stopped(review):
    assert review.get("anna", "zh/").location.endswith("/zh/1")
    said = review.post("anna", "zh/1", supports="yes", correct="no", note="").get_json()
    assert (said["done"], said["total"], said["progress"]) == (1, 3, "已评判 1 / 3")
    assert said["next"].endswith("/zh/2")
    half = review.post("anna", "zh/2", supports="yes", note="迟些再看").get_json()
    assert half["done"] == 1 and half["next"].endswith("/zh/3")
    assert review.get("anna", "zh/").location.endswith("/zh/2")
    assert "迟些再看" in review.page("anna", "zh/")
    assert list(review.answers("anna").values()) == [Answer(True, False), Answer(True, None, "迟些再看")]
    review.post("anna", "zh/3", supports="no", correct="no")
    assert review.post("anna", "zh/2", supports="yes", correct="yes").get_json()["next"].endswith("/zh/finished")
    assert "谢谢" in review.page("anna", "zh/")


def test_the_form_works_without_the_script(review):
    half = review.post("anna", "ar/1", script=False, supports="yes", note="x")
    assert half.status_code == 200 and "أجب أولاً" in half.get_data(as_text=True)
    whole = review.post("anna", "ar/1", script=False, supports="yes", correct="no", note="a\r\nb")
    assert (whole.status_code, whole.location.rsplit("/", 2)[1:]) == (303, ["ar", "2"])
    assert list(review.answers("anna").values()) == [Answer(True, False, "a\nb")]


def test_reviewers_are_blind_to_each_other_and_to_the_referee(review):
    before = [review.page("ben", path) for path in ("", "zh/1", "zh/finished")]
    review.post("anna", "zh/1", supports="yes", correct="no", note="anna was here")
    assert [review.page("ben", path) for path in ("", "zh/1", "zh/finished")] == before
    review.post("ben", "zh/1", supports="yes", correct="yes", note="ben was here")
    anna = [review.page("anna", path) for path in ("", "zh/1", "zh/finished")]
    review.post("chen", "zh/1", correct="no", note="chen was here")
    assert [review.page("anna", path) for path in ("", "zh/1", "zh/finished")] == anna
    assert not any(word in page for page in anna for word in ("ben", "chen", "评审人 1"))


def test_the_referee_sees_conflicts_only_and_settles_only_what_differs(review):
    said = {1: ("yes", "yes", "yes", "yes"), 2: ("yes", "no", "yes", "yes"), 3: ("yes", "no", "", "")}
    for number, (a, b, c, d) in said.items():
        review.post("anna", f"zh/{number}", supports=a, correct=b, note=f"first word {number}")
        review.post("ben", f"zh/{number}", supports=c, correct=d, note=f"second word {number}")
    assert [review.get("chen", f"zh/{number}").status_code for number in (1, 2, 3)] == [404, 200, 404]
    page = review.page("chen", "zh/")
    assert "first word 2" in page and "second word 2" in page and "双方一致" in page
    assert "anna" not in page and "ben" not in page
    assert 'name="correct"' in page and 'name="supports"' not in page
    assert review.post("chen", "zh/1", supports="no", correct="no").status_code == 404
    said = review.post("chen", "zh/2", supports="no", correct="no").get_json()
    assert (said["done"], said["total"]) == (1, 1)
    assert list(review.answers("chen").values()) == [Answer(None, False)]  # what both agree on is not the referee's
    assert "目前没有分歧" not in review.page("chen", "zh/") and "لا خلافات" in review.page("chen", "ar/")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/r/",
        "/r/x/",
        "/r/x/zh/1",
        "/r/{token}/zh/4",
        "/r/{token}/zh/0",
        "/x",
        "/r/{token}/fr/",
        "/r/{token}/zh/1/2",
        "/r/{token}x/",
        "/r/{hash}/",
    ],
)
def test_what_is_not_ones_own_is_not_found(review, path):
    stored = review.store._rows("SELECT token_sha256 FROM people")[0][0]
    answer = review.client.get(path.format(token=review.tokens["anna"], hash=stored), headers={"Accept-Language": "ar"})
    assert answer.status_code == 404
    page = answer.get_data(as_text=True)
    assert "question" not in page and 'dir="rtl"' in page


def test_what_models_and_people_wrote_is_only_ever_text(tmp_path):
    evil = item("en", 1, question=EVIL, rationale=EVIL, context=EVIL, options={"A": EVIL, "B": EVIL})
    review = Review(tmp_path / "r.sqlite", [evil])
    review.post("anna", "en/1", supports="yes", correct="yes", note=EVIL)
    review.post("ben", "en/1", supports="no", correct="yes", note=EVIL)
    for who in ("anna", "ben", "chen"):
        page = review.page(who, "en/1")
        assert page.count("&lt;script&gt;alert(1)") >= 6  # question, context, rationale, two options, a note
        assert "<script>" not in page and "<img" not in page and "{{ 7*7 }}" in page
        assert page.count("</textarea>") == 1
        assert re.search(r"<[^>]*\son\w+=", page) is None and "style=" not in page


@pytest.mark.parametrize(
    "path, method",
    [
        ("/r/{token}/", "GET"),
        ("/r/{token}/zh/1", "GET"),
        ("/r/x/", "GET"),
        ("/r/{token}/zh/1", "PUT"),
        ("/static/review.js", "GET"),
        ("/static/x", "GET"),
    ],
)
def test_every_answer_carries_the_security_headers_and_no_cookie(review, path, method):
    answer = review.client.open(path.format(token=review.tokens["anna"]), method=method)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers


def test_a_page_needs_nothing_from_any_other_place(review):
    pages = [review.page("anna", path) for path in ("", "zh/1", "zh/finished", "nowhere")]
    pages += [path.read_text(encoding="utf-8") for path in (review_app.PAGE / "static").iterdir()]
    assert not any(re.search(r"https?://|url\(|@import|//\w+\.\w", page) for page in pages)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_request_from_another_site_is_refused_even_with_the_token(review, headers):
    assert review.post("anna", "zh/1", headers=headers, supports="yes", correct="yes").status_code == 403
    assert review.answers("anna") == {}


def test_a_request_from_the_page_itself_is_taken(review):
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert review.post("anna", "zh/1", headers=headers, supports="yes").status_code == 200


@pytest.mark.parametrize(
    "form, code",
    [
        ({"supports": "maybe"}, 400),
        ({"correct": "True"}, 400),
        ({"note": "x" * (NOTE_CHARACTERS + 1)}, 400),
        ({"note": "x" * 1_000_000}, 413),
    ],
)
def test_what_no_page_of_ours_sends_is_refused_and_not_saved(review, form, code):
    assert review.post("anna", "zh/1", **form).status_code == code
    assert review.answers("anna") == {}


def test_the_longest_note_of_any_script_is_kept_whole(review):
    note = "😀" * NOTE_CHARACTERS
    assert review.post("anna", "zh/1", supports="yes", note=note + "\x00").status_code == 200
    assert next(iter(review.answers("anna").values())).note == note


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_a_whole_interface_of_its_own(tmp_path, language):
    review = Review(tmp_path / "r.sqlite", [item(language, 1)])
    page = review.page("anna", f"{language}/")
    texts = json.loads((review_app.PAGE / "texts.json").read_text(encoding="utf-8"))
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in page
    assert texts[language]["supports"] in page and texts[language]["correct"] in page
    other = "de" if language != "de" else "fr"
    assert texts[other]["supports"] not in page


def test_the_interface_texts_have_the_same_keys_and_places_in_every_language():
    texts = json.loads((review_app.PAGE / "texts.json").read_text(encoding="utf-8"))
    assert tuple(texts) == LANGUAGES
    for language, words in texts.items():
        assert words.keys() == texts["en"].keys(), language
        for key, text in words.items():
            places = {name for _, name, _, _ in string.Formatter().parse(text) if name}
            assert text.strip() and places == {n for _, n, _, _ in string.Formatter().parse(texts["en"][key]) if n}, key
    used = "".join(p.read_text(encoding="utf-8") for p in (review_app.PAGE / "templates").iterdir())
    used += "".join((review_app.PAGE.parent / "review_desk" / name).read_text("utf-8") for name in ("review_app.py",))
    unused = [key for key in texts["en"] if not re.search(rf"""\bt\.{key}\b|["']{key}["']|{key[:-1]}\{{""", used)]
    assert unused == []


def test_a_failing_page_says_so_without_its_address(review, monkeypatch, caplog):
    monkeypatch.setattr(review.store, "answers", lambda person: 1 / 0)
    answer = review.get("anna", "zh/1")
    assert answer.status_code == 500 and "Traceback" not in answer.get_data(as_text=True)
    assert "ZeroDivisionError" in caplog.text and review.tokens["anna"] not in caplog.text


# As a process


class Server:
    """`review.py serve` on a free port."""

    def __init__(self, stage, path, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "review.py", "serve", path, "--port", "0", *arguments],
            cwd=stage,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line)
            if line.startswith("serving"):
                self.port = int(re.search(r"port (\d+)", line)[1])
                return
        raise AssertionError(self.process.stderr.read())

    def send(self, method: str, path: str, **form) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        connection.request(method, path, urllib.parse.urlencode(form), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def kill(self) -> str:
        """Kill -9; returns all that it printed."""
        os.kill(self.process.pid, signal.SIGKILL)
        out, err = self.process.communicate()
        return "".join(self.lines) + out + err


@pytest.fixture
def serve(raw, review):
    servers = []

    def start(*arguments):
        servers.append(Server(raw.stage, review.path, *arguments))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


def test_an_answer_is_there_after_kill_9_and_a_restart(review, serve):
    review.store.close()
    path = f"/r/{review.tokens['anna']}/zh/"
    for number in (1, 2, 3):
        server = serve()
        code, said = server.send("POST", f"{path}{number}", supports="yes", correct="no", note=f"第{number}条")
        printed = server.kill()
        assert (code, json.loads(said)["done"]) == (200, number)
        assert review.tokens["anna"] not in printed
    assert "谢谢" in serve().send("GET", f"{path}finished")[1]
    store = ReviewStore(review.path)
    assert list(store.answers(store.people[0]).values()) == [Answer(True, False, f"第{n}条") for n in (1, 2, 3)]


@pytest.mark.slow
def test_whatever_was_confirmed_before_a_kill_at_any_moment_is_there(tmp_path, raw):
    review = Review(tmp_path / "many.sqlite", [item("en", n) for n in range(1, 201)])
    chance, confirmed = random.Random(3), {}
    for _ in range(8):
        server = Server(raw.stage, review.path)
        timer = threading.Timer(chance.uniform(0.02, 0.3), server.kill)
        timer.start()
        while True:
            number, note = chance.randint(1, 200), str(chance.random())
            try:
                path = f"/r/{review.tokens['anna']}/en/{number}"
                code, _ = server.send("POST", path, supports="yes", correct="no", note=note)
            except (OSError, http.client.HTTPException):
                confirmed.pop(number, None)  # sent, but whether it was saved was never said
                break
            assert code == 200
            confirmed[number] = note
        timer.join()
    store = ReviewStore(review.path)
    assert store._rows("PRAGMA integrity_check") == [("ok",)]
    found = {n: answer.note for n, answer in store.answers(store.people[0]).items()}
    assert len(confirmed) > 50
    assert {n: found.get(n) for n in confirmed} == confirmed


def test_two_reviewers_at_once_lose_nothing(tmp_path, raw):
    review = Review(tmp_path / "many.sqlite", [item("en", n) for n in range(1, 31)])
    server = Server(raw.stage, review.path)
    failed = []

    def work(who: str) -> None:
        for number in range(1, 31):
            path = f"/r/{review.tokens[who]}/en/{number}"
            code, _ = server.send("POST", path, supports="yes", correct="no", note=who)
            failed.extend([(who, number)] if code != 200 else [])

    threads = [threading.Thread(target=work, args=(who,)) for who in ("anna", "ben")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.kill()
    assert failed == []
    for who in ("anna", "ben"):
        assert list(review.answers(who).values()) == [Answer(True, False, who)] * 30


def test_it_listens_on_this_machine_alone_and_warns_when_told_otherwise(serve):
    quiet, loud = serve(), serve("--host", "0.0.0.0")
    assert "serving on 127.0.0.1" in quiet.lines[-1]
    assert "warning" not in quiet.kill()
    assert "warning: 0.0.0.0 lets other machines reach this page" in loud.kill()


@pytest.mark.parametrize(
    "host, inside",
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.7", False),
        ("example.org", False),
    ],
)
def test_only_loopback_addresses_go_without_the_warning(host, inside):
    from review import is_loopback

    assert is_loopback(host) is inside


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(review, run, port):
    assert run("review.py", "serve", review.path, "--port", port).returncode == 2


def test_a_port_that_is_taken_is_said_in_one_sentence(review, run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("review.py", "serve", review.path, "--port", taken.getsockname()[1])
    assert (done.returncode, done.stderr.count("\n"), "cannot listen" in done.stderr) == (2, 1, True)
