"""Two lines made one: hyphens that part a word go, those that belong to it stay."""

import pytest

from pdf.line_joining import join_lines


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
        ("and", "goes on", "and goes on"),
    ],
)
def test_two_lines_become_one(before, line, joined):
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
