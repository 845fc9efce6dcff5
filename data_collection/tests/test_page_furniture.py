"""page_furniture.py: running heads, feet and page numbers are removed; text never is."""

import random

import pytest

from pdf.page_furniture import find_matter, remove_furniture

WORDS = ("patient", "fever", "cough", "chest", "pain", "heart", "lung", "blood", "doctor", "clinic", "nurse", "drug")
ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii")


def body(seed: int, lines: int = 12) -> list[str]:
    """Lines of text unique to the seed."""
    chosen = random.Random(seed)
    return [" ".join(chosen.choice(WORDS) for _ in range(10)) + f" x{seed}y{i}." for i in range(lines)]


def pages_with(head, foot, count: int = 8) -> tuple[list[str], list[str]]:
    """(pages with head(number) and foot(number) lines, the pages without them)."""
    plain = ["\n".join(body(number)) for number in range(count)]
    return ["\n".join(filter(None, [head(n), page, foot(n)])) for n, page in enumerate(plain)], plain


@pytest.mark.parametrize(
    ("head", "foot", "removed"),
    [
        (lambda n: "Internal Medicine", lambda n: str(n + 17), {"heads": 8, "feet": 0, "page_numbers": 8}),
        (lambda n: f"{n + 1}  INTERNAL  MEDICINE", lambda n: "", {"heads": 8, "feet": 0, "page_numbers": 0}),
        (
            lambda n: "Chapter 3" if n % 2 else "The Heart",
            lambda n: f"- {n + 1} -",
            {"heads": 8, "feet": 0, "page_numbers": 8},
        ),  # odd and even pages
        (lambda n: "", lambda n: ROMAN[n], {"heads": 0, "feet": 0, "page_numbers": 8}),
        (lambda n: "", lambda n: f"Page {n + 1} of 20", {"heads": 0, "feet": 8, "page_numbers": 0}),
        (lambda n: f"内科学\n第{n + 3}页", lambda n: "", {"heads": 16, "feet": 0, "page_numbers": 0}),
        (lambda n: "Clinique\nService A\nLyon", lambda n: "Confidentiel", {"heads": 24, "feet": 8, "page_numbers": 0}),
        (lambda n: "", lambda n: f"{n + 16} DKIX-06-後H-{n + 20}", {"heads": 0, "feet": 8, "page_numbers": 0}),
        (lambda n: f"Vol. 12 ({n + 3}) {n + 40} - {n + 1}", lambda n: "", {"heads": 8, "feet": 0, "page_numbers": 0}),
        (lambda n: "", lambda n: f"{n // 4 + 3}-{n % 4 + 1}", {"heads": 0, "feet": 0, "page_numbers": 8}),
        (lambda n: "", lambda n: f"{n + 3}/{n + 103}/20", {"heads": 0, "feet": 0, "page_numbers": 8}),
        (lambda n: "", lambda n: f"II-{n + 1}", {"heads": 0, "feet": 8, "page_numbers": 0}),
        (
            lambda n: f"Стр. {n + 3} из 20" if n % 2 else "",
            lambda n: "" if n % 2 else f"Стр. {n + 3} из 20",
            {"heads": 4, "feet": 4, "page_numbers": 0},
        ),  # at the top of some pages and at the bottom of others
        (
            lambda n: f"{n + 3}" if n % 5 == 0 else "",
            lambda n: "" if n % 5 == 0 else f"{n + 3}",
            {"heads": 0, "feet": 0, "page_numbers": 8},
        ),
        (lambda n: "طب القلب", lambda n: "١٢٣٤٥٦٧٨"[n], {"heads": 8, "feet": 0, "page_numbers": 8}),
    ],
)
def test_lines_that_repeat_at_the_ends_of_pages_are_removed_and_counted(head, foot, removed):
    pages, plain = pages_with(head, foot)
    cleaned = remove_furniture(pages)
    assert cleaned.pages == plain
    assert cleaned.removed == removed


def test_a_chapters_head_is_removed_from_that_chapter_and_the_heading_in_the_text_stays():
    pages, plain = pages_with(lambda n: "The Lung" if 2 <= n < 6 else "", lambda n: "")
    pages[1] += "\nThe Lung\nIt breathes."
    assert remove_furniture(pages).pages == [p + "\nThe Lung\nIt breathes." * (n == 1) for n, p in enumerate(plain)]


@pytest.mark.parametrize("seed", range(20))
def test_a_book_of_distinct_lines_is_unchanged(seed):
    chosen = random.Random(seed)
    pages = ["\n".join(body(1000 * seed + n, chosen.randint(0, 6))) for n in range(chosen.randint(0, 30))]
    cleaned = remove_furniture(pages)
    assert cleaned.pages == pages
    assert not any(cleaned.removed.values())


def test_numbers_that_do_not_count_with_the_pages_are_text():
    figures = [310, 7, 42, 1999, 5, 88, 12, 640]
    pages, _ = pages_with(lambda n: f"Table {figures[n]}", lambda n: str(figures[-n]))
    assert remove_furniture(pages).pages == pages


@pytest.mark.parametrize(
    "heading",
    [
        "Question {}",
        "Case {}:",
        "TABLE {}",
        "Cas clinique n° {}",
        "Вопрос {}.",
        "問{}",
        "第 {} 题",
        "症例 {}",
        "السؤال {}",
        "{}.",
        "({})",
        "{}、",
    ],
)
@pytest.mark.parametrize("foot", ["", "- {} -"])
def test_headings_that_count_with_the_pages_stay_at_the_top(heading, foot):
    pages, plain = pages_with(lambda n: heading.format(n + 1), lambda n: foot.format(n + 11))
    assert remove_furniture(pages).pages == [f"{heading.format(n + 1)}\n{page}" for n, page in enumerate(plain)]


def test_numbers_that_count_with_the_pages_by_chance_stay():
    questions = [1, 2, 3, 5, 6, 8, 10, 11]
    pages, plain = pages_with(lambda n: str(questions[n]), lambda n: "")
    assert remove_furniture(pages).pages == pages
    figures = [n + 3 if n < 12 else 7 * n % 90 + 100 for n in range(60)]  # page numbers, then pages that end in figures
    pages, plain = pages_with(lambda n: "", lambda n: str(figures[n]), count=60)
    assert remove_furniture(pages).pages == plain[:12] + pages[12:]
    rows = [f"{n + 1} {7 * n % 5} {n * n}" for n in range(8)]  # the first number of a table's row counts
    pages, plain = pages_with(lambda n: rows[n], lambda n: f"{n + 1} / 8")
    assert remove_furniture(pages).pages == [f"{rows[n]}\n{page}" for n, page in enumerate(plain)]


@pytest.mark.parametrize("seed", range(40))
def test_a_line_inside_a_pages_text_never_goes(seed):
    """Between text that differs, lines like the furniture stay whatever the furniture is."""
    chosen = random.Random(seed)
    kinds = [
        "{0}",
        "{0}.",
        "{1} DKIX-06-H-{0}",
        "3-{0}",
        "Page {0} of 20",
        "Internal Medicine",
        "Question {0}",
        "{0} {1} 5",
    ]
    head, foot, *inside = (chosen.choice(kinds) for _ in range(6))
    pages, bodies = [], []
    for number in range(chosen.randint(3, 25)):
        shown = [line.format(number + 1, number + 20) for line in (head, foot, *inside)]
        text = body(1000 * seed + number, 6)
        bodies.append("\n".join([text[0], *shown[2:4], *text[1:5], *shown[4:], text[5]]))
        pages.append(f"{shown[0]}\n{bodies[-1]}\n{shown[1]}")
    for page, cleaned in zip(bodies, remove_furniture(pages).pages, strict=True):
        assert page in cleaned


def test_a_head_that_recognition_misread_on_a_page_is_removed_there_too():
    heads = ["Cardiology today"] * 8
    heads[3:6] = "Cardio1ogy today", "Carcliology today", "Neurology tomorrow"
    pages, plain = pages_with(lambda n: heads[n], lambda n: "")
    plain[5] = f"{heads[5]}\n{plain[5]}"
    assert remove_furniture(pages).pages == plain


def test_two_pages_or_lines_far_apart_are_not_furniture():
    pages, _ = pages_with(lambda n: "Internal Medicine", lambda n: str(n), count=2)
    assert remove_furniture(pages).pages == pages
    pages, _ = pages_with(lambda n: "Questions" if n % 10 == 0 else "", lambda n: "", count=40)
    assert remove_furniture(pages).pages == pages


@pytest.mark.parametrize("lines", [1, 3, 4, 12])
def test_equal_pages_keep_their_text(lines):
    pages = ["\n".join(body(1, lines))] * 5
    assert remove_furniture(pages).pages == pages
    numbered = [f"{page}\n{n + 1}" for n, page in enumerate(pages)]
    assert remove_furniture(numbered).pages == pages


BOOKS = {  # language: title page, imprint, word for contents, entry of contents, word for index, entries of the index
    "en": (
        "INTERNAL MEDICINE\nA Textbook for Students\nJohn Smith and Mary Jones\nOxford",
        "© 2019 Smith and Jones. All rights reserved.\nSecond edition. Printed in London\nISBN 978-3-16-148410-0",
        "Table of Contents",
        "Diseases of the heart",
        "Index",
        "abscess angina aorta asthma biopsy blood bone brain cancer colon diabetes ear fever gout heart",
    ),
    "fr": (
        "MÉDECINE INTERNE\nManuel de l'étudiant\nJean Dupont\nLyon",
        "© Éditions Dupont, 2019\nTous droits réservés pour tous pays\nDépôt légal : mars 2019\nISBN 978-2-16-148410-0",
        "Table des matières",
        "Maladies du cœur",
        "Index",
        "abcès angine aorte asthme biopsie cerveau cœur côlon diabète fièvre foie goutte hépatite ictère jambe",
    ),
    "es": (
        "MEDICINA INTERNA\nManual para estudiantes\nJuan Pérez\nMadrid",
        "© 2019 Editorial Pérez\nTodos los derechos reservados\nDepósito legal: M-123-2019\nImpreso en España",
        "Índice general",
        "Enfermedades del corazón",
        "Índice alfabético",
        "absceso angina aorta asma biopsia cerebro colon corazón diabetes fiebre gota hepatitis ictericia pierna",
    ),
    "de": (
        "INNERE MEDIZIN\nLehrbuch für Studierende\nHans Müller\nBerlin",
        "© Müller Verlag, Berlin 2019\nAlle Rechte vorbehalten\n2. Auflage\nDruck: Meier\nISBN 978-3-16-148410-0",
        "Inhaltsverzeichnis",
        "Krankheiten des Herzens",
        "Sachverzeichnis",
        "Abszess Angina Aorta Asthma Biopsie Blut Darm Diabetes Fieber Gehirn Gicht Herz Ikterus Knochen",
    ),
    "ru": (
        "ВНУТРЕННИЕ БОЛЕЗНИ\nУчебник для студентов\nИ. И. Иванов\nМосква",
        "УДК 616 ББК 54.1\nИванов И. И. Внутренние болезни. 2-е изд.\nМ.: Издательство Медицина, 2019\nТираж 3000 экз.",
        "Оглавление",
        "Болезни сердца",
        "Предметный указатель",
        "абсцесс ангина аорта астма биопсия диабет желтуха кость кровь лихорадка мозг печень подагра сердце",
    ),
    "zh": (
        "内科学\n第二版\n王小明 主编",
        "图书在版编目（CIP）数据\n人民卫生出版社出版发行\n版权所有 翻印必究\nISBN 978-7-117-12345-6\n定价：58.00元",
        "目　录",
        "心脏疾病",
        "索引",
        "肿瘤 癌症 糖尿病 心脏 肝炎 哮喘 骨折 发热 痛风 黄疸 贫血 肺炎 胃炎 肾炎",
    ),
    "ja": (
        "内科学入門\n山田太郎 著",
        "内科学入門\n2019年3月1日 第2版発行\n発行所 山田出版\n印刷所 田中印刷\nISBN 978-4-12-345678-9\n定価3000円",
        "目次",
        "心臓の病気",
        "索引",
        "あざ いぼ うつ病 おたふく風邪 かぜ がん くる病 けが こぶ しみ せき ぜんそく たこ はしか",
    ),
    "ar": (
        "الطب الباطني\nكتاب للطلاب\nأحمد محمد\nالقاهرة",
        "جميع الحقوق محفوظة للناشر\nحقوق الطبع © 2019\nالطبعة الثانية\nدار النشر للطب\nرقم الإيداع 12345",
        "المحتويات",
        "أمراض القلب",
        "فهرس أبجدي",
        "ألم بول جرب حمى خراج دم ربو سكري شلل صداع طفح عظم قلب كبد",
    ),
}


def book_of(language: str, leaders: str = " ..... ") -> dict[int, str]:
    """The outer pages of a book of 200: title, imprint, blank, contents, contents, text, text; text, index, cover."""
    title, imprint, contents, entry, index, words = BOOKS[language]
    sentence = f"{entry} {entry} {entry} {entry} {entry}" + ("。" if language in ("zh", "ja") else ".")
    text = "\n".join(f"{i} {sentence}" for i in range(1, 9))
    first = [f"{i}. {entry}{leaders}{7 * i}" for i in range(1, 12)]
    second = [f"{i}. {entry}{leaders}{7 * i}" for i in range(12, 26)]
    entries = [f"{word}, {17 * i % 180 + 1}" + ", 23-25" * (i % 3 == 0) for i, word in enumerate(words.split())]
    pages = [title, imprint, "iii", "\n".join([contents, *first]), "\n".join(second), text, text]
    back = {
        196: text,
        197: text,
        198: "\n".join([index, *entries[:10]]),
        199: "\n".join(entries[5:]),
        200: "www.example.org",
    }
    return dict(enumerate(pages, 1)) | back


@pytest.mark.parametrize("leaders", [" ..... ", " . . . . . ", "……", " "])
@pytest.mark.parametrize("language", sorted(BOOKS))
def test_front_and_back_matter_is_found_in_all_languages(language, leaders):
    assert find_matter(book_of(language, leaders), 7, 196) == {
        1: "title",
        2: "imprint",
        3: "blank",
        4: "contents",
        5: "contents",
        198: "index",
        199: "index",
        200: "cover",
    }


DOSES = "\n".join(f"Children of {n} to {n + 5} kg: {25 * n} mg" for n in range(5, 45, 5))
VALUES = "\n".join(
    f"{name} {value}" for name, value in (("Sodium", 140), ("Potassium", 4), ("Calcium", 2), ("Urea", 5)) * 5
)
REFERENCES = "\n".join(
    f"{name} A, Jones B. On the heart. Lancet, 2012, 34, {i}-{i + 9}."
    for i, name in enumerate(("Adams", "Baker", "Clark", "Davis", "Evans", "Frank", "Ghosh", "Hills", "Irwin"), 120)
)
QUESTIONS = "\n".join(f"{i}. Which of these is a sign of pneumonia at the age of {i + 20}" for i in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        "1. NAME OF THE MEDICINAL PRODUCT\nExample 5 mg tablets\n2. QUALITATIVE AND QUANTITATIVE COMPOSITION\n"
        "Each tablet contains 5 mg of example. © 2020 European Medicines Agency.",
        "1. 药品名称\n本品每片含5毫克。",
        f"Dosage\n{DOSES}",
        f"Laboratory values\n{VALUES}",
        f"References\n{REFERENCES}",
        QUESTIONS,
        "Contents\nHeart ..... 5\nLung ..... 9\nLiver ..... 12\nKidney ..... 15\nThis guide is for doctors here.\n"
        "It does not replace the advice of a specialist.",
        "Key points\n• Rest\n• Fluids\n• Paracetamol",
        "Answers\n1 C 2 B 3 A 4 D 5 E 6 A\n7 C 8 B 9 A 10 D 11 E 12 A",
        "Preface\nThis book is for students of medicine and for those who teach them.",
    ],
)
def test_a_page_of_content_is_not_front_or_back_matter_wherever_it_is(text):
    pages = dict.fromkeys((*range(1, 7), *range(196, 201)), text)
    pages[4] = book_of("en")[4]
    assert find_matter(pages, 7, 196) in ({4: "contents"}, {})
    book = book_of("en") | dict.fromkeys((1, 3, 197, 200), text)
    assert set(find_matter(book, 7, 196)) == {4, 5, 198, 199}


def test_a_document_without_contents_imprint_and_index_keeps_its_short_pages():
    pages = dict.fromkeys((1, 2, 199, 200), "ANNEX I\nSUMMARY OF PRODUCT CHARACTERISTICS")
    assert find_matter(pages, 7, 196) == {}
    assert find_matter({}, 7, 196) == {}


def test_an_index_is_found_in_recognised_text_and_a_table_with_such_a_title_is_not():
    words = BOOKS["en"][5].split()
    misread = [".ee ", ".. ", "... .ee ", " .0 ", "...….. "]
    lines = [f"{word} {misread[i % 5]}{i + 20}" for i, word in enumerate(words)]
    book = book_of("en") | {198: "\n".join(["Appendix D: Function and variable index", *lines])}
    assert find_matter(book, 7, 196)[198] == "index"
    rows = "\n".join(
        f"{name} {i + 18}" for i, name in enumerate(["women", "men", "girls", "boys", "twins", "infants", "adults"])
    )
    assert 198 not in find_matter(book_of("en") | {198: f"Body mass index\n{rows}\n{rows}"}, 7, 196)
