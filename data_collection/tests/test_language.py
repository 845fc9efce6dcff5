"""language.py: languages detected by script or by letters, or not at all."""

import json
from pathlib import Path

import pytest

from filtering.language import CANDIDATES, count_scripts, detect_language, main_script, windows
from filtering.language_scores import ScoredLanguages

OTHERS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "sample/languages/other_languages.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("detector", ["py3langid", "langdetect"])
@pytest.mark.parametrize("language", ["en", "fr", "es", "de", "ru", "zh", "ja", "ar"])
def test_the_eight_languages_are_detected(made, language, detector):
    found = detect_language(made.medical[language], detector)
    assert found.code == language
    assert found.probability > 0.9


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("환자는 열이 나고 기침을 해서 병원에 왔다.", "ko"),
        ("Ο ασθενής ήρθε στο νοσοκομείο με πυρετό.", "el"),
        ("O paciente chegou ao hospital com febre e dor no peito; os médicos não sabiam então o que fazer.", "pt"),
        ("Пацієнт звернувся до лікарні з гарячкою та кашлем, і лікар призначив йому лікування.", "uk"),
        ("قال الطبيب إن المريض بحاجة إلى علاج طويل في المستشفى.", "ar"),
        ("auscultación cardiopulmonar normal, abdomen normal", "es"),  # Galician without the prior
        ("febre alta e dor no peito", "pt"),  # Spanish with a prior five times as strong
        ("新型コロナウイルス感染症の患者", "ja"),
        ("2019-nCoV 病毒感染患者的 CT 检查结果", "zh"),
    ],
)
def test_other_languages_are_not_mistaken_for_a_neighbour(text, code):
    assert detect_language(text).code == code


@pytest.mark.parametrize("language", sorted({other["language"] for other in OTHERS}))
def test_a_neighbouring_language_is_detected_with_high_probability(language):
    texts = [other["text"] for other in OTHERS if other["language"] == language]
    assert {detect_language(text).code for text in texts} == {language}
    assert detect_language(" ".join(texts)).probability > 0.9


def test_a_text_of_two_scripts_has_a_low_probability():
    mixed = "Больному назначен " + "amoxicillin clavulanate potassium tablets daily " * 2 + "при пневмонии на семь дней"
    assert detect_language(mixed).probability < 0.9
    russian = "Пациент поступил в больницу с лихорадкой. Принимает aspirin."
    assert detect_language(russian).code == "ru"
    assert detect_language(russian).probability > 0.9


def test_a_long_text_is_detected_from_windows_spread_over_it(made):
    assert windows("abcdefghij", 3, 2) == "ab ef ij"
    assert windows("abcdefghij", 1, 2) == "ef"
    assert windows("abcdefghij", 5, 2) == "abcdefghij"
    menu = "Home | About us | Contact | Sign in to your account | Search this site | Subscribe to our newsletter | "
    assert detect_language(menu + made.medical["fr"] * 6 + menu).code == "fr"


@pytest.mark.parametrize("script", CANDIDATES)
def test_the_compiled_scores_are_py3langid_s(made, script):
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    labels = CANDIDATES[script].split()
    theirs = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    theirs.set_languages(labels)
    ours = ScoredLanguages(labels, {}, {})
    texts = [*(other["text"] for other in OTHERS), *made.medical.values(), "ÜBER DEN KRANKEN", "zzz", ""]
    for text in texts:
        code, probability = theirs.classify(text)
        assert ours.best(text)[1] == pytest.approx(probability, abs=1e-3)
        assert ours.best(text)[0] == code or probability < 0.1
    both = ScoredLanguages(labels, dict.fromkeys(labels[:2], "any"), {}).best(made.medical["ar"])
    assert 0 < both[1] <= 1


def test_without_a_detector_nothing_is_detected(made):
    assert detect_language(made.medical["fr"], "none") == ("und", 0.0)


@pytest.mark.parametrize("text", ["", "   ", "12345 67,8 %", "abc", "?!", "\ufffd\ufffd"])
def test_a_text_with_too_few_letters_has_no_language(text):
    assert detect_language(text) == ("und", 0.0)


@pytest.mark.parametrize("detector", ["py3langid", "langdetect"])
def test_the_result_is_deterministic(detector):
    text = "Paracetamol 500 mg, ibuprofen 400 mg, amoxicillin 250 mg"
    assert len({detect_language(text, detector) for _ in range(10)}) == 1


def test_mixed_text_has_the_language_of_its_main_script():
    assert main_script("心电图 ECG 显示心肌梗死，给予 aspirin 治疗，患者病情好转。")[:2] == ("Han", "zh")
    assert count_scripts("aбв")["Cyrillic"] == 2
