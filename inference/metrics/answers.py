"""Read the letters of a free answer in eight languages: the parsing policy for models without a fixed format.

`read_answer(text, options)` gives (letters, status), by the first of these that finds something:

1. The last announcement of an answer: "Answer: B and D", "答案是B", "Правильный ответ: В", "B is correct",
   "not A but B", "all are correct except C" (the others), also with an option's text in the letter's place. An earlier
   announcement was a thought; a negated or doubted one ("the answer is not B", "B is wrong", "I don't think it is B")
   announces nothing. The question is not seen: what is only called wrong is not an answer.
2. The whole text, its first line or its last line, where that is letters, alone or with their options' texts: "B",
   "(B)", "B) Vitamin C", "Option B", "B、D", or opens with an option's text.
   Where options are judged one by one ("A: true, B: false") and nothing is announced, the right ones are the answer;
   a table of verdicts, a line an option ("A) Fever: no", "B ○"), also is above announcements before its end.
   "Answer A" with neither colon nor verb, or "the best choice for something else", counts last, after 2. Where the
   last letters of a list are said to be wrong ("B, A and C are wrong"), the list ends before them; "wrong answers: A"
   announces nothing. "It's B" announces only where a mark or a reason follows. Words: answer_words.py.
3. An option's text that is written out, when no other option's is and no "not" is before it.
4. "None", said as the answer and not an option's text: the empty set, which is wrong, but an answer.
5. Nothing was answered: `refused` when the text says so, else `unparsed`.

Before that full-width letters, Markdown, \\boxed{}, invisible marks and thoughts between <think> marks are undone, and
what follows a new question that the model invents is cut off. "B or C" is not an answer. Several letters where
one is asked are read as they stand, and are wrong by the exact set. Only letters that the question has are read. Lower
case counts only where only a bracket, a mark or the end follows. Cyrillic letters are read by their looks
(А В С Е Н), but in alphabet order (А Б В Г Д) where Б, Г or Д stands among them; Arabic أ ب ج د ه are read in order.
"""

import re
import unicodedata
from typing import NamedTuple

from metrics import answer_words as words

STATUSES = ("announced", "letters", "option text", "none", "refused", "unparsed")


class Answer(NamedTuple):
    """What was read: sorted letters, or None; status is one of STATUSES."""

    letters: list[str] | None
    status: str


LOOKS, ORDER = dict(zip("АВСЕН", "ABCEH", strict=True)), dict(zip("АБВГД", "ABCDE", strict=True))
ARABIC = {"أ": "A", "ا": "A", "إ": "A", "ب": "B", "ج": "C", "د": "D", "ه": "E"}
# A capital glued to these is a name (hepatitis B, vitamin C in Chinese and Japanese), not a letter of an option.
GLUED = "型级級细細族群链鎖超波线線"


def read_answer(text: str, options: dict[str, str]) -> Answer:
    """The letters that a free text answers with, by the policy above. options: {"A": text}; texts in any script."""
    text = clean(text)
    cut = words.NEW_QUESTION.search(text)
    text = text[: cut.start()] if cut and cut.start() else text
    reader = _Reader({letter: _plain(clean(option)) for letter, option in options.items()})
    letters, named = reader.announced(text)
    if letters is not None:
        return Answer(letters or None, "announced" if letters else "unparsed")
    lines = [line for line in text.splitlines() if line.strip()]
    for part in dict.fromkeys([text, *lines[:1], *lines[-1:]]):
        letters = reader.whole(part)
        if letters:
            return Answer(letters, "letters")
    if named:
        return Answer(named, "announced")
    letters = reader.written_out(text)
    if letters:
        return Answer(letters, "option text")
    if any(words.NONE.match(part) for part in [text, *lines[:1], *lines[-1:]]):
        return Answer([], "none")
    return Answer(None, "refused" if words.REFUSED.search(text) else "unparsed")


def clean(text: str) -> str:
    """Full-width to half-width and composed (NFKC); without thoughts, invisible marks, Markdown and \\boxed{}."""
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.DOTALL)
    text = unicodedata.normalize("NFKC", text).replace("ـ", "")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = re.sub(r"\\(?:boxed|text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\(?:boxed|text|textbf)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\*\*|__|`|\$|\\[\[\]()]", "", text)
    listed = r"(?m)\b(?:[A-H]\.[ \t]+){1,7}[A-H]\.?[ \t]*$"  # "A. C. D."
    text = re.sub(listed, lambda match: ", ".join(re.findall("[A-H]", match.group())), text)
    # The numbers of a list whose items are letters alone: "(1) B".
    return re.sub(r"(?m)^\s*\(?\d{1,2}[).、:]\s*(?=[A-HА-Е]\W*$)", "", text).strip()


def _plain(text: str) -> str:
    """For comparing option texts: case folded, blanks as one, no mark at the end."""
    return " ".join(text.casefold().split()).rstrip(" .。;,!؟?")


class _Reader:
    """One question's letters and option texts, and the ways to find them in a text."""

    def __init__(self, options: dict[str, str]):
        self.options = options
        # Longest first, so that "vitamin K antagonist" is not taken for "vitamin K".
        self.texts = sorted(((text, letter) for letter, text in options.items() if text), key=lambda t: -len(t[0]))

    def announced(self, text: str) -> tuple[list[str] | None, list[str] | None]:
        """Letters of the last plain announcement and of the last doubtful one; [] for a hedge, None for none."""
        table, until = self.table(text)
        judged = self.judged(text)
        claims = self._said(text) + self._called_right(text, plain=not judged) + self._all_but(text)
        claims = [claim for claim in claims if claim[0] >= until]
        plain = [claim for claim in claims if claim[1]]
        if (table or judged) and not plain:
            return table or judged, None
        last = [max(some, key=lambda claim: claim[0])[2] if some else None for some in (plain, claims)]
        return last[0], last[1]

    def _said(self, text: str) -> list[tuple[int, bool, list[str]]]:
        """(where, whether plain, letters) of "answer: B" and its like; a bare "answer A" is not plain."""
        found = []
        for match in words.ANNOUNCEMENT.finditer(text):
            start, near = match.end(), text[match.end() : match.end() + 60]
            before = text[max(0, match.start() - 25) : match.start()]
            if words.WRONG_BEFORE.search(before) or re.search(rf"(?:{words.NOT})\W*$", before, re.IGNORECASE):
                continue
            if words.DOUBTED.search(text[max(0, match.start() - 60) : match.start()]):
                continue
            contrast = words.CONTRAST.search(near)
            if contrast and re.search(words.NOT, near[: contrast.end()], re.IGNORECASE):
                start += contrast.end()
            elif words.NEGATED.match(near) and not self.element(text, _skip_filler(text, start)):
                continue
            start = _skip_filler(text, start)
            between = text[match.end() : start]
            named = match["noun"] and words.NAMES_ONLY.fullmatch(between) and not words.RIGHT_BEFORE.search(before)
            letters, end = self.letters(text, start, announced=True, cut=not named)
            if letters is None or words.WRONG_AFTER.match(text[end : end + 40]):
                continue
            if match["loose"] and not (
                re.match(r"\s*(?:[^\w\s]|$)|\s*\n", text[end:]) or words.BECAUSE.match(text[end:])
            ):
                continue
            found.append((start, not named, letters))
        return found

    def _called_right(self, text: str, plain: bool) -> list[tuple[int, bool, list[str]]]:
        """The same of "B is correct"; "the best choice for something else" is not plain."""
        found, covered = [], 0
        for match in re.finditer(r"(?<![A-Za-zÀ-ɏЀ-ӿ0-9])[A-HА-Я]|(?<!\w)[أبجد](?!\w)", text):
            if match.start() < covered:  # the list was read from its first letter on
                continue
            letters, covered = self.letters(text, match.start(), announced=True)
            if words.DOUBTED.search(text[max(0, match.start() - 60) : match.start()]):
                continue
            before = words.CONTRAST.split(text[max(0, match.start() - 25) : match.start()])[-1]
            right = words.RIGHT_AFTER.match(text[covered : covered + 60])
            if letters and right and not re.search(rf"(?:{words.NOT})\W*(?:\w+\W+)?$", before, re.IGNORECASE):
                elsewhere = words.RIGHT_FOR.match(text[covered + right.end() :][:40])
                found.append((match.start(), plain and not elsewhere, letters))
        return found

    def _all_but(self, text: str) -> list[tuple[int, bool, list[str]]]:
        """The same of "all are correct except C and E": the letters that are left."""
        found = []
        for match in words.ALL_BUT.finditer(text):
            start = _skip_filler(text, match.end())
            letters, _ = self.letters(text, start, announced=True)
            if letters:
                found.append((start, True, sorted(set(self.options) - set(letters))))
        return found

    def table(self, text: str) -> tuple[list[str] | None, int]:
        """(letters called right, where it ends) of lines that each begin with an option and end with a verdict."""
        verdicts: dict[str, bool] = {}
        place, until = 0, 0
        for line in text.splitlines(keepends=True):
            start = re.match(r"[\s\-*•|(#]*(?:\d+[.)]\s*)?", line).end()
            start = words.OPTION_NAMED.match(line, start).end()
            found, verdict = self.element(line, start, True), words.VERDICT_AT_END.search(line)
            letters = self._latin(found[0]) if found else []
            if verdict and len(letters) == 1 and verdict.start() >= found[1]:
                verdicts[letters[0]] = verdict["right"] is not None
                until = place + len(line)
            place += len(line)
        right = sorted(letter for letter, verdict in verdicts.items() if verdict)
        return (right, until) if right and len(verdicts) > max(1, len(self.options) // 2) else (None, 0)

    def judged(self, text: str) -> list[str] | None:
        """Letters called right where options are judged one by one and one of them is wrong ("A: true, B: false")."""
        verdicts: dict[str, bool] = {}
        end = 0
        for match in words.JUDGED_START.finditer(text):
            if match.end() < end:  # inside a list that was read
                continue
            letters, end = self.letters(text, match.end(), announced=True)
            after = text[end : end + 40]
            wrong = words.WRONG_AFTER.match(after)
            if letters and (wrong or words.RIGHT_AFTER.match(after)):
                verdicts |= dict.fromkeys(letters, not wrong)
        right = sorted(letter for letter, verdict in verdicts.items() if verdict)
        return right if right and len(right) < len(verdicts) else None

    def whole(self, text: str) -> list[str] | None:
        """Letters where the text is only them and their options' texts, or opens with one."""
        start = _skip_filler(text, 0)
        letters, end = self.letters(text, start)
        if not letters:
            return None
        rest = text[end:]
        if words.WRONG_AFTER.match(rest[:40]):
            return None
        if re.match(r"^[\s.)\]）】>。,，;:：\"'”»」』-]*$", rest):
            return letters
        # An explanation may follow after a mark, a line or "because"; a word right after the letter makes it a word.
        return (
            letters if re.match(r"^\W*(?:[.):：。,，;)）\]\n]|\s[-–—]\s)", rest) or words.BECAUSE.match(rest) else None
        )

    def written_out(self, text: str) -> list[str] | None:
        """The only option whose text occurs (longer texts hide those inside them), if nothing negates it."""
        rest, found = _plain(text), {}
        for option, letter in self.texts:
            pattern = _bounded(option)
            hits = list(pattern.finditer(rest))
            if hits:
                found[letter] = hits
                rest = pattern.sub(lambda hit: "\0" * len(hit.group()), rest)
        if len(found) != 1:
            return None
        [(letter, hits)] = found.items()
        before = _plain(text)[: hits[-1].start()][-25:]
        return None if re.search(rf"(?:{words.NOT})\W*(?:\w+\W+){{0,2}}$", before) else [letter]

    def letters(
        self, text: str, start: int, announced: bool = False, cut: bool = False
    ) -> tuple[list[str] | None, int]:
        """(sorted letters of the list that begins at start, where it ends); [] for "B or C", None where none begins.

        cut: if the text then calls the list's last letters wrong ("B, A and C are wrong"), end before them.
        """
        parts: list[tuple[list[str], int, str]] = []  # marks, their end, what joined them to those before
        end, joint, begin = start, "", start
        while len(parts) < 20 and (element := self.element(text, begin, announced, first=not parts)):
            if parts and "\n" in joint and not re.match(r"\W*?(?:\n|$)", text[element[1] :]):
                break  # the next line begins a sentence of its own
            parts.append((element[0], element[1], joint))
            end = element[1]
            either = words.OR.match(text[end:])
            if either and self.element(text, end + either.end(), True):
                return [], end
            following = words.AND.match(text, end)
            joint, begin = following.group(), following.end()
            opened = re.fullmatch(r"[ \t]*[-•*(\[]+\s*", joint) and text[end - 1] not in ")]"
            if begin == end or opened:
                break
        line = next((i for i, part in enumerate(parts) if i and "\n" in part[2]), None)
        if line and set(self._latin([mark for part in parts[line:] for mark in part[0]])) == set(self.options):
            parts = parts[:line]  # the lines below repeat the question's options
            end = parts[-1][1]
        if cut and len(parts) > 1 and words.WRONG_AFTER.match(text[end : end + 40]):
            parts = parts[: self._wrong_from(parts, text[end:])]
            end = parts[-1][1] if parts else start
        letters = self._latin([mark for part in parts for mark in part[0]])
        return (sorted(set(letters)), end) if letters else (None, start)

    def _wrong_from(self, parts: list[tuple[list[str], int, str]], after: str) -> int:
        """The first of a list's parts that are called wrong: after a comma, best where the alphabet starts again."""
        commas = [i for i, part in enumerate(parts) if i and re.search(r"[,;،؛\n]", part[2])]
        commas = commas or [i for i, part in enumerate(parts) if i and "、" in part[2]]
        if not commas:
            return len(parts)
        if words.SINGULAR.match(after):
            return commas[-1]
        return next((i for i in commas if self._latin(parts[i][0]) < self._latin(parts[i - 1][0])), commas[0])

    def element(self, text: str, start: int, announced: bool = False, first: bool = True):
        """([marks], end) of one list element: a letter with or without its option's text, letters joined, or a text."""
        named = self._option_at(text, start)
        match = re.compile(r"[A-Z]{2,8}(?![A-Za-z0-9'’-])").match(text, start)
        if (
            match
            and not named
            and len(set(match.group())) == len(match.group())
            and set(match.group()) <= set(self.options)
        ):
            return [*match.group()], match.end()
        match = re.compile(r"(ه|[A-Za-zА-Я]|[أاإبجد])(?![A-Za-zА-Яа-яё0-9_'’]|[ء-ۿ]|-\w)").match(text, start)
        if match and not (named and named[1] > match.end()):
            mark, end = match.group(1), match.end()
            if self._is_letter(mark, text, end, announced, first):
                closed = re.compile(r"[)\]）】.:：、\"'”»」』-]*\s*(\()?").match(text, end)
                own = self._option_at(text, closed.end())
                if own and self._latin([mark]) == [own[0]]:
                    return [mark], own[1] + (closed[1] is not None and text[own[1] : own[1] + 1] == ")")
                bracket = re.compile(r"[)\]）】\"'”»」』]+").match(text, end)
                return [mark], bracket.end() if bracket else end
        return ([named[0]], named[1]) if named else None

    def _is_letter(self, mark: str, text: str, end: int, announced: bool, first: bool) -> bool:
        latin = self._latin([mark.upper()])
        if not latin or latin[0] not in self.options:
            return False
        after = text[end : end + 60]
        if after[:1] and after[0] in GLUED:
            return False
        closed = re.match(r"[)\]）】.:：、]+\s*", after)
        own = self._option_at(text, end + (closed.end() if closed else len(after) - len(after.lstrip())))
        if own and own[0] == latin[0]:
            return True
        # "E. coli", "C. difficile": a letter, a point and a small letter are a name.
        if re.match(r"\.\s?[a-z]", after):
            return False
        if mark.islower():
            return bool(re.match(r"\s*(?:[)\]）.,;:、。]|$|\n|[ぁ-ん和及与])", after)) and (
                announced or bool(closed) or not after.strip()
            )
        # "A patient", "В данном случае", "A mon avis": an article or a preposition.
        if mark in "AАВС" and re.match(r"\s+[^\W\d_A-ZА-Я]", after) and not re.match(r"\s+[一-龥ぁ-ヿ]", after):
            return (
                bool(words.BECAUSE.match(after))
                or bool(words.AND.match(after).group().strip())
                or bool(words.RIGHT_AFTER.match(after))
            )
        return first or bool(re.match(r"\s*(?:[^\w\s]|$|\n)|\s+\W|\s*\w{1,4}\s+[A-H]\b|[一-龥ぁ-ヿ]|\s", after))

    def _option_at(self, text: str, start: int) -> tuple[str, int] | None:
        """(letter, end) of the longest option text that is at start, as a whole word."""
        for option, letter in self.texts:
            piece = text[start : start + len(option) + 20]
            match = _bounded(option, loose=True).match(piece)
            if match:
                return letter, start + match.end()
        return None

    def _latin(self, marks: list[str]) -> list[str]:
        table = ORDER if set(marks) & set("БГД") else LOOKS
        letters = [table.get(mark, ARABIC.get(mark, mark.upper())) for mark in marks]
        return [letter for letter in letters if letter in self.options]


def _skip_filler(text: str, start: int) -> int:
    """Where the letters may begin that an announcement ending at start announces; 200 characters on at most."""
    return words.FILLER.match(text, start, start + 200).end()


def _bounded(option: str, loose: bool = False) -> re.Pattern:
    """A pattern of the option's text as whole words (no bound between Chinese or Japanese characters)."""
    body = r"\s+".join(map(re.escape, option.split()))
    left = r"(?<![^\W_])" if not loose and re.match(r"[^\W_]", option) and not re.match(r"[一-龥ぁ-ヿ]", option) else ""
    right = r"(?![^\W_])" if re.search(r"[^\W_]$", option) and not re.search(r"[一-龥ぁ-ヿ]$", option) else ""
    return re.compile(left + body + right, re.IGNORECASE)
