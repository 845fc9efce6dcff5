"""mojibake.py: UTF-8 that was read in another encoding is repaired if it is certain; other text is unchanged."""

import pytest

from cleaning.mojibake import is_broken, repair_mojibake

SENTENCES = {
    "en": "The patient’s fever—39 °C—fell after 5 µg of “α-blockers” …",
    "fr": "Le cœur de la patiente a été contrôlé : œdème, brûlure et « naïveté » à 38 °C.",
    "es": "El niño tenía dolor de estómago; ¿desde cuándo? La señora dijo: «mañana»",
    "de": "Die Ärztin prüfte die Größe der Drüse: „Übelkeit“ und Müdigkeit",
    "ru": "Пациент жалуется на головную боль и тошноту в течение трёх дней",
    "zh": "患者因发热、咳嗽和胸痛来医院就诊。",
    "ja": "患者は発熱と咳嗽のために来院した。",
    "ar": "وصل المريض إلى المستشفى وهو يعاني من الحمى والسعال",
}


def misread(text: str, encoding: str) -> str:
    """The text's UTF-8 bytes read in another encoding; bytes that it does not know become C1 control characters."""
    return "".join(bytes([byte]).decode(encoding, "ignore") or chr(byte) for byte in text.encode("utf-8"))


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("language", SENTENCES)
def test_a_misread_sentence_in_each_language_is_repaired(language, encoding):
    text, count = repair_mojibake(misread(SENTENCES[language], encoding))
    assert text == SENTENCES[language]
    assert count > 0


def test_russian_misread_as_windows_1251_is_repaired():
    text, count = repair_mojibake(misread(SENTENCES["ru"], "cp1251"))
    assert text == SENTENCES["ru"]
    assert count > 50
    assert repair_mojibake("Он сказал вЂ” нет")[0] == "Он сказал — нет"


@pytest.mark.parametrize("language", SENTENCES)
def test_a_correct_sentence_in_each_language_is_unchanged(language):
    assert repair_mojibake(SENTENCES[language]) == (SENTENCES[language], 0)
    assert not is_broken(SENTENCES[language])


@pytest.mark.parametrize(
    "text",
    [
        "« déjà\xa0» et « cité\xa0» et « naï\xa0»",  # é, a no-break space and » are the bytes of a Chinese character
        "Das Wort „Ä“ und „Ö“ und „Ü“",
        "LE CAFÉ» ET L’ÉTÉ’",
        "AQUÍ” y ALLÁ»",
        "ESPAÑA, ESPAÑOL",
        "NÃO, SÃO, MÃE",
        "СССР, США, «РФ», Сірко, Рівне",
        "В«Ёлку» и в „кавычках“",
        "±°²³ Î Ï",
        "Å is a unit of length; 5 Å–6 Å",
    ],
)
def test_text_that_only_resembles_mojibake_is_unchanged(text):
    assert repair_mojibake(text) == (text, 0)
    assert not is_broken(text)


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("cÅ“ur", "cœur"),
        ("Ã  la maison, cafÃ©", "à la maison, café"),
        ("cafÃ© Ã Paris, voilÃ , Ã\xa0 deux", "café à Paris, voilà, à deux"),
        ("380 Âµmol/l", "380 µmol/l"),
        ("5 â‰¥ 3, Î±-amylase", "5 ≥ 3, α-amylase"),
        ("ðŸ˜€", "😀"),
        ("ï»¿Text", "\ufeffText"),
        ("сказал â€” нет", "сказал — нет"),
    ],
)
def test_single_characters_are_repaired(text, repaired):
    assert repair_mojibake(text)[0] == repaired


@pytest.mark.parametrize(
    "text",
    [
        "lâ€?homme nâ€?a pas dâ€?Ã¢me",
        "Ã? lâ€? Ã? fin de lâ€?Ã©tÃ?",
        "Ð?Ð°Ñ?Ð¸Ð?Ð½Ñ? Ð? Ñ?Ð¾Ð»Ñ?Ð½Ð¸Ñ?Ðµ",
    ],
)
def test_text_with_lost_bytes_is_broken(text):
    assert is_broken(repair_mojibake(text)[0])
