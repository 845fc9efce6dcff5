"""The ledger of an endpoint: an SQLite file with every request ever sent to it and every answer ever received.

A request is written down before it is sent, and its answer with what it cost in one transaction when it arrives. So a
run killed at any time knows afterwards what it has asked, and a budget counts every try that used the ledger. What a
request may cost is reserved before it is sent, so that no number of requests at once oversteps the budget.
"""

import fcntl
import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError

TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL,
    question TEXT NOT NULL,       -- which question it asks, for a person to read
    outcome TEXT,                 -- NULL while it is on its way; see OUTCOMES
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,  -- the most it can be, until the server says
    cost REAL,                    -- US dollars; NULL where no prices were given
    detail TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, reply TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS requests_by_key ON requests (key);
"""
# outcome -> (whether it was paid, what it means)
OUTCOMES = {
    "answered": ("yes", "a whole answer arrived"),
    "busy": ("no", "the server turned it away (408, 409, 429, 5xx)"),
    "unreachable": ("no", "no connection was made"),
    "broken": ("perhaps", "the server broke off, or sent something that is no answer"),
    "timed_out": ("perhaps", "no whole answer came within --timeout"),
    "interrupted": ("perhaps", "the run was killed before the answer arrived"),
    "rejected": ("no", "the server rejected this question (4xx)"),
    "useless": ("yes", "a whole answer without the log-probabilities that were asked for"),
    "denied": ("no", "the server refuses key, model, address or account"),
}
LEFT_OPEN = ("timed_out", "interrupted")  # we left, not the server: it may have been paid


@dataclass(frozen=True)
class Budget:
    """What may be spent over the ledger's whole life; prices in US dollars for a million tokens."""

    max_requests: int | None = None
    max_cost: float | None = None
    price_input: float | None = None
    price_output: float | None = None

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars, or None where no prices are known."""
        if self.price_input is None or self.price_output is None:
            return None
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1e6


class Ledger:
    """One open ledger; every method may be called from any thread."""

    def __init__(self, path: Path, budget: Budget):
        """Open or make it. Errors: InputError when another run holds it or the file is no ledger."""
        self.budget = budget
        self._ready = threading.Condition()
        self._reserved: dict[int, float] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = open(path.with_name(path.name + ".lock"), "w", encoding="utf-8")  # noqa: SIM115 (until close)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock_file.close()
            raise InputError(f"{path} is in use by another run; wait for it, or give another --cache") from None
        try:
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(TABLES)
            # What was on its way when an earlier run ended: its fate is unknown, so it counts as it was reserved.
            self._base.execute("UPDATE requests SET outcome='interrupted' WHERE outcome IS NULL")
            rows = self._all("SELECT input_tokens, output_tokens, cost FROM requests")
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(f"{path} is no ledger of this command ({error}); give another --cache") from None
        self._count = len(rows)
        self._spent = sum(budget.cost(i, o) or 0.0 if cost is None else cost for i, o, cost in rows)

    def close(self) -> None:
        if hasattr(self, "_base"):
            self._base.close()
        self._lock_file.close()

    def _all(self, query: str, values: tuple = ()) -> list[tuple]:
        with self._ready:
            return self._base.execute(query, values).fetchall()

    def begin(self, key: str, question: str, input_tokens: int, output_tokens: int) -> int | None:
        """Write down that a request goes out now; returns its number, or None when the budget does not allow it.

        input_tokens, output_tokens: the most it can use. Waits while requests on their way may leave enough over.
        """
        cost = self.budget.cost(input_tokens, output_tokens)
        most = self.budget.max_cost
        with self._ready:
            while True:
                if self.budget.max_requests is not None and self._count >= self.budget.max_requests:
                    return None
                if most is None or self._spent + sum(self._reserved.values()) + cost <= most:
                    break
                if not self._reserved:
                    return None
                self._ready.wait()
            number = self._base.execute(
                "INSERT INTO requests (key, question, input_tokens, output_tokens, cost) VALUES (?, ?, ?, ?, ?)",
                (key, question, input_tokens, output_tokens, cost),
            ).lastrowid
            self._count += 1
            self._reserved[number] = cost or 0.0
            return number

    def end(self, number: int, key: str, outcome: str, detail: str = "", reply: dict | None = None) -> None:
        """Write down how request `number` ended and, in the same transaction, its answer.

        reply: what api_client.read_reply made of it; its `usage` takes the place of what was reserved.
        """
        with self._ready:
            reserved = self._reserved.pop(number)
            used = (reply or {}).get("usage")
            if OUTCOMES[outcome][0] == "no":
                used = (0, 0)
            cost = self.budget.cost(*used) if used else reserved if self.budget.cost(0, 0) is not None else None
            self._spent += cost or 0.0
            try:
                self._base.execute("BEGIN IMMEDIATE")
                self._base.execute(
                    "UPDATE requests SET outcome=?, detail=?, cost=? WHERE number=?", (outcome, detail, cost, number)
                )
                if used:
                    self._base.execute(
                        "UPDATE requests SET input_tokens=?, output_tokens=? WHERE number=?", (*used, number)
                    )
                if reply is not None:
                    self._base.execute(
                        "INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, json.dumps(reply, ensure_ascii=False))
                    )
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
            finally:
                self._ready.notify_all()  # in every case: who waits in `begin` for this request would wait for ever

    def answers(self) -> dict[str, dict]:
        """{key: reply} of every answer ever received."""
        return {key: json.loads(reply) for key, reply in self._all("SELECT key, reply FROM answers")}

    def left_open(self) -> dict[str, str]:
        """{key: outcome} of requests that we left before an answer came and that no answer has followed."""
        query = (
            "SELECT key, outcome FROM requests WHERE outcome IN (?, ?) AND key NOT IN (SELECT key FROM answers) "
            "ORDER BY number"
        )
        return dict(self._all(query, LEFT_OPEN))

    def summary(self) -> dict:
        """All that was ever sent: requests by outcome, tokens, US dollars or null, and those that a kill cut off."""
        rows = self._all("SELECT question, outcome, input_tokens, output_tokens, cost, detail FROM requests")
        outcomes: dict[str, int] = {}
        for row in rows:
            outcomes[row[1]] = outcomes.get(row[1], 0) + 1
        priced = all(row[4] is not None for row in rows)
        return {
            "requests": len(rows),
            "outcomes": dict(sorted(outcomes.items())),
            "input_tokens": sum(row[2] for row in rows),
            "output_tokens": sum(row[3] for row in rows),
            "us_dollars": round(sum(row[4] for row in rows), 6) if priced and rows else None,
            "interrupted": [row[0] for row in rows if row[1] == "interrupted"],
        }


def answers_elsewhere(folder: Path, own: Path) -> dict[str, dict]:
    """{key: reply} of the other ledgers in a result folder: those of other shards, or of another dealing of them."""
    found: dict[str, dict] = {}
    for path in sorted(folder.glob("requests*.sqlite")):
        if path.resolve() == own.resolve():
            continue
        try:
            base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            try:
                found |= {key: json.loads(reply) for key, reply in base.execute("SELECT key, reply FROM answers")}
            finally:
                base.close()
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be read ({error}); move it away if it is no ledger") from None
    return found
