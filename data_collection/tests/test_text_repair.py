"""text_repair.py: paragraphs from lines, hyphens at line ends, Arabic in visual order."""

import pytest

from text_layers.text_repair import (
    in_logical_order,
    is_backward,
    join_lines,
    join_pages,
    repair_arabic_spaces,
    repair_page,
)

LONG = "a line of text that is as wide as the lines of this page usually are"


@pytest.mark.parametrize(
    ("page", "repaired"),
    [
        (f"{LONG}\nand continues", f"{LONG} and continues"),
        (f"{LONG}, pneu-\nmonia", f"{LONG}, pneumonia"),
        ("Заболева-\nние лёгких и сердца", "Заболевание лёгких и сердца"),
        ("the Anti-\nTumor drug was given to patients", "the Anti-Tumor drug was given to patients"),
        ("Kinder-\nund Jugendmedizin in der Klinik", "Kinder- und Jugendmedizin in der Klinik"),
        ("Covid-\n19 in the wards of the hospital", "Covid-19 in the wards of the hospital"),
        ("die Seiten=\ntür im alten Druck des Buches", "die Seitentür im alten Druck des Buches"),
        ("soft hy\u00ad\nphen in the middle of a word", "soft hyphen in the middle of a word"),
        ("pdfium's hy\x02\r\nphen in the middle of a word", "pdfium's hyphen in the middle of a word"),
        ("pdfium's Anti\ufffeTumor drug in the middle of a word", "pdfium's Anti-Tumor drug in the middle of a word"),
        ("between 5\x02\n10 mg a day of this drug for adults", "between 5-10 mg a day of this drug for adults"),
        ("soft\u00adness in the middle of a line", "softness in the middle of a line"),
        ("T\nhe patient was seen by a doctor", "The patient was seen by a doctor"),
        ("I\nn this chapter the heart is treated", "In this chapter the heart is treated"),
        ("A\npatient was seen by a doctor today", "A patient was seen by a doctor today"),
        ("患者因发热\n来医院就诊", "患者因发热来医院就诊"),
        ("患 者 は 発 熱", "患者は発熱"),
        ("行 CT 检查 后", "行 CT 检查后"),
        ("他说 “ 发 热 ” 三 天", "他说“发热”三天"),
        (
            "\u3000\u3000患者因发热来医院就诊三天前出现咳嗽\n\u3000\u3000医生建议检查",
            "患者因发热来医院就诊三天前出现咳嗽\n医生建议检查",
        ),
        ("\u200fقال الطبيب\u200e إن المريضة", "قال الطبيب إن المريضة"),
        (
            "ةيحارجلا ةيلمعلا دعب ةديج ةلاح يف ةضيرملا نإ بيبطلا لاق",
            "قال الطبيب إن المريضة في حالة جيدة بعد العملية الجراحية",
        ),
        ("first paragraph\n\nsecond paragraph", "first paragraph\nsecond paragraph"),
        (
            f"{LONG}\n{LONG}\nends here.\nA new one begins and it is {LONG}",
            f"{LONG} {LONG} ends here.\nA new one begins and it is {LONG}",
        ),
        (f"Heading\nThe text below it: {LONG}\n{LONG}", f"Heading\nThe text below it: {LONG} {LONG}"),
        (f"{LONG}:\n• first point of the list\n• second point", f"{LONG}:\n• first point of the list\n• second point"),
        ("\ufb01rst of\ufb01ce", "first office"),
        ("\ufee3\ufeae\ufea3\ufe92\ufe8e", "مرحبا"),
        ("e\u0301tat", "état"),
        ("a\x00b\x07c\ud800d", "abcd"),
        ("", ""),
        ("\n \n\x02\n", ""),
    ],
)
def test_a_page_is_repaired(page, repaired):
    assert repair_page(page) == repaired


def test_a_paragraph_cut_by_a_page_break_is_joined():
    assert join_pages(["It begins here and", "continues there.", "", "A new page."]) == (
        "It begins here and continues there.\nA new page."
    )
    assert join_pages(["the pneu-", "monia"]) == "the pneumonia"
    assert join_pages(["患者因发热来医院就诊，三天前出现咳嗽，伴有胸痛和呼吸", "困难。"]) == (
        "患者因发热来医院就诊，三天前出现咳嗽，伴有胸痛和呼吸困难。"
    )
    assert join_pages(["第一章", "患者因发热来医院就诊。"]) == "第一章\n患者因发热来医院就诊。"
    assert join_pages([]) == ""


@pytest.mark.parametrize(
    ("before", "line", "joined"),
    [
        ("a pneu-", "monia case", "a pneumonia case"),
        ("the anti-", "biotics were", "the antibiotics were"),
        ("an anti-", "inflammatory drug", "an anti-inflammatory drug"),
        ("el efecto anti-", "inflamatorio", "el efecto antiinflamatorio"),
        ("non-", "invasive care", "non-invasive care"),
        ("a well-", "known drug", "a well-known drug"),
        ("the high-", "est dose", "the highest dose"),
        ("evidence-", "based care", "evidence-based care"),
        ("un-", "related events", "unrelated events"),
        ("the Anti-", "Tumor drug", "the Anti-Tumor drug"),
        ("pre-", "and postnatal", "pre- and postnatal"),
        ("Kinder-", "und Jugendmedizin", "Kinder- und Jugendmedizin"),
        ("Herz-", "bzw. Nierenkranke", "Herz- bzw. Nierenkranke"),
        ("die Er-", "krankung der Lunge", "die Erkrankung der Lunge"),
        ("COVID-19-", "Patienten", "COVID-19-Patienten"),
        ("la mala-", "die est", "la maladie est"),
        ("il est peut-", "être malade", "il est peut-être malade"),
        ("c’est-", "à-dire", "c’est-à-dire"),
        ("la enfer-", "medad", "la enfermedad"),
        ("заболева-", "ние лёгких", "заболевание лёгких"),
        ("сердечно-", "сосудистые болезни", "сердечно-сосудистые болезни"),
        ("какой-", "нибудь врач", "какой-нибудь врач"),
        ("из-", "за боли", "из-за боли"),
        ("из-", "вестный врач", "известный врач"),
        ("по-", "прежнему болит", "по-прежнему болит"),
        ("по-", "лучить лечение", "получить лечение"),
        ("по-", "этому врач", "поэтому врач"),
        ("5-", "10 mg", "5-10 mg"),
        ("5–", "10 mg", "5–10 mg"),
        ("Covid-", "19 wards", "Covid-19 wards"),
        ("a 2-", "fold rise", "a 2-fold rise"),
        ("soft hy\u00ad", "phen", "soft hyphen"),
        ("Seiten=", "tür", "Seitentür"),
        ("a dash -", "like this", "a dash - like this"),
        ("плата –", "это", "плата – это"),
        ("患者因发热", "来医院", "患者因发热来医院"),
        ("他说“发热。”", "医生说", "他说“发热。”医生说"),
        ("患者は", "ペニシリンを", "患者はペニシリンを"),
        ("and", "continues", "and continues"),
    ],
)
def test_two_lines_of_a_paragraph_are_joined(before, line, joined):
    assert join_lines(before, line) == joined


@pytest.mark.parametrize(
    ("before", "line", "page", "joined"),
    [
        ("the anti-", "body test", "an anti-body was", "the anti-body test"),
        ("a follow-", "up visit", "each follow-up visit", "a follow-up visit"),
        ("the well-", "being of", "their wellbeing is", "the wellbeing of"),
        ("行头部", "CT检查", "做CT检查和MRI检查", "行头部CT检查"),
        ("行头部", "CT 检查", "做 CT 检查和 MRI 检查", "行头部 CT 检查"),
    ],
)
def test_the_page_shows_how_it_writes_a_word(before, line, page, joined):
    assert join_lines(before, line, page) == joined


SENTENCES = (
    ["قال", "الطبيب", "إن", "المريضة", "في", "حالة", "جيدة", "بعد", "العملية", "الجراحية"],
    ["يتناول", "المريض", "25", "قرصا", "من", "Aspirin 100 mg", "مع", "الماء", "والطعام", "يوميا"],
    ["ارتفع", "الضغط", "إلى", "140/90", "ثم", "انخفضت", "الحرارة", "إلى", "37.5", "درجة"],
    ["فحص", "الدم", "(CBC)", "ضروري", "في", "العيادة", "عام", "٢٠٢٤", "للمراقبة", "المستمرة"],
)


def in_visual_order(words: list[str]) -> str:
    """The words from the left edge of the line to the right."""
    return " ".join(w[::-1] if "\u0621" <= w[0] <= "\u064a" else w for w in words[::-1])


def test_lines_in_visual_order_are_reversed_and_figures_and_latin_words_keep_their_order():
    logical = "\n".join(" ".join(words) for words in SENTENCES)
    visual = "\n".join(map(in_visual_order, SENTENCES))
    assert is_backward(visual) and not is_backward(logical)
    assert in_logical_order(visual) == logical
    assert in_logical_order(logical) == logical


def test_letter_shapes_show_the_order_and_lines_without_arabic_stay():
    word = "\ufee3\ufeae\ufea3\ufe92\ufe8e"
    assert in_logical_order(f"{word[::-1]}\nBlood pressure 120") == f"{word}\nBlood pressure 120"
    assert in_logical_order(f"{word}\nBlood pressure 120") == f"{word}\nBlood pressure 120"


def test_few_words_and_other_scripts_are_left_alone():
    assert in_logical_order("لا") == "لا"
    assert in_logical_order("The patient was seen.") == "The patient was seen."


def test_vowel_marks_return_to_their_letters_and_latin_words_are_separated():
    assert repair_arabic_spaces("أي ًضا") == "أيضًا"
    assert repair_arabic_spaces("بنا ًء على") == "بناءً على"
    assert repair_arabic_spaces("لغة Pythonمن") == "لغة Python من"
    assert repair_arabic_spaces("R وPython") == "R وPython"


@pytest.mark.parametrize(
    "items",
    [
        ["51 最も頭側に位置するのはどれか。", "1．鼻腔", "2．篩骨洞", "3．PDI は百分率である。", "4．1.5"],
        ["下列哪项正确", "（1）体温升高", "（2）体温下降", "①血压", "②脉搏", "一、诊断"],
        ["References", "[3] Shell, M.: A book (2019)", "[4] 山田一郎：「文献」", "[12] Yamada, J.: An article"],
        ["Which is right?", "(a) fever", "(b) cough", "• a rash", "– no pain"],
        ["Что верно?", "а) жар", "б) кашель", "1) сыпь"],
        ["ما الصحيح؟", "١. الحمى", "٢. السعال"],
        [
            "6 PARTICULARS",
            "6.2 Incompatibilities",
            "In the absence of studies this product must not be mixed with others, so it is given alone.",
            "6.3 Shelf life",
            "Two years in a refrigerator at a temperature between two and eight degrees, in the carton.",
        ],
    ],
)
def test_each_item_of_a_list_has_its_line(items):
    assert repair_page("\n".join(items)).split("\n") == items


def test_numbers_inside_running_text_begin_no_item():
    lines = ["The dose was raised from 2.5 mg to", "3.5 mg on day 4 and the patient was seen again after a", "week."]
    assert repair_page("\n".join(lines)) == " ".join(lines)
