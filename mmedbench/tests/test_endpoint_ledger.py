"""endpoint_ledger.py: ledgers written before they had a version are read; those of a later version are refused."""

import contextlib
import sqlite3

import pytest

from endpoint_ledger import LEDGER_VERSION, Budget, Ledger
from rationale_writing.rationale_prompt import judge
from run_record import InputError

RATIONALES_0 = """
CREATE TABLE requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL, outcome TEXT, paid TEXT,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL, detail TEXT NOT NULL DEFAULT '');
CREATE TABLE answers (
    key TEXT PRIMARY KEY, rationale TEXT NOT NULL, unusable TEXT NOT NULL, served_model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL);
CREATE INDEX requests_by_key ON requests (key);
INSERT INTO requests VALUES
    (1, 'a', 'm', 'busy', 'no', 0, 0, 0, 'HTTP 500'), (2, 'a', 'm', 'answered', 'yes', 100, 50, 0.5, ''),
    (3, 'b', 'm', 'answered', 'yes', 100, 50, 0.5, ''), (4, 'c', 'm', 'answered', 'yes', 100, 50, 0.5, ''),
    (5, 'd', 'm', 'answered', 'yes', 100, 50, 0.5, ''), (6, 'e', 'm', 'refused', 'no', 0, 0, 0, 'HTTP 400'),
    (7, 'f', 'm', 'timed_out', 'perhaps', 300, 900, 2.0, ''), (8, 'g', 'm', NULL, NULL, 300, 900, 2.0, '');
INSERT INTO answers VALUES
    ('a', 'It is so.', '', 'm-1', 100, 50), ('b', 'It begins but', 'cut_off', 'm-1', 100, 50),
    ('c', '', 'withheld', 'm-1', 100, 50), ('d', 'half ? of it', 'damaged_text', 'm-1', 100, 50);
"""
EVAL_0 = """
CREATE TABLE requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, question TEXT NOT NULL, outcome TEXT,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL, cost REAL, detail TEXT NOT NULL DEFAULT '');
CREATE TABLE answers (key TEXT PRIMARY KEY, reply TEXT NOT NULL);
CREATE INDEX requests_by_key ON requests (key);
INSERT INTO requests VALUES (1, 'a', 'en 0', 'answered', 10, 5, 0.5, ''), (2, 'b', 'en 1', NULL, 30, 90, 2.0, '');
INSERT INTO answers VALUES ('a', '{"text": "A", "usage": [10, 5]}');
"""


def written(path, script):
    with contextlib.closing(sqlite3.connect(path)) as base:
        base.executescript(script)
    return path


@pytest.mark.parametrize("read_only", [True, False])
def test_a_ledger_of_rationales_without_a_version_keeps_its_answers_judgements_and_costs(tmp_path, read_only):
    path = written(tmp_path / "ledger.sqlite", RATIONALES_0)
    before = path.read_bytes()
    for _ in range(2):  # the second time it is converted
        ledger = Ledger(path, Budget(None, 6.0, 1.0, 1.0), read_only)
        answers = ledger.answers()
        assert {key: judge(reply, "en")[1] for key, reply in answers.items()} == {
            "a": "",
            "b": "cut_off",
            "c": "withheld",
            "d": "damaged_text",
        }
        assert (answers["a"]["text"], answers["a"]["model"], answers["a"]["usage"]) == ("It is so.", "m-1", [100, 50])
        assert ledger.abandoned() == {"f": "timed_out", "g": "interrupted"}
        assert ledger.summary() == {
            "requests": 8,
            "outcomes": {"answered": 4, "busy": 1, "interrupted": 1, "rejected": 1, "timed_out": 1},
            "input_tokens": 1000,
            "output_tokens": 2000,
            "us_dollars": 6.0,
            "interrupted": [""],
        }
        assert ledger.begin("h", "new", 1, 0) is None, "the budget counts what was spent before"
        ledger.close()
    assert (path.read_bytes() == before) == read_only


def test_a_ledger_of_eval_without_a_version_is_read_and_gets_one(tmp_path):
    path = written(tmp_path / "requests.sqlite", EVAL_0)
    ledger = Ledger(path, Budget(max_requests=2))
    assert ledger.answers() == {"a": {"text": "A", "usage": [10, 5]}} and ledger.abandoned() == {"b": "interrupted"}
    assert ledger.summary()["us_dollars"] == 2.5 and ledger.begin("c", "new", 1, 1) is None
    ledger.close()
    with contextlib.closing(sqlite3.connect(path)) as base:
        assert base.execute("PRAGMA user_version").fetchone() == (LEDGER_VERSION,)


def test_a_ledger_of_a_later_version_is_refused_by_its_number_and_left_alone(tmp_path):
    path = written(tmp_path / "ledger.sqlite", EVAL_0 + f"PRAGMA user_version={LEDGER_VERSION + 1};")
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"ledger version {LEDGER_VERSION + 1}, and this command reads versions 0 to"):
        Ledger(path, Budget())
    assert path.read_bytes() == before
