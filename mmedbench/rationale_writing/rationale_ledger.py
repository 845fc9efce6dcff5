"""The ledger of paid requests: an SQLite file with every request ever made and every answer ever received.

A request is written down before it is sent, and its answer with what it cost in one transaction when it arrives. So a
run killed at any time knows afterwards what it has asked, and the budget counts every run that used the ledger.
What a request may have cost is reserved before it is sent, so that no number of requests at once oversteps.
"""

import fcntl
import shutil
import sqlite3
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError

TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, model TEXT NOT NULL,
    outcome TEXT,                 -- NULL while it is on its way; see OUTCOMES
    paid TEXT,                    -- 'yes', 'no', 'perhaps'
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,  -- the most it can be, until the server says
    cost REAL,                    -- US dollars; NULL where no prices were given
    detail TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, rationale TEXT NOT NULL, unusable TEXT NOT NULL, served_model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS requests_by_key ON requests (key);
"""
# outcome -> (paid, what it means)
OUTCOMES = {
    "answered": ("yes", "a whole chat completion arrived"),
    "busy": ("no", "the server answered 408, 409, 429 or 5xx"),
    "unreachable": ("no", "no connection was made"),
    "broken": ("perhaps", "the server broke off, or sent something that is no chat completion"),
    "timed_out": ("perhaps", "no answer came within --timeout; the server may still have written one"),
    "interrupted": ("perhaps", "the run was killed before the answer arrived"),
    "refused": ("no", "the server refused this question (4xx)"),
    "denied": ("no", "the server refuses key, model or account (401, 402, 403, 404, quota)"),
}
LEFT_OPEN = ("timed_out", "interrupted")  # we left, not the server: it may have been paid, so it is not asked again


@dataclass(frozen=True)
class Budget:
    """What may be spent over the ledger's whole life; prices in US dollars for a million tokens."""

    max_requests: int | None
    max_cost: float | None
    price_input: float | None
    price_output: float | None

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars, or None where no prices are known."""
        if self.price_input is None or self.price_output is None:
            return None
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1e6


@dataclass(frozen=True)
class Answer:
    """A whole answer as it is kept; unusable is a reason of rationale_prompt.UNUSABLE or ""."""

    rationale: str
    unusable: str
    served_model: str
    input_tokens: int
    output_tokens: int


class Ledger:
    """One open ledger; every method may be called from any thread."""

    def __init__(self, path: Path, budget: Budget, read_only: bool = False):
        """Open or make it; read_only looks at a copy, for a dry run.

        Errors: InputError when another run holds it or the file is no ledger.
        """
        self.budget = budget
        self._ready = threading.Condition()
        self._reserved: dict[int, float] = {}
        self._copy = tempfile.TemporaryDirectory() if read_only else None
        self._lock_file = None if read_only else self._locked(path)
        try:
            self._base = sqlite3.connect(
                self._copied(path) if read_only else path, check_same_thread=False, isolation_level=None
            )
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            self._base.executescript(TABLES)
            # What was on its way when an earlier run ended: its fate is unknown, so it counts as it was reserved.
            self._base.execute("UPDATE requests SET outcome='interrupted', paid='perhaps' WHERE outcome IS NULL")
            self._count, self._spent = self.spent()
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(f"{path} is no ledger of rationales.py ({error}); give another --cache") from None

    def _copied(self, path: Path) -> Path:
        """A copy of the ledger: SQLite writes beside a file in this mode even where it only reads."""
        for file in (path, path.with_name(path.name + "-wal")):
            if file.exists():
                shutil.copy(file, Path(self._copy.name) / file.name)
        return Path(self._copy.name) / path.name

    @staticmethod
    def _locked(path: Path):
        """The open lock file beside the ledger: two runs at once would ask the same questions."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path.with_name(path.name + ".lock"), "w", encoding="utf-8")  # noqa: SIM115 (held until close)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise InputError(f"{path} is in use by another run; wait for it, or give another --cache") from None
        return file

    def close(self) -> None:
        if hasattr(self, "_base"):
            self._base.close()
        if self._lock_file:
            self._lock_file.close()
        if self._copy:
            self._copy.cleanup()

    def spent(self) -> tuple[int, float]:
        """(requests ever sent, US dollars they cost at most); requests without a price count at today's prices."""
        rows = self._all("SELECT input_tokens, output_tokens, cost, paid FROM requests")
        return len(rows), sum(
            cost if cost is not None else 0.0 if paid == "no" else self.budget.cost(taken, given) or 0.0
            for taken, given, cost, paid in rows
        )

    def begin(self, key: str, model: str, input_tokens: int, output_tokens: int) -> int | None:
        """Write down that a request goes out now; returns its number, or None when the budget does not allow it.

        input_tokens, output_tokens: the most it can use. Waits while requests on their way may leave enough over.
        """
        most = self.budget.cost(input_tokens, output_tokens) or 0.0
        with self._ready:
            while True:
                if self.budget.max_requests is not None and self._count >= self.budget.max_requests:
                    return None
                if self.budget.max_cost is None or self._spent + self._on_their_way() + most <= self.budget.max_cost:
                    break
                if not self._reserved:
                    return None
                self._ready.wait()
            cost = self.budget.cost(input_tokens, output_tokens)
            cursor = self._base.execute(
                "INSERT INTO requests (key, model, input_tokens, output_tokens, cost) VALUES (?, ?, ?, ?, ?)",
                (key, model, input_tokens, output_tokens, cost),
            )
            self._count += 1
            self._reserved[cursor.lastrowid] = most
            return cursor.lastrowid

    def end(self, number: int, key: str, outcome: str, detail: str = "", answer: Answer | None = None) -> None:
        """Write down how request `number` ended and, in the same transaction, its answer."""
        paid = OUTCOMES[outcome][0]
        with self._ready:
            cost = self._reserved.pop(number)
            if answer:
                cost = self.budget.cost(answer.input_tokens, answer.output_tokens) or 0.0
            elif paid == "no":
                cost = 0.0
            self._spent += cost
            try:
                self._base.execute("BEGIN IMMEDIATE")
                self._base.execute(
                    "UPDATE requests SET outcome=?, paid=?, detail=? WHERE number=?", (outcome, paid, detail, number)
                )
                if answer:
                    known = self.budget.cost(0, 0) is not None
                    self._base.execute(
                        "UPDATE requests SET input_tokens=?, output_tokens=?, cost=? WHERE number=?",
                        (answer.input_tokens, answer.output_tokens, cost if known else None, number),
                    )
                    self._base.execute(
                        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                        (
                            key,
                            answer.rationale,
                            answer.unusable,
                            answer.served_model,
                            answer.input_tokens,
                            answer.output_tokens,
                        ),
                    )
                elif paid == "no":
                    self._base.execute(
                        "UPDATE requests SET input_tokens=0, output_tokens=0, cost=0 WHERE number=?", (number,)
                    )
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise
            finally:
                self._ready.notify_all()  # in every case: who waits in `begin` for this request would wait for ever

    def _on_their_way(self) -> float:
        return sum(self._reserved.values())

    def _all(self, query: str, values: tuple = ()) -> list[tuple]:
        with self._ready:
            return self._base.execute(query, values).fetchall()

    def answers(self) -> dict[str, Answer]:
        """{key: answer} of every answer ever received."""
        query = "SELECT key, rationale, unusable, served_model, input_tokens, output_tokens FROM answers"
        return {key: Answer(*rest) for key, *rest in self._all(query)}

    def left_open(self) -> dict[str, str]:
        """{key: outcome} of requests that we left before an answer came and that no answer has followed."""
        query = (
            "SELECT key, outcome FROM requests WHERE outcome IN (?, ?) AND key NOT IN (SELECT key FROM answers) "
            "ORDER BY number"
        )
        return dict(self._all(query, LEFT_OPEN))

    def outcomes(self, after: int = 0) -> dict[str, int]:
        """{outcome: requests} of the requests with a number above `after`."""
        query = "SELECT outcome, COUNT(*) FROM requests WHERE number > ? GROUP BY outcome ORDER BY outcome"
        return dict(self._all(query, (after,)))

    def tokens(self, after: int = 0) -> tuple[int, int, float | None]:
        """(input, output, US dollars or None) of the requests above `after`; those without an answer at their most."""
        rows = self._all("SELECT input_tokens, output_tokens, cost FROM requests WHERE number > ?", (after,))
        priced = all(cost is not None for *_, cost in rows) and self.budget.cost(0, 0) is not None
        return (
            sum(row[0] for row in rows),
            sum(row[1] for row in rows),
            sum(cost for *_, cost in rows) if priced else None,
        )

    def last_number(self) -> int:
        return self._all("SELECT COALESCE(MAX(number), 0) FROM requests")[0][0]
