"""Options in another order, the right letters moved along; and which questions would no longer make sense so."""

import random
import re

# A lone capital letter, Latin or Cyrillic, or a small one in brackets: "B", "(b)", "b)", "选项B是", "вариант А".
LETTER = r"(?<![A-Za-z0-9])[A-Z](?![A-Za-z0-9])|(?<!\w)[А-Я](?!\w)|(?<!\w)[a-zа-я]\)|（[a-z]）"
# Words that speak of options by their place or letter, in the eight languages. Too many catches cost an order only.
OF_OPTIONS = (
    r"option|choice|alternative|statement|choix|propos|réponse|opci|respuesta|alternativa|вариант|ответ|утвержден"
    r"|选项|答案|選択肢|正解|答え|[1-5①-⑤]番|[①-⑨]|Antwort|Aussage|خيار|الخيار|إجاب"
)
# Options that speak of the others: "all of the above", "les deux premières", "1 y 3 son correctas".
OF_OTHERS = (
    r"\babove\b|\bbelow\b|\bboth\b|\bpreced|ci-dessus|précéd|aucune de|toutes les|les deux|anteriores|todas|ninguna"
    r"|son correctas|выше|перечисл|\bоба\b|以上|上述|上記|いずれ|すべて|都是|均"
    r"|\boben\b|genannt|\balle\b|أعلاه|سبق|ما ذكر|جميع"
)


def can_reorder(record: dict, form: str) -> bool:
    """Whether the question means the same with its options in another order.

    Not where an option speaks of others ("all of the above", "A and C"), nor, in the form "rationale", where the
    rationale may name options by letter, number or place: a letter there is never rewritten, because "vitamin A" and
    "option A" cannot be told apart with certainty in eight languages.
    """
    for text in record["options"].values():
        if re.search(OF_OTHERS, text, re.IGNORECASE) or len(re.findall(LETTER, text)) > 1:
            return False
    rationale = record.get("rationale") or ""
    named = re.search(LETTER, rationale) or re.search(OF_OPTIONS, rationale, re.IGNORECASE)
    return form == "answer" or not named


def reorder_options(record: dict, seed: str) -> dict:
    """The same question with its options in another order, chosen by the seed, and the right letters moved along."""
    letters, order = list(record["options"]), list(record["options"])
    random.Random(seed).shuffle(order)
    right = set(record["answer_idx"].split(","))
    return record | {
        "options": {new: record["options"][old] for new, old in zip(letters, order, strict=True)},
        "answer_idx": ",".join(new for new, old in zip(letters, order, strict=True) if old in right),
    }
