"""The corpus record (FORMAT.md): columns, types, validation, and ids of equal texts."""

import hashlib
import re
import unicodedata

from language_codes import LANGUAGES

# Of equal documents the one from the first of these is kept: provenance and licence are best known there.
SOURCE_ORDER = ("textbook", "website", "existing", "web")

# What NFKC changes in most Chinese and Japanese texts: the full-width forms of these, and the ideographic space.
WIDE = [(chr(ord(narrow) + 0xFEE0), narrow) for narrow in ",:;()!?%~+-/0123456789"] + [("\u3000", " ")]


def normalised_text(text: str) -> str:
    """NFKC, case folded, every run of white space one space."""
    if "。" in text:
        # The same, five times as fast: unicodedata sees that nothing is to be done in most sentences. A full stop and
        # narrow signs neither change nor merge with what is beside them.
        for wide, narrow in WIDE:
            text = text.replace(wide, narrow)
        text = "。".join([unicodedata.normalize("NFKC", sentence) for sentence in text.split("。")])
    else:
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def document_id(text: str) -> str:
    """The first 16 hex digits of SHA-256 over the normalised text."""
    return hashlib.sha256(normalised_text(text).encode("utf-8", "replace")).hexdigest()[:16]


def keep_first_of_each(documents: list[dict]) -> tuple[list[dict], list[dict]]:
    """Split documents with `id`, `source`, `origin` and `language` into (kept, removed), both in order of id.

    Of several with one id that of the first source in SOURCE_ORDER stays, then the first origin. A removed document
    carries `kept_origin`.
    """
    ordered = sorted(documents, key=lambda d: (d["id"], SOURCE_ORDER.index(d["source"]), d["origin"], d["language"]))
    kept: list[dict] = []
    removed: list[dict] = []
    for document in ordered:
        if kept and kept[-1]["id"] == document["id"]:
            removed.append(document | {"kept_origin": kept[-1]["origin"]})
        else:
            kept.append(document)
    return kept, removed


# Characters that mean something in one font only, such as ≥ in the font Symbol.
PRIVATE_USE = re.compile("[\ue000-\uf8ff\U000f0000-\U000ffffd\U00100000-\U0010fffd]")

FORMAT_VERSION = 1
SOURCES = SOURCE_ORDER
COLUMNS = {  # name -> Arrow type, in the order of the file
    "id": "string",
    "text": "string",
    "language": "string",
    "source": "string",
    "origin": "string",
    "licence": "string",
    "distinct_keywords": "int32",
    "density": "double",
}
LOSS_SPANS = "loss_spans"  # a further column that a corpus may have: [[start, end], ...] of characters, or null
OPTIONAL = ("distinct_keywords", "density")  # null where a document came past no keyword filter (textbooks)
SHARD_NAME = re.compile(r"^([a-z]{2})/([a-z]+)/part-(\d{5})\.parquet$")


def arrow_schema(spans: bool = False):
    """The pyarrow.Schema of every shard; spans: of a corpus with loss spans."""
    import pyarrow

    types = {"string": pyarrow.string(), "int32": pyarrow.int32(), "double": pyarrow.float64()}
    further = [(LOSS_SPANS, pyarrow.list_(pyarrow.list_(pyarrow.int32())))] if spans else []
    return pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()] + further)


def span_problem(spans, text: str) -> str:
    """What is wrong with a document's loss spans; "" for none (null) and for [start, end) pairs within its text."""
    if spans is None:
        return ""
    if not isinstance(spans, list):
        return f"is {spans!r}, not a list of [start, end) pairs"
    for span in spans:
        whole = isinstance(span, list) and len(span) == 2 and all(type(place) is int for place in span)
        if not whole or not 0 <= span[0] < span[1] <= len(text):
            return f"holds {span!r}, no [start, end) within the {len(text)} characters of the text"
    return ""


def problems_of(record: dict) -> list[tuple[str, str]]:
    """What is wrong with one record: (field, sentence) pairs; an empty list for a valid one."""
    problems = []
    for field in COLUMNS:
        if field not in record:
            problems.append((field, "is missing"))
        elif record[field] is None and field not in OPTIONAL:
            problems.append((field, "is null"))
    problems += [(field, "is not a field of the corpus") for field in record if field not in (*COLUMNS, LOSS_SPANS)]
    if problems:
        return problems
    strings = [f for f, kind in COLUMNS.items() if kind == "string" and not isinstance(record[f], str)]
    if strings:
        return [(field, f"is {type(record[field]).__name__}, not text") for field in strings]
    if not record["text"].strip():
        problems.append(("text", "is blank"))
    elif record["id"] != (right := document_id(record["text"])):
        problems.append(("id", f"is {record['id']!r}; the text's id is {right!r}"))
    if private := PRIVATE_USE.findall(record["text"]):
        where = f"at character {record['text'].index(private[0])} of {record['origin']}"
        found = f"holds the private-use character U+{ord(private[0]):04X} {where} ({len(private)} such characters)"
        remedy = "in the input write the character that it shows, or remove the document, and run build_corpus.py again"
        problems.append(("text", f"{found}; {remedy}"))
    if record["language"] not in LANGUAGES:
        problems.append(("language", f"is {record['language']!r}, none of {', '.join(LANGUAGES)}"))
    if record["source"] not in SOURCES:
        problems.append(("source", f"is {record['source']!r}, none of {', '.join(SOURCES)}"))
    problems += [(field, "is blank") for field in ("origin", "licence") if not record[field].strip()]
    if wrong := span_problem(record.get(LOSS_SPANS), record["text"]):
        problems.append((LOSS_SPANS, wrong))
    distinct, density = record["distinct_keywords"], record["density"]
    if distinct is not None and not (isinstance(distinct, int) and distinct >= 0):
        problems.append(("distinct_keywords", f"is {distinct!r}, not a count"))
    if density is not None and not (isinstance(density, int | float) and 0 <= density <= 1):
        problems.append(("density", f"is {density!r}, not a share between 0 and 1"))
    return problems
