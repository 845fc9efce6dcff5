"""Documents with near duplicates of a wanted similarity, to measure and test `deduplicate.py` by.

The similarity is measured by a plain definition of its own, on words and characters, not on hashes. Example:

    python -c "import planted_duplicates as p; print(p.true_similarity('a b c d e f', 'A, b c d e f!', 'en'))"
"""

import json
import random
import re
import unicodedata
from pathlib import Path

from readers.corpus_inputs import FILTER
from readers.text_identity import normalised_text
from run_record import describe_files, write_json

CHARACTERS = ("zh", "ja")
GRAM = 5
UNSEEN = ("Mn", "Mc", "Me", "Cf")  # vowel marks, joiners


def units_of_text(text: str, language: str) -> list[str]:
    """The words, in Chinese and Japanese the characters, by which texts are compared."""
    seen = "".join(c for c in normalised_text(text) if unicodedata.category(c) not in UNSEEN and c != "ـ")
    words = re.findall(r"[^\W_]+", "".join(c if c.isalnum() else " " for c in seen))
    return list("".join(words)) if language in CHARACTERS else words


def true_similarity(one: str, other: str, language: str) -> float:
    """Jaccard similarity of the sets of five units in a row (of all, where there are fewer)."""
    sets = []
    for text in (one, other):
        units = units_of_text(text, language)
        sets.append({tuple(units[i : i + GRAM]) for i in range(max(1, len(units) - GRAM + 1))} if units else set())
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def near_copy(text: str, other: str, language: str, similarity: float, scattered: bool, dice: random.Random) -> str:
    """A copy of a text that shares about this part of the shingles; what differs comes from another text.

    scattered: single words (characters) differ, spread over the text; else one passage does. Of n shingles m differ:
    (n - m) / (n + m) = similarity; a single word touches GRAM of them.
    """
    joint = "" if language in CHARACTERS else " "
    units = list(text) if not joint else text.split()
    foreign = (list(other) if not joint else other.split()) or ["0"]
    differing = round(len(units) * (1 - similarity) / (1 + similarity))
    if scattered:
        count = max(1, differing // GRAM)
        step = len(units) / count
        places = [min(len(units) - 1, int(step * i + dice.random() * max(0, step - GRAM))) for i in range(count)]
        for place in places:
            units[place] = dice.choice(foreign)
    else:
        begin = dice.randrange(max(1, len(units) - differing))
        passage = [foreign[i % len(foreign)] for i in range(differing)]
        units[begin : begin + differing] = passage
    return joint.join(units)


def mixed_document(pool: list[str], characters: int, dice: random.Random) -> str:
    """A new document of about so many characters, of pieces from a pool of texts."""
    pieces: list[str] = []
    length = 0
    while length < characters:
        text = dice.choice(pool)
        begin = dice.randrange(max(1, len(text) - 300))
        piece = text[begin : begin + dice.randrange(150, 300)]
        pieces.append(piece)
        length += len(piece) + 1
    return "\n".join(pieces)


def write_finished_folder(
    folder: Path, documents: dict[str, list[dict]], group_rows: int = 5000, source: str = "web"
) -> Path:
    """Write {language: [{"text", "id", ...}]} as an output of filter.py, for tests and measurements; returns it."""
    import pyarrow
    import pyarrow.parquet

    files = []
    for language, texts in documents.items():
        path = folder / language / "part-00000.parquet"
        path.parent.mkdir(parents=True)
        table = pyarrow.Table.from_pylist([{"language": language} | text for text in texts])
        pyarrow.parquet.write_table(table, path, compression="zstd", row_group_size=group_rows)
        files.append(path)
    manifest = {
        "stage": FILTER,
        "arguments": {"text_column": "text", "source": source},
        "counts": {language: {"kept": len(texts)} for language, texts in documents.items()},
        "files": describe_files(folder, files),
    }
    write_json(folder / "manifest.json", json.loads(json.dumps(manifest)))
    return folder
