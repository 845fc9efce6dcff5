"""Reading the letters out of a free answer in eight languages: the stated policy, for models that keep no format.

`read_answer(text, options)` gives (letters, status), by the first of these that finds something:

1. The last announcement of an answer: "Answer: B and D", "答案是B", "Правильный ответ: В", "B is correct", also with an
   option's text in the letter's place. An earlier announcement was a thought; a negated one ("the answer is not B",
   "B is wrong") announces nothing.
2. The whole text, its first line or its last line, where that is letters, alone or with their options' texts: "B",
   "(B)", "B) Vitamin C", "Option B", "B、D", or opens with an option's text.
3. An option's text that is written out, when no other option's is and no "not" stands before it.
4. "None", said as the answer and not an option's text: the empty set, which is wrong, but an answer.
5. Nothing was answered: `refused` when the text says so, else `unparsed`.

Before that full-width letters, Markdown, \\boxed{}, invisible marks and thoughts between <think> marks are undone, and
what follows a new question that the model went on to invent is cut off. "B or C" is no answer. Several letters where
one is asked are read as they stand, and are wrong by the exact set. Only letters that the question has are read. Lower
case counts only where nothing but a bracket, a mark or the end follows. Cyrillic letters are read by their looks
(А В С Е Н), but in alphabet order (А Б В Г Д) where Б, Г or Д stands among them; Arabic أ ب ج د ه are read in order.
"""

import re
import unicodedata
from typing import NamedTuple

STATUSES = ("announced", "letters", "option text", "none", "refused", "unparsed")


class Answer(NamedTuple):
    """What was read: sorted letters, or None; status is one of STATUSES."""

    letters: list[str] | None
    status: str


# What announces an answer, one line a language (en, zh, ja, fr, es, ru, de, ar).
ANNOUNCEMENT = re.compile(
    r"\b(?:answers?|(?:correct|right|best) (?:options?|choices?|letters?|ones?)|i(?:'d| would)? (?:choose|pick"
    r"|select|go with))\b"
    r"|答案|正确(?:的)?选项|(?:故|应|因此|所以|本题)选|我选|选择"
    r"|正解|正答|答え|解答|回答|正しい(?:の|選択肢|もの|記号)|適切な(?:の|選択肢|もの)|適当な(?:の|もの)"
    r"|\b(?:r[ée]ponses?|propositions? (?:exactes?|correctes?|justes?)|je (?:choisis|réponds|dirais))\b"
    r"|\b(?:respuestas?|opci[oó]n(?:es)? (?:correctas?|verdaderas?)|(?:la|las) correctas?|elijo|escojo|elegir[ií]a)\b"
    r"|\b(?:ответ\w*|(?:правильн|верн)\w+ (?:вариант\w*|букв\w*)|(?:правильн|верн)\w+ (?:явля\w+ся|буд\w+)"
    r"|я выбираю|я выберу)\b"
    r"|\b(?:antwort(?:en|möglichkeit)?|lösung|richtig (?:ist|sind|wäre)|ich (?:wähle|würde .{0,20}wählen))\b"
    r"|(?:إجابة|اجابة|الجواب|جواب|إجابات|الإجابات|الاختيار الصحيح|الخيار الصحيح|الخيارات الصحيحة|أختار|اخترت)",
    re.IGNORECASE,
)
# What may stand between an announcement and its letters.
FILLER = re.compile(
    r"(?:[\s:：=\-–—>*\"'“”„«»「」『』(（\[【<,，]"
    r"|\b(?:is|are|was|were|would be|should be|must be|to this question|here|therefore|clearly|thus|most likely"
    r"|probably|both|either"
    r"|the|correct|right|best|final|one|letters?|options?|choices?|answers?|number"
    r"|est|sont|serait|seraient|donc|la|le|les|l|lettres?|propositions?|bonnes?|réponses?|exactes?|correctes?"
    r"|justes?|finales?|à"
    r"|es|son|sería|serían|el|los|las|letras?|opci[oó]n(?:es)?|respuestas?|correctas?|verdaderas?|finales|por tanto"
    r"|это|является|являются|будет|будут|под|буквой|буквы|буква|варианты?|номер|пункты?|правильный|верный"
    r"|правильные|верные"
    r"|ist|sind|lautet|lauten|wäre|wären|der|die|das|buchstaben?|option(?:en)?|antwort(?:en)?|richtige|richtig"
    r"|somit|also|daher"
    r")\b"
    r"|应该|应当|应|为|就是|是|选项|项|选|的|は|が|として|選択肢|記号|番号|番"
    r"|الصحيحة|الصحيح|النهائية|النهائي|الصحيحتان|هي|هو|هما|هم|تكون|يكون|الخيارات|الخيار|الحرف|حرف|رقم"
    r"|على هذا السؤال|الإجابة)*",
    re.IGNORECASE,
)
NOT = (
    r"\bnot\b|n't\b|\bnever\b|\brather than\b|\bexcept\b|不是|并非|不应|不选|不能选|ではな|じゃな|\bn(?:e|’"
    r"|')\s?(?:est|sont"
    r"|\w+) pas\b|\bpas\b"
    r"|\bno\b|\bне\b|\bnicht\b|\bkeine?\b|ليس|ليست|\bلا\b|غير"
)
NEGATED = re.compile(rf"^\W*(?:\S+\s+){{0,2}}?(?:{NOT})", re.IGNORECASE)
WRONG_AFTER = re.compile(
    r"^\W{0,3}项?(?:(?:is|are|was|est|sont|es|son|ist|sind|是|は|が|هو|هي)\s*)?"
    r"(?:wrong|incorrect|false|not|n't|错|不正确|不对|誤|間違|不適|faux|fausses?|inexact|incorrect|falsa?s?\b"
    r"|n'est|no es"
    r"|неверн|неправильн"
    r"|ошибоч|не явля|falsch|nicht|خاطئ|خطأ|غير|ليس)",
    re.IGNORECASE,
)
RIGHT_AFTER = re.compile(
    r"^\W{0,3}项?(?:(?:is|are|would be|est|sont|es|son|ist|sind|是|为|が|は|это|—|-|هو|هي|هما)\s*)?(?:the |la |le "
    r"|les |las |el |die |das )?"
    r"(?:(?:most|best|one|only|seule|la plus|am|ال)\s*)?"
    r"(?:correct|right|true|best|appropriate|正确|对的|正解|正しい|適切|exacte?s?\b|just|bonnes?\b|vraie?s?\b|correct"
    r"|verdader|верн|правильн|richtig"
    r"|korrekt|الصحيح|صحيح)",
    re.IGNORECASE,
)
AND = re.compile(
    r"\s*(?:[,;/+&、，；・]|\band\b|\bas well as\b|和|及|与|と|および|及び|\bet\b|\by\b|\bи\b|\bund\b|\bsowie\b"
    r"|(?<!\w)و)?"
    r"\s*(?:\b(?:and|et|y|и|und)\b|和|与|و(?=\s))?\s*"
    r"(?:(?:options?|choices?|letters?|propositions?|opci[oó]n(?:es)?|варианты?|option(?:en)?|la|le|el|die)\b"
    r"|选项|選択肢|الخيار|والخيار)?\s*[-•*(（\[]*\s*",
    re.IGNORECASE,
)
OR = re.compile(
    r"^[)\]）.]?\s*(?:\b(?:or|ou|o|u|oder|или|либо)\b|或(?:者)?|または|又は|か(?=[A-H])|أو)\s*", re.IGNORECASE
)
# "not A but B": what follows is the answer.
CONTRAST = re.compile(
    r"\bbut(?: rather)?\b|\brather\b|而是|而应(?:该)?是?|(?:では|じゃ)なくて?|\bmais\b|,\s*а\b|\bsino\b|\bsondern\b"
    r"|بل",
    re.IGNORECASE,
)
NONE = re.compile(
    r"^\W*(?:none(?: of (?:them|these|the above|the options))?|neither|无|都不(?:对|正确|是)|以上都不(?:对|是"
    r"|正确)|没有正确答案|なし|該当なし"
    r"|どれでもない|aucune?(?: des (?:propositions|réponses))?|ningun[oa](?: de (?:las anteriores|ellas))?"
    r"|нет правильн\w+ ответ\w*|ни один(?: из \w+)?"
    r"|keine(?: der (?:antworten|optionen)| davon)?|لا شيء(?: مما سبق)?|لا يوجد)\W*$",
    re.IGNORECASE,
)
REFUSED = re.compile(
    r"\bi(?:'m| am) (?:sorry|not able|unable)|\bi can(?:not|'t| not)\b|\bas an ai\b|\bunable to (?:answer"
    r"|provide|determine)"
    r"|无法(?:回答|确定|提供|作答|判断)|不能回答|抱歉|对不起|回答できません|お答えでき|答えられません|申し訳"
    r"|\bdésolée?\b|je ne peux pas|je ne suis pas en mesure|impossible de répondre|lo siento|no puedo"
    r"|no me es posible"
    r"|не могу|извините|не в состоянии|es tut mir leid|kann (?:ich )?(?:diese|das|die|ihnen|leider|nicht)"
    r"|لا أستطيع|لا يمكنني|آسف|أعتذر",
    re.IGNORECASE,
)
NEW_QUESTION = re.compile(
    r"\n\s*#*\s*(?:(?:next |new )?question|instruction|问题|题目|下一题|問題|次の問題|вопрос|pregunta|frage|السؤال"
    r"|سؤال)\s*\d*\s*[:：.]",
    re.IGNORECASE,
)
BECAUSE = re.compile(
    r"^\s+(?:because|since|as|is|was|with|due|and|or|car|puisque|parce|et|est|porque|ya|pues|es|y|потому"
    r"|поскольку|так|и|или|является"
    r"|weil|da|denn|und|ist|لأن|و)\b",
    re.IGNORECASE,
)
LOOKS, ORDER = dict(zip("АВСЕН", "ABCEH", strict=True)), dict(zip("АБВГД", "ABCDE", strict=True))
ARABIC = {"أ": "A", "ا": "A", "إ": "A", "ب": "B", "ج": "C", "د": "D", "ه": "E"}
# A capital glued to these is a name (hepatitis B, vitamin C in Chinese and Japanese), not a letter of an option.
GLUED = "型级級细細族群链鎖超波线線"


def read_answer(text: str, options: dict[str, str]) -> Answer:
    """The letters that a free text answers with, by the policy above. options: {"A": text}; texts in any script."""
    text = clean(text)
    cut = NEW_QUESTION.search(text)
    text = text[: cut.start()] if cut and cut.start() else text
    reader = _Reader({letter: _plain(clean(option)) for letter, option in options.items()})
    letters = reader.announced(text)
    if letters is not None:
        return Answer(letters, "announced" if letters else "unparsed")
    lines = [line for line in text.splitlines() if line.strip()]
    for part in dict.fromkeys([text, *lines[:1], *lines[-1:]]):
        letters = reader.whole(part)
        if letters:
            return Answer(letters, "letters")
    letters = reader.written_out(text)
    if letters:
        return Answer(letters, "option text")
    if any(NONE.match(part) for part in [text, *lines[:1], *lines[-1:]]):
        return Answer([], "none")
    return Answer(None, "refused" if REFUSED.search(text) else "unparsed")


def clean(text: str) -> str:
    """Full-width to half-width and composed (NFKC); without thoughts, invisible marks, Markdown and \\boxed{}."""
    text = re.sub(r"<think>.*?(?:</think>|\Z)", "", text, flags=re.DOTALL)
    text = unicodedata.normalize("NFKC", text).replace("ـ", "")
    text = "".join(c for c in text if unicodedata.category(c) != "Cf")
    text = re.sub(r"\\(?:boxed|text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\(?:boxed|text|textbf)\s*\{([^{}]*)\}", r"\1", text)
    return re.sub(r"\*\*|__|`|\$", "", text).strip()


def _plain(text: str) -> str:
    """For comparing option texts: case folded, blanks as one, no mark at the end."""
    return " ".join(text.casefold().split()).rstrip(" .。;,!؟?")


class _Reader:
    """One question's letters and option texts, and the ways to find them in a text."""

    def __init__(self, options: dict[str, str]):
        self.options = options
        # Longest first, so that "vitamin K antagonist" is not taken for "vitamin K".
        self.texts = sorted(((text, letter) for letter, text in options.items() if text), key=lambda t: -len(t[0]))

    def announced(self, text: str) -> list[str] | None:
        """Letters of the last announcement; [] when it hedges ("B or C"); None when nothing is announced."""
        found: list[tuple[int, list[str]]] = []
        for match in ANNOUNCEMENT.finditer(text):
            start, near = match.end(), text[match.end() : match.end() + 60]
            contrast = CONTRAST.search(near)
            if contrast and re.search(NOT, near[: contrast.end()], re.IGNORECASE):
                start += contrast.end()
            elif NEGATED.match(near) and not self.element(text, FILLER.match(text, start).end()):
                continue
            start = FILLER.match(text, start).end()
            letters, end = self.letters(text, start, announced=True)
            if letters is not None and not WRONG_AFTER.match(text[end : end + 40]):
                found.append((start, letters))
        covered = 0
        for match in re.finditer(r"(?<![^\W\d_])[A-HА-Я]|(?<!\w)[أبجد](?!\w)", text):
            if match.start() < covered:  # the list was read from its first letter on
                continue
            letters, covered = self.letters(text, match.start(), announced=True)
            before = text[max(0, match.start() - 25) : match.start()]
            negated = re.search(rf"(?:{NOT})\W*(?:\w+\W+)?$", before, re.IGNORECASE)
            if letters and RIGHT_AFTER.match(text[covered : covered + 40]) and not negated:
                found.append((match.start(), letters))
        return max(found, key=lambda f: f[0])[1] if found else None

    def whole(self, text: str) -> list[str] | None:
        """Letters where the text is nothing but them and their options' texts, or opens with one."""
        start = FILLER.match(text).end()
        letters, end = self.letters(text, start)
        if not letters:
            return None
        rest = text[end:]
        if re.match(r"^[\s.)\]）】>。,，;:：\"'”»」』-]*$", rest):
            return letters
        # An explanation may follow after a mark, a line or "because"; a word right after the letter makes it a word.
        return letters if re.match(r"^\W*(?:[.):：。,，;)）\]\n]|\s[-–—]\s)", rest) or BECAUSE.match(rest) else None

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
        return None if re.search(rf"(?:{NOT})\W*(?:\w+\W+){{0,2}}$", before) else [letter]

    def letters(self, text: str, start: int, announced: bool = False) -> tuple[list[str] | None, int]:
        """(sorted letters of the list that begins at start, where it ends); [] for "B or C", None where none begins."""
        marks, end = [], start
        while element := self.element(text, end, announced, first=not marks):
            marks += element[0]
            end = element[1]
            if OR.match(text[end:]) and self.element(text, end + OR.match(text[end:]).end(), True):
                return [], end
            following = AND.match(text, end)
            if following.end() == end or not self.element(text, following.end(), announced, first=False):
                break
            end = following.end()
        letters = self._latin(marks)
        return (sorted(set(letters)), end) if letters else (None, start)

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
        match = re.compile(r"(ه|[A-Za-zА-Я]|[أاإبجد])(?![A-Za-zА-Яа-яё0-9_'’]|[؀-ۿ]|-\w)").match(text, start)
        if match and not (named and named[1] > match.end()):
            mark, end = match.group(1), match.end()
            if self._is_letter(mark, text, end, announced, first):
                closed = re.compile(r"[)\]）】.:：、\"'”»」』-]*\s*").match(text, end).end()
                own = self._option_at(text, closed)
                if own and self._latin([mark]) == [own[0]]:
                    return [mark], own[1]
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
            return bool(re.match(r"\s*(?:[)\]）.,;:]|$|\n)", after)) and (
                announced or bool(closed) or not after.strip()
            )
        # "A patient", "В данном случае", "A mon avis": an article or a preposition.
        if mark in "AАВС" and re.match(r"\s+[^\W\d_A-ZА-Я]", after) and not re.match(r"\s+[一-龥ぁ-ヿ]", after):
            return (
                bool(BECAUSE.match(after)) or bool(AND.match(after).group().strip()) or bool(RIGHT_AFTER.match(after))
            )
        return first or bool(re.match(r"\s*(?:[^\w\s]|$|\n)|\s+\W|\s*\w{1,4}\s+[A-H]\b|[一-龥ぁ-ヿ]|\s", after))

    def _option_at(self, text: str, start: int) -> tuple[str, int] | None:
        """(letter, end) of the longest option text that stands at start, as a whole word."""
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


def _bounded(option: str, loose: bool = False) -> re.Pattern:
    """A pattern of the option's text as whole words (no bound between Chinese or Japanese characters)."""
    body = r"\s+".join(map(re.escape, option.split()))
    left = r"(?<![^\W_])" if not loose and re.match(r"[^\W_]", option) and not re.match(r"[一-龥ぁ-ヿ]", option) else ""
    right = r"(?![^\W_])" if re.search(r"[^\W_]$", option) and not re.search(r"[一-龥ぁ-ヿ]$", option) else ""
    return re.compile(left + body + right, re.IGNORECASE)
