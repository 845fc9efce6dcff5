"""Lines of a page back into paragraphs."""

import pytest

from pdf.text_repair import join_pages, repair_page

LONG = "a line of text that is as wide as the lines of this page usually are"


@pytest.mark.parametrize(
    ("page", "repaired"),
    [
        (f"{LONG}\nand goes on", f"{LONG} and goes on"),
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


def test_a_paragraph_cut_by_a_page_break_is_made_whole():
    assert join_pages(["It begins here and", "goes on there.", "", "A new page."]) == (
        "It begins here and goes on there.\nA new page."
    )
    assert join_pages(["the pneu-", "monia"]) == "the pneumonia"
    assert join_pages(["患者因发热来医院就诊，三天前出现咳嗽，伴有胸痛和呼吸", "困难。"]) == (
        "患者因发热来医院就诊，三天前出现咳嗽，伴有胸痛和呼吸困难。"
    )
    assert join_pages(["第一章", "患者因发热来医院就诊。"]) == "第一章\n患者因发热来医院就诊。"
    assert join_pages([]) == ""
