"""Which language a text is in: by script, by letters, or not to be told."""

import pytest

from language import count_scripts, detect_language, language_by_script


@pytest.mark.parametrize("language", ["en", "fr", "es", "de", "ru", "zh", "ja", "ar"])
def test_the_eight_languages_are_told_apart(made, language):
    found = detect_language(made.medical[language])
    assert found.code == language
    assert found.probability > 0.9


@pytest.mark.parametrize(("text", "code"), [
    ("환자는 열이 나고 기침을 해서 병원에 왔다.", "ko"),
    ("Ο ασθενής ήρθε στο νοσοκομείο με πυρετό.", "el"),
    ("O paciente chegou ao hospital com febre e dor no peito; os médicos não sabiam então o que fazer.", "pt"),
    ("Пацієнт звернувся до лікарні з гарячкою та кашлем, і лікар призначив йому лікування.", "uk"),
    ("قال الطبيب إن المريض بحاجة إلى علاج طويل في المستشفى.", "ar"),
    ("新型コロナウイルス感染症の患者", "ja"),
    ("2019-nCoV 病毒感染患者的 CT 检查结果", "zh"),
])  # fmt: skip
def test_other_languages_are_named_and_not_taken_for_a_neighbour(text, code):
    assert detect_language(text).code == code


@pytest.mark.parametrize("text", ["", "   ", "12345 67,8 %", "abc", "?!", "\ufffd\ufffd"])
def test_a_text_with_too_few_letters_has_no_language(text):
    assert detect_language(text) == ("und", 0.0)


def test_the_answer_is_the_same_every_time():
    text = "Paracetamol 500 mg, ibuprofen 400 mg, amoxicillin 250 mg"
    assert len({detect_language(text) for _ in range(10)}) == 1


def test_mixed_text_follows_the_script_that_says_most():
    assert language_by_script("心电图 ECG 显示心肌梗死，给予 aspirin 治疗，患者病情好转。") == ("Han", "zh")
    assert count_scripts("aбв")["Cyrillic"] == 2
