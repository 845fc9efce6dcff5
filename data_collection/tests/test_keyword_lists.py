"""The keyword lists and thresholds as they are shipped: their size, false friends, texts of everyday subjects."""

import json
from pathlib import Path

import pytest

from filtering.filter_document import DocumentFilter
from filtering.keyword_lists import load_keywords
from filtering.keyword_match import load_matcher
from language_codes import LANGUAGES

# Everyday words that begin with, end in or contain a medical stem, or equal one once accents are folded away.
FALSE_FRIENDS = {
    "en": "candidate hospitality infantry chronicle diploma Tacoma academia nostalgia aspiring condominium "
    "splendid grafting splinter spectroscopy dichotomy hypnosis metamorphosis prescribed by law appendix addict "
    "comanche statue stating mutations uterly injection quarantined cell operation organ heart skin eye body",
    "de": "schwarzen leisten leidenschaft wunderbar sprachen funktionieren methoden verhandlungen unterbrechen "
    "darmstadt abgelenkt gastronomie plastik sympathie prämie nostalgie waschbecken schwer feuerwehr modem "
    "ausschlaggebend verbrennungsmotor gefasst virus leistet kratzer praxis zelle operation",
    "fr": "candidat calculer galerie bassin pleurer allaient nécropole splendide académie nostalgie pénurie "
    "gastronomie insuffisant comprimer dysfonctionnement tremblement au sein de notice samuel quarantaine "
    "cellule opération greffier moelleux virus antivirus unilatéral",
    "es": "candidato estreno migrantes gastronomía académico correa furia nostalgia inglés bronce rector séptimo "
    "vacuno esplendor auriculares interferencia antivirus reflejar brote coma comprimido hinchada placentero "
    "hipopótamo cólera secuela célula operación órgano corazón piel ojo",
    "ru": "кандидат экземпляр шоколад Запорожье печенье гастроли острова раковина оспаривать Вена лёгкий черепаха "
    "терпения симпатии остров капли внутрь аномалия анализатор клетка операция орган вирус тифлис",
    "ar": "فلوريدا تليفزيون وزارة للوزير بعضهم أيضا الأمر بترول نجاح مصابيح بوليفيا شقيقه صدر تضخم يعالج نخرج بورما "
    "جينيفر نفسي مخاطر انتحاري",
    "zh": "电脑 不适用 香肠 神经网络 代码移植 社区矫正 并发请求 天花板 寿命 稳定 安定 脾气 非典型 恶性循环 反射",
    "ja": "電脳 肝心 がんばる オリンパス 会社の合併 外来語 ゲームの移植 洗剤 首脳 増やせ 椎名 用法 反射",
}


def everyday_texts(language: str, label: str) -> list[dict]:
    lines = (Path(__file__).parent / "everyday_texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if (row["language"], row["label"]) == (language, label)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_list_has_hundreds_of_terms_and_thresholds_with_their_origin(language, made):
    assert len(load_keywords(language)) >= 500
    row = json.loads((made.stage / "thresholds.json").read_text(encoding="utf-8"))["bounded"][language]
    assert row["note"]
    assert 0.9 <= row["recall"] <= 1


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_that_only_look_medical_are_not_keywords(language):
    matcher = load_matcher(language, "bounded")
    assert [word for word in FALSE_FRIENDS[language].split() if matcher.score(word).distinct] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_lay_medical_texts_pass_and_everyday_subjects_with_a_few_medical_words_do_not(language):
    judge = DocumentFilter("bounded")
    for label, kept in (("medical", True), ("general", False)):
        texts = everyday_texts(language, label)
        assert len(texts) >= 2
        for row in texts:
            decision = judge.decide(row["text"], language)
            assert (decision.reason == "kept") is kept, (row["topic"], decision)
