"""The ledger of an OpenAI-compatible endpoint: an SQLite file with every request sent and every answer received.

This file is carried by several stages, byte-identical; edit one copy and run `bash slurm/sync_copies.sh PATH`.

A request is recorded before it is sent, and its answer and cost in one transaction when it arrives. A run killed at any
time therefore knows what it has asked, and the budget covers every run that used the ledger. The maximum cost of a
request is reserved before it is sent, so concurrent requests cannot exceed the budget.
"""

import fcntl
import json
import shutil
import sqlite3
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError

LEDGER_VERSION = 1  # PRAGMA user_version; 0: written before ledgers had a version
TABLES = """
CREATE TABLE IF NOT EXISTS requests (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL,
    question TEXT NOT NULL,       -- the question it asks, for a person to read
    outcome TEXT,                 -- NULL while it is in flight; see OUTCOMES
    input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,  -- the maximum, until the server reports them
    cost REAL,                    -- US dollars; NULL without prices
    detail TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, reply TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS requests_by_key ON requests (key);
"""
# outcome -> (whether it was paid, meaning)
OUTCOMES = {
    "answered": ("yes", "a complete answer arrived"),
    "busy": ("no", "the server answered 408, 409, 425, 429 or 5xx"),
    "unreachable": ("no", "no connection was made"),
    "broken": ("perhaps", "the connection broke, or the response is not a valid answer"),
    "timed_out": ("perhaps", "no complete answer within --timeout; the server may still have written one"),
    "interrupted": ("perhaps", "the run was killed before the answer arrived"),
    "rejected": ("no", "the server rejected this question (4xx)"),
    "useless": ("yes", "a complete answer without the requested log-probabilities"),
    "denied": ("no", "the server refuses the key, the model, the address or the account"),
}
ABANDONED = ("timed_out", "interrupted")  # ended by us, not by the server: may have been paid


@dataclass(frozen=True)
class Budget:
    """Limits over the ledger's lifetime; costs in US dollars, prices in US dollars per million tokens."""

    max_requests: int | None = None
    max_cost: float | None = None
    price_input: float | None = None
    price_output: float | None = None

    def cost(self, input_tokens: int, output_tokens: int) -> float | None:
        """US dollars, or None without prices."""
        if self.price_input is None or self.price_output is None:
            return None
        return (input_tokens * self.price_input + output_tokens * self.price_output) / 1e6


class Ledger:
    """One open ledger; every method may be called from any thread."""

    def __init__(self, path: Path, budget: Budget, read_only: bool = False):
        """Open or create a ledger; read_only opens a copy, for a dry run.

        Errors: InputError if another run has it open, or if the file is not a ledger or of a later version.
        """
        self.path, self.budget = path, budget
        self._ready = threading.Condition()
        self._reserved: dict[int, float] = {}
        self._copy = tempfile.TemporaryDirectory() if read_only else None
        self._lock_file = None if read_only else _lock(path)
        try:
            file = self._copied() if read_only else path
            self._base = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            _check_version(self._base, path)
            self._base.execute("PRAGMA journal_mode=WAL")
            self._base.execute("PRAGMA synchronous=FULL")
            _migrate_rationales(self._base)
            self._base.executescript(TABLES)
            self._base.execute(f"PRAGMA user_version={LEDGER_VERSION}")
            # Requests in flight when an earlier run ended may have been paid: they count at their reserved cost.
            self._base.execute("UPDATE requests SET outcome='interrupted' WHERE outcome IS NULL")
            rows = self._all("SELECT input_tokens, output_tokens, cost FROM requests")
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(f"{path} is not a ledger ({error}); give another --cache") from None
        except InputError:
            self.close()
            raise
        self._count = len(rows)
        self._spent = sum(budget.cost(i, o) or 0.0 if cost is None else cost for i, o, cost in rows)

    def _copied(self) -> Path:
        """A copy of the ledger: in WAL mode SQLite writes files beside a database even when it only reads."""
        for file in (self.path, self.path.with_name(self.path.name + "-wal")):
            if file.exists():
                shutil.copy(file, Path(self._copy.name) / file.name)
        return Path(self._copy.name) / self.path.name

    def close(self) -> None:
        if hasattr(self, "_base"):
            self._base.close()
        if self._lock_file:
            self._lock_file.close()
        if self._copy:
            self._copy.cleanup()

    def _all(self, query: str, values: tuple = ()) -> list[tuple]:
        with self._ready:
            return self._base.execute(query, values).fetchall()

    def begin(self, key: str, question: str, input_tokens: int, output_tokens: int) -> int | None:
        """Record that a request is sent now; returns its number, or None if the budget does not allow it.

        input_tokens, output_tokens: the maximum it can use. Waits while requests in flight may free enough budget.
        """
        cost = self.budget.cost(input_tokens, output_tokens)
        limit = self.budget.max_cost
        with self._ready:
            while True:
                if self.budget.max_requests is not None and self._count >= self.budget.max_requests:
                    return None
                if limit is None or self._spent + sum(self._reserved.values()) + cost <= limit:
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
        """Record the outcome of request `number` and, in the same transaction, its answer.

        reply: as returned by endpoint_client.read_reply; its `usage` replaces the reserved tokens.
        """
        with self._ready:
            reserved = self._reserved.pop(number)
            used = (0, 0) if OUTCOMES[outcome][0] == "no" else (reply or {}).get("usage")
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
                self._ready.notify_all()  # also on errors: a `begin` that waits for this request would wait forever

    def answers(self) -> dict[str, dict]:
        """{key: reply} of every answer received."""
        return {key: json.loads(reply) for key, reply in self._all("SELECT key, reply FROM answers")}

    def abandoned(self) -> dict[str, str]:
        """{key: outcome} of requests that timed out or were interrupted and have no answer."""
        query = (
            "SELECT key, outcome FROM requests WHERE outcome IN (?, ?) AND key NOT IN (SELECT key FROM answers) "
            "ORDER BY number"
        )
        return dict(self._all(query, ABANDONED))

    def last_number(self) -> int:
        return self._all("SELECT COALESCE(MAX(number), 0) FROM requests")[0][0]

    def summary(self, after: int = 0) -> dict:
        """Of the requests with a number above `after`: count, outcomes, tokens, US dollars or None, interrupted ones.

        Requests without a readable token count are included at their maximum.
        """
        query = "SELECT question, outcome, input_tokens, output_tokens, cost FROM requests WHERE number > ?"
        rows = self._all(query, (after,))
        outcomes: dict[str, int] = {}
        for row in rows:
            outcomes[row[1]] = outcomes.get(row[1], 0) + 1
        priced = all(row[4] is not None for row in rows) if rows else self.budget.cost(0, 0) is not None
        return {
            "requests": len(rows),
            "outcomes": dict(sorted(outcomes.items())),
            "input_tokens": sum(row[2] for row in rows),
            "output_tokens": sum(row[3] for row in rows),
            "us_dollars": round(sum(row[4] for row in rows), 6) if priced else None,
            "interrupted": [row[0] for row in rows if row[1] == "interrupted"],
        }


def _lock(path: Path):
    """The locked file beside the ledger: two runs at once would ask the same questions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path.with_name(path.name + ".lock"), "w", encoding="utf-8")  # noqa: SIM115 (open until close())
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise InputError(f"{path} is in use by another run; wait for it, or give another --cache") from None
    return file


def _check_version(base: sqlite3.Connection, path: Path) -> None:
    """Errors: InputError if the ledger is of a later version than this code."""
    version = base.execute("PRAGMA user_version").fetchone()[0]
    if version > LEDGER_VERSION:
        raise InputError(
            f"{path} has ledger version {version}, and this command reads versions 0 to {LEDGER_VERSION}; use the "
            "command that wrote it, or give another --cache"
        )


def _migrate_rationales(base: sqlite3.Connection) -> None:
    """Convert a version 0 ledger of mmedbench/rationales.py, in one transaction.

    Those of inference/eval.py already had these tables. `unusable` was derived from the finish reason and the text.
    """
    if "rationale" not in [column[1] for column in base.execute("PRAGMA table_info(answers)")]:
        return
    base.execute("BEGIN IMMEDIATE")
    base.execute("ALTER TABLE requests RENAME TO old_requests")
    base.execute("ALTER TABLE answers RENAME TO old_answers")
    base.execute("DROP INDEX IF EXISTS requests_by_key")
    for statement in TABLES.split(";\n"):
        base.execute(statement)
    base.execute(
        "INSERT INTO requests SELECT number, key, '', CASE outcome WHEN 'refused' THEN 'rejected' ELSE outcome END, "
        "input_tokens, output_tokens, cost, detail FROM old_requests"
    )
    finish_reasons = {"cut_off": "length", "withheld": "content_filter"}
    columns = "key, rationale, unusable, served_model, input_tokens, output_tokens"
    for key, text, unusable, model, *usage in base.execute(f"SELECT {columns} FROM old_answers").fetchall():
        reply = {"text": text, "finish": finish_reasons.get(unusable, "stop"), "refused": unusable == "withheld"}
        reply |= {"model": model, "fingerprint": "", "usage": usage}
        reply |= {"damaged": True} if unusable == "damaged_text" else {}
        base.execute("INSERT INTO answers VALUES (?, ?)", (key, json.dumps(reply, ensure_ascii=False)))
    base.execute("DROP TABLE old_requests")
    base.execute("DROP TABLE old_answers")
    base.execute(f"PRAGMA user_version={LEDGER_VERSION}")
    base.execute("COMMIT")


def answers_elsewhere(folder: Path, own: Path) -> dict[str, dict]:
    """{key: reply} of the other ledgers in a result folder: those of other shards or of an earlier sharding."""
    found: dict[str, dict] = {}
    for path in sorted(folder.glob("requests*.sqlite")):
        if path.resolve() == own.resolve():
            continue
        try:
            base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
            try:
                _check_version(base, path)
                found |= {key: json.loads(reply) for key, reply in base.execute("SELECT key, reply FROM answers")}
            finally:
                base.close()
        except sqlite3.Error as error:
            raise InputError(f"{path} cannot be read ({error}); move it away if it is not a ledger") from None
    return found
