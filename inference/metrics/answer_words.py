"""Words for reading free answers in eight languages, by role: announcing, joining, negating, judging.

`answers.py` says what is done with them. Each table has one line per language, so that a word is found and added where
a speaker of that language looks for it. Texts are full-width to half-width (NFKC) before any of this is matched.
"""

import re


def _any(*lines: str) -> str:
    return "(?:" + "|".join(lines) + ")"


# A noun that may announce an answer ("Answer: B") or only name an option ("answer A is a distractor").
NOUN = _any(
    r"\banswers?\b",
    r"答案",
    r"正解|正答|答え|解答|回答",
    r"\br[ée]ponses?\b",
    r"\brespuestas?\b",
    r"\bответ\w*",
    r"\b(?:antwort(?:en|möglichkeit)?|lösung)\b",
    r"الإجابتان|الإجابتين|إجابة|اجابة|الجواب|جواب|إجابات|الإجابات",
)
# What announces an answer whatever follows.
SAID = _any(
    r"\b(?:(?:correct|right|best) (?:options?|choices?|letters?|ones?)|my (?:choice|pick|answer|selection)"
    r"|leav(?:es|ing)(?: us)?(?: only)?(?: with)?|i(?:'d| would|'ll| will)? (?:choose|pick|select|go (?:with|for))"
    r"|lean(?:ing)? towards?|my (?:best )?guess)\b|\b(?:correct|right)\s*:",
    r"正确(?:的)?选项|正确的(?=是|为|有)|(?<![不能可])选(?:择)?(?![项择])|倾向于|正确\s*:",
    r"正しい(?:の|選択肢|もの|記号)|適切な(?:の|選択肢|もの)|適当な(?:の|もの)",
    r"\b(?:propositions? (?:exactes?|correctes?|justes?)|il faut (?:répondre|cocher|choisir)"
    r"|je (?:choisis|réponds|dirais|coche|penche(?:rais)? pour))\b|\b(?:vraie?s?|exacte?s?|justes?)\s*:",
    r"\b(?:(?:opci[oó]n(?:es)?|alternativas?) (?:correctas?|verdaderas?)|(?:la|las) correctas?|elijo|escojo"
    r"|elegir[ií]a|me quedo con|me inclino por)\b|\b(?:correct[oa]s?|verdader[oa]s?)\s*:",
    r"\b(?:(?:правильн|верн)\w+ (?:вариант\w*|букв\w*)|(?:правильн|верн)\w+ (?:явля\w+ся|буд\w+)|верны|правильны"
    r"|я выбираю|я выберу|склоняюсь к)\b|\b(?:верно|правильно)\s*[:—–-]",
    r"\b(?:richtig (?:ist|sind|wäre)|ich (?:wähle|entscheide mich für|würde .{0,20}wählen)|tippe auf"
    r"|würde auf(?= \S+ tippen))\b|\b(?:richtig|korrekt)\s*:",
    r"الاختيار الصحيح|الخيار الصحيح|الخيارات الصحيحة|أختار|اخترت|أميل إلى|صحيح\s*:",
)
# What announces an answer only where only a mark or a reason follows the letters ("It's B.").
LOOSE = _any(
    r"\b(?:it(?:'s| is| must be| has to be)|therefore|thus|hence|most likely)\b",
    r"\b(?:c'est|il s'agit (?:de|des|du)|donc)\b",
    r"\b(?:(?:es|son|ser[íi]an?|será) (?=(?:la|las|el|los)\b)|por (?:lo )?tanto|entonces)",
    r"\b(?:это|поэтому|следовательно)\b",
    r"\b(?:(?:es|das) (?:ist|sind)|daher|somit|folglich|am ehesten)\b",
    # "Not A but B" at the start of a line.
    r"^(?=\W*(?:not|pas|no|не|nicht)\b\W+(?:la |le |die )?[A-HА-Е]\b)",
    r"^(?=\W*(?:我?(?:认为|觉得))?(?:不是|ليس|ليست)\s*[A-Hأ-ي])",
)
ANNOUNCEMENT = re.compile(rf"(?P<said>{SAID})|(?P<noun>{NOUN})|(?P<loose>{LOOSE})", re.IGNORECASE | re.MULTILINE)
# "I don't think that the answer is A": what follows in the same clause is denied.
DOUBTED = re.compile(
    _any(
        r"\b(?:do not|does not|don't|doesn't|would not|wouldn't|cannot|can't) (?:\w+ )?"
        r"(?:think|believe|say|pick|choose|select|mean|be)\b",
        r"不认为|不觉得|不相信",
        r"\bne (?:pense|crois|dirais|choisirais) pas\b",
        r"\bno (?:creo|pienso|elegir[ií]a|dir[ií]a)\b",
        r"\bне (?:думаю|считаю|выбрал\w* бы|уверен\w*)",
        r"\b(?:glaube|denke|meine) nicht\b",
        r"لا (?:أعتقد|أظن|أرى)",
    )
    + r"(?:,? ?(?:that|que|что|dass)\b)?[^,.;:!?。،\n]*$",
    re.IGNORECASE,
)
# "Wrong answers: A, C" announces what is not the answer.
WRONG_BEFORE = re.compile(
    _any(
        r"\b(?:wrong|incorrect|false)",
        r"错误的?|不正确的?|不对的?",
        r"(?:誤った|誤りの|間違った|間違いの|不正解の|不適切な)",
        r"\b(?:mauvaises?|fausses?|incorrectes?)",
        r"\b(?:incorrectas?|falsas?)",
        r"\b(?:неправильн|неверн|ошибочн)\w+",
        r"\bfalsche[nrs]?",
        r"خاطئة|الخاطئة",
    )
    + r"\s*$",
    re.IGNORECASE,
)
RIGHT_BEFORE = re.compile(
    r"(?:correct|right|best|final|正确|最佳|bonnes?|exactes?|правильн\w+|верн\w+|richtigen?)\s*$", re.IGNORECASE
)
# Between a noun and its letters this alone makes it a name ("answer choices A and C"), not an announcement.
NAMES_ONLY = re.compile(
    r"(?:[ \t,(\[\"'“«「]|\b(?:choices?|options?|letters?|la|les?|las?|los)\b|选项|選択肢|الخيار)*", re.IGNORECASE
)
# What may be between an announcement and its letters.
FILLER = re.compile(
    r"(?:[\s:：=\-–—>*\"'“”„«»「」『』(（\[【】\]<,，]"
    r"|\b(?:is|are|was|were|would be|should be|must be|to this question|here|therefore|clearly|thus|most likely"
    r"|probably|rather|both|either"
    r"|the|correct|right|best|final|one|letters?|options?|choices?|answers?|number"
    r"|est|sont|serait|seraient|donc|la|le|les|l|lettres?|propositions?|bonnes?|réponses?|exactes?|correctes?"
    r"|justes?|finales?|à|items?|plutôt|probablement"
    r"|es|son|sería|serían|el|los|las|letras?|opci[oó]n(?:es)?|respuestas?|correctas?|verdaderas?|finales|por tanto"
    r"|más bien|probablemente"
    r"|это|является|являются|будет|будут|под|буквой|буквы|буква|варианты?|номер|пункты?|правильный|верный"
    r"|правильные|верные|скорее(?: всего)?|вероятно"
    r"|ist|sind|lautet|lauten|wäre|wären|der|die|das|buchstaben?|option(?:en)?|antwort(?:en)?|richtige|richtig"
    r"|somit|also|daher|eher|wohl|wahrscheinlich"
    r")\b"
    r"|应该|应当|应|为|就是|是|选项|项|选|的|は|が|として|選択肢|記号|番号|番"
    r"|الصحيحتان|الصحيحة|الصحيح|النهائية|النهائي|هي|هو|هما|هم|تكون|يكون|الخيارات|الخيار|الحرف|حرف|رقم"
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
COPULA = _any(
    r"is|are|was|were|being|would be|(?:can|must) be|stands out as|remains|seems|appears(?: to be)?",
    r"是|为",
    r"は|が",
    r"est|sont|étant|étaient",
    r"es|son|siendo",
    r"это|—|-",
    r"ist|sind|wären?",
    r"ف?(?:هو|هي|هما)",
)
# What names or sums up the letters before a judgement: "B选项", "A、C、D均", "A and C both".
SUMMED = r"(?:选?项|選択肢|の選択肢)?\s*(?:均|都|皆|全部|both|all|toutes|tous|beide|alle)?\s*"
WRONG_AFTER = re.compile(
    rf"^[\s)\]\"'”»:–—-]{{0,3}}{SUMMED}(?:{COPULA}\s*)?(?:both |all |toutes |tous |beide |alle |ambas )?"
    + _any(
        r"(?:wrong|incorrect|false)\b|not\b(?! [A-H]\b)|n't|(?:excluded|ruled out)\b",
        r"错|不正确|不对|不是",
        r"誤|間違|不適|不正解|正しくな|正解では|適切では|違",
        r"faux\b|fausses?\b|inexact|incorrect|n'est|ne sont",
        r"fals[ao]s?\b|no (?:es|son)",
        r"неверн|неправильн|ошибоч|не явля",
        r"falsch|(?:treffen|trifft|stimm(?:t|en)) nicht|nicht(?! [A-H]\b)",
        r"خاطئ|خطأ|غير|ليس",
    ),
    re.IGNORECASE,
)
# One wrong letter is meant, not several: the verb is of the singular.
SINGULAR = re.compile(r"^\W{0,3}(?:is|was|est|es|ist)\b", re.IGNORECASE)
RIGHT_AFTER = re.compile(
    rf"^\W{{0,3}}{SUMMED}(?:{COPULA}\s*)?(?:(?:the|la|les|las|el|die|das|both|all) )*"
    r"(?:(?:most|best|one|only|seule|la plus|am|ال|最も|もっとも|一番|最)\s*)?"
    + _any(
        r"correct|right|true|best|appropriate|fits (?:best|better)",
        r"正确|对的",
        r"正解(?!では|じゃ)|正し(?!くな|いとは)|適切(?!では|でな)|を選(?:び|ぶ|択)",
        r"exacte?s?\b|just|bonnes?\b|vraie?s?\b",
        r"verdader",
        r"верн|правильн",
        r"richtig|korrekt|(?:treffen|trifft) zu|stimm(?:t|en)(?! nicht)\b",
        r"الصحيح|صحيح",
    ),
    re.IGNORECASE,
)
# A verdict that ends the line of an option ("B) Hepatitis: ja", "C ×").
VERDICTS = {
    True: r"[✅✓✔☑○◯〇⭕]|\b(?:true|correct|right|yes|vraie?|exacte?|juste|oui|verdader[oa]|correct[oa]|sí|верно"
    r"|правильно|да|wahr|richtig|korrekt|ja)\b|正确|对|正しい|正解|صحيح(?:ة)?|نعم",
    False: r"[❌✗✘✖×☒❎]|\b(?:false|incorrect|wrong|no|faux|fausse|inexacte?|non|fals[oa]|incorrect[oa]|неверно"
    r"|неправильно|нет|falsch|nein)\b|错误|不正确|不对|错|誤り|誤|間違い|خاطئة?|خطأ",
}
VERDICT_AT_END = re.compile(
    rf"(?:(?P<wrong>{VERDICTS[False]})|(?P<right>{VERDICTS[True]}))[\s.。!)\]|️]*$", re.IGNORECASE
)
OPTION_NAMED = re.compile(
    r"(?:(?:the |la |die )?(?:options?|choices?|answers?|propositions?|items?|réponses?|opción|вариант|ответ|antwort"
    r"|aussage)\s+|选项\s*|選択肢\s*|الخيار\s+)?",
    re.IGNORECASE,
)
# "All are correct except C and E"; "all of the following ... except" only repeats the question.
ALL_BUT = re.compile(
    r"\b(?:all|toutes|tous|todas|todos|все|alle)\b"
    r"(?![^.\n]{0,40}(?:following|suivant|siguiente|следующ|folgend))[^.,:\n]{0,40}?"
    r"(?:correct|right|true|exact|juste|vrai|verdader|верн|правильн|richtig|korrekt)\w*,?\s+"
    r"(?:except|but|sauf|hormis|excepto|salvo|menos|кроме|außer|bis auf)\b(?: for)?"
    r"|除了?(?=[^。\n]{1,20}外[^。\n]{0,8}(?:均|都|全)[^。\n]{0,3}(?:正确|对))",
    re.IGNORECASE,
)
# "A is the best choice for night blindness": right, but for another question.
RIGHT_FOR = re.compile(
    r"^\w*(?: (?:answer|choice|option|one))?,? (?:for|if|when|in|pour|para|für|bei|при)\b"
    r"(?! th(?:is|e) (?:question|case|patient))",
    re.IGNORECASE,
)
# Where a judged option may begin ("- B: false", "; option C is true").
JUDGED_START = re.compile(
    r"(?:^|[\n;,.。、،])[\s\-*•(]*"
    r"(?:(?:and|et|y|и|und)\s+)?(?:the |l[ae]s? |die |el )?"
    r"(?:(?:(?:options?|choices?|answers?|propositions?|items?|réponses?|opción|вариант|ответ|antwort|aussagen?)\b"
    r"|选项|選択肢|الخيار|الإجابة)\s*)?(?=[A-HА-Е])",
    re.IGNORECASE,
)
AND = re.compile(
    r"\s*(?:[,;/+&、・،؛]|\band\b|\bas well as\b|和|及|与|と|および|及び|\bet\b|\by\b|\bи\b|\bund\b|\bsowie\b"
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
