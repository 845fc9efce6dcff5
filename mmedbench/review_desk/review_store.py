"""The review's SQLite database: sampled rationales, people, and every version of every answer.

Reads and writes the file that `review.py make` names with --db. Answers are only added: the newest per person
and item counts, older ones are kept as history. A write is on the disk before it is confirmed (write-ahead log,
synchronous=FULL), so a killed server loses no answer that a page reported as saved.

    ReviewStore(Path("data/review.sqlite")).progress(person)
"""

import hashlib
import hmac
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from run_record import InputError

FORMAT_VERSION = 1
APPLICATION_ID = 0x4D4D5256  # "MMRV": distinguishes our files from other SQLite files
CRITERIA = ("supports", "correct")  # supports the given answer; right, and about the options
ROLES = ("reviewer", "referee")
NOTE_CHARACTERS = 4000

SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE people (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL CHECK (role IN ('reviewer', 'referee')),
  token_sha256 TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE items (
  id INTEGER PRIMARY KEY, language TEXT NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL UNIQUE,
  record TEXT NOT NULL, UNIQUE (language, position)
) STRICT;
CREATE TABLE answers (
  id INTEGER PRIMARY KEY AUTOINCREMENT, item_id INTEGER NOT NULL REFERENCES items (id),
  person_id INTEGER NOT NULL REFERENCES people (id), supports INTEGER CHECK (supports IN (0, 1)),
  correct INTEGER CHECK (correct IN (0, 1)), note TEXT NOT NULL, saved_at TEXT NOT NULL
) STRICT;
CREATE INDEX answers_of ON answers (person_id, item_id);
CREATE VIEW latest AS SELECT * FROM answers WHERE id IN (SELECT max(id) FROM answers GROUP BY item_id, person_id);
"""


@dataclass(frozen=True)
class Person:
    id: int
    name: str
    role: str  # one of ROLES


@dataclass(frozen=True)
class Item:
    """One sampled rationale; key: see `item_key`; record: question, options, answer_idx, rationale, split ..."""

    id: int
    language: str
    position: int  # 1, 2, ... within the language
    key: str
    record: dict


@dataclass(frozen=True)
class Answer:
    """One person's judgement of one item; None: not judged yet."""

    supports: bool | None = None
    correct: bool | None = None
    note: str = ""

    @property
    def complete(self) -> bool:
        return None not in (self.supports, self.correct)


def item_key(record: dict, identifier: str) -> str:
    """Equal for copies that share a judgement: same question and options (identifier), answer and rationale."""
    value = [identifier, record["answer_idx"], record.get("rationale") or ""]
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode("utf-8")).hexdigest()


def token_hash(token: str) -> str:
    """The stored hash of a token; a plain hash is enough for 256 random bits, unlike for a password."""
    return hashlib.sha256(token.encode("utf-8")).hexdigest()


def create_store(path: Path, items: list[dict], people: list[tuple[str, str]], facts: dict) -> dict[str, str]:
    """Create the database atomically. items: {language, position, key, record}; people: (name, role).

    Returns {name: token}; the file contains only hashes of the tokens and is readable only by its owner.
    Errors: InputError when the path is taken or cannot be written.
    """
    for taken in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-journal")):
        if taken.exists():  # SQLite would take the log of an earlier database for this one's
            raise InputError(f"{taken} already exists; use another --db, or move it")
    tokens = {name: secrets.token_urlsafe(32) for name, _ in people}
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    aside.unlink(missing_ok=True)
    try:
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(aside, isolation_level=None)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.executescript(f"BEGIN; {SCHEMA}")
        connection.executemany("INSERT INTO facts VALUES (?, ?)", [(k, json.dumps(v)) for k, v in facts.items()])
        rows = [(name, role, token_hash(tokens[name])) for name, role in people]
        connection.executemany("INSERT INTO people (name, role, token_sha256) VALUES (?, ?, ?)", rows)
        rows = [(i["language"], i["position"], i["key"], json.dumps(i["record"], ensure_ascii=False)) for i in items]
        connection.executemany("INSERT INTO items (language, position, key, record) VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
        connection.close()
        aside.rename(path)
    except sqlite3.Error as error:
        raise InputError(f"cannot write {path} ({error}); is the disk full?") from None
    finally:
        aside.unlink(missing_ok=True)
    return tokens


class ReviewStore:
    """An open review. One connection serves all threads, one at a time, which is enough for three people."""

    def __init__(self, path: Path):
        """Errors: InputError when the file is missing or is not a review of this version."""
        if not path.is_file():
            raise InputError(f"{path} is missing; make it with `python mmedbench/review.py make BENCHMARK --db {path}`")
        self.path, self._lock = path, threading.RLock()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            found = self._connection.execute("PRAGMA application_id").fetchone()[0]
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if (found, version) != (APPLICATION_ID, FORMAT_VERSION):
                raise InputError(
                    f"{path} is not a review database of version {FORMAT_VERSION} made by `review.py make`"
                )
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
        except sqlite3.Error as error:
            raise InputError(f"cannot open {path} as a review database, to read and to write ({error})") from None
        people = self._rows("SELECT id, name, role FROM people ORDER BY id")
        self.people = [Person(*row) for row in people]
        self.reviewers = [person for person in self.people if person.role == "reviewer"]
        self.referee = next((person for person in self.people if person.role == "referee"), None)
        self.items: dict[str, list[Item]] = {}
        for number, language, position, key, record in self._rows(
            "SELECT id, language, position, key, record FROM items ORDER BY id"
        ):
            self.items.setdefault(language, []).append(Item(number, language, position, key, json.loads(record)))

    def close(self) -> None:
        self._connection.close()

    def _rows(self, statement: str, values: tuple = ()) -> list[tuple]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when the block has ended."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def facts(self) -> dict:
        """What `make` recorded: arguments, inputs, provenance."""
        return {name: json.loads(value) for name, value in self._rows("SELECT name, value FROM facts")}

    def person_of(self, token: str) -> Person | None:
        """The person with this token. All stored hashes are compared, each in constant time."""
        given, found = token_hash(token), None
        for number, stored in self._rows("SELECT id, token_sha256 FROM people"):
            if hmac.compare_digest(given, stored):
                found = number
        return next((person for person in self.people if person.id == found), None)

    def renew_token(self, person: Person) -> str:
        """Replace the person's token; the old one stops working."""
        token = secrets.token_urlsafe(32)
        with self._writing() as connection:
            connection.execute("UPDATE people SET token_sha256 = ? WHERE id = ?", (token_hash(token), person.id))
        return token

    def answers(self, person: Person) -> dict[int, Answer]:
        """{item id: the person's newest answer}, incomplete ones included."""
        statement = "SELECT item_id, supports, correct, note FROM latest WHERE person_id = ?"
        return {
            item: Answer(_flag(supports), _flag(correct), note)
            for item, supports, correct, note in self._rows(statement, (person.id,))
        }

    def save(self, item: Item, person: Person, answer: Answer) -> None:
        """Add the answer unless it is the person's newest already; on the disk when this returns."""
        with self._writing() as connection:
            newest = connection.execute(
                "SELECT supports, correct, note FROM latest WHERE item_id = ? AND person_id = ?", (item.id, person.id)
            ).fetchone()
            values = (answer.supports, answer.correct, answer.note)
            if newest == values or (newest is None and answer == Answer()):
                return
            connection.execute(
                "INSERT INTO answers (item_id, person_id, supports, correct, note, saved_at) VALUES (?, ?, ?, ?, ?, ?)",
                (item.id, person.id, *values, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())),
            )


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)
