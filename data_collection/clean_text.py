"""Clean one document of web text: repaired text and what was changed, or a reason to leave the document out.

Example:

    python -c "import clean_text as c; print(c.clean('Fever\\x00 and cough. ' * 9, 'en'))"
"""

import re
from collections.abc import Collection
from typing import NamedTuple

CLEANING_REASONS = ("too_short",)  # why a document is left out
CLEANING_STEPS = ("control_characters", "too_short")  # what --skip-steps may name

MINIMUM_LETTERS = 20
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff]")


class Cleaned(NamedTuple):
    text: str
    reason: str  # "" when the document stays, else one of CLEANING_REASONS
    changes: dict[str, int]  # {step: changes made}, only steps that changed something


def clean(text: str, language: str, skip: Collection[str] = ()) -> Cleaned:
    """The cleaned text; language: ISO 639-1; skip: steps to leave out."""
    changes = {}
    if "control_characters" not in skip:
        text, count = CONTROL.subn("", text)
        if count:
            changes["control_characters"] = count
    if "too_short" not in skip and len(text) < MINIMUM_LETTERS:
        return Cleaned(text, "too_short", changes)
    return Cleaned(text, "", changes)
