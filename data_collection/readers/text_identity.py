"""Tell documents that are the same text: equal after normalisation, however they were spaced, cased or encoded.

The corpus id of a document is computed here; `build_corpus.py` keeps one document per id. Example:

    python -c "import exact_duplicates as e; print(e.document_id('Fever  COUGH') == e.document_id('fever cough'))"
"""

import hashlib
import unicodedata

# Of equal documents the one from the first of these is kept: provenance and licence are best known there.
SOURCE_ORDER = ("textbook", "website", "existing", "web")

# What NFKC changes in most Chinese and Japanese texts: the full-width forms of these, and the ideographic space.
WIDE = [(chr(ord(narrow) + 0xFEE0), narrow) for narrow in ",:;()!?%~+-/0123456789"] + [("\u3000", " ")]


def normalised_text(text: str) -> str:
    """NFKC, case folded, every run of white space one space."""
    if "。" in text:
        # The same, five times as fast: unicodedata sees that nothing is to be done in most sentences. A full stop and
        # narrow signs neither change nor merge with what stands beside them.
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
