"""boilerplate_lines.py: menus and notices of web pages are dropped, lines of text stay."""

import pytest

from cleaning.boilerplate_lines import (
    MIN_REPEATED_LINE,
    drop_boilerplate,
    drop_repeated_lines,
    fold,
    has_repeated_lines,
    load_phrases,
)
from run_record import InputError

LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")
MENUS = {
    "en": ["Home", "» Share this article", "We use cookies to give you a better visit.", "Sign in", "READ MORE…"],
    "fr": ["Accueil", "S'inscrire", "Ce site utilise des cookies pour vous servir.", "Lire la suite »", "Home"],
    "es": ["Inicio", "Iniciar sesión", "Utilizamos cookies propias y de terceros.", "¡Síguenos!", "Share"],
    "de": ["Startseite", "Anmelden", "Diese Website verwendet Cookies.", "Artikel teilen", "Passwort vergessen?"],
    "ru": ["Главная", "Войти", "Наш сайт использует файлы cookie.", "Поделиться с друзьями", "Читать далее >"],
    "zh": ["首页", "登录", "分享到：微信 微博", "上一篇：感冒", "版权所有 2020 某某医院", "京ICP备12345678号"],
    "ja": ["ホーム", "ログイン", "当サイトではCookieを使用しています。", "関連記事", "【お問い合わせ】"],
    "ar": ["الرئيسية", "تسجيل الدخول", "يستخدم هذا الموقع ملفات تعريف الارتباط.", "اقرأ المزيد", "شارك المقال"],
}
KEPT = {
    "en": ["Home oxygen is given at night.", "Share it with your physician.", "## Search", "Contact dermatitis"],
    "fr": ["Accueil aux urgences d'un patient fébrile", "Partager les seringues transmet le VIH."],
    "es": ["Inicio brusco de la fiebre", "Compartir jeringuillas transmite el VIH"],
    "de": ["Startseite der Lunge gibt es nicht.", "Weiter besteht Fieber.", "Anmeldung im Krankenhaus am Morgen"],
    "ru": ["Вход в полость сустава", "Главная причина инфаркта", "Далее назначают антибиотики"],
    "zh": ["首页记录患者姓名及诊断", "颅内压（ICP）证实升高", "分享患者的治疗经验"],
    "ja": ["ホームドクターに相談する", "検索した文献は三十編であった"],
    "ar": ["الرئيسية في العلاج هي الراحة", "دخول المريض إلى المستشفى"],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_boilerplate_is_dropped_and_text_stays(language):
    mixed = [line for pair in zip(MENUS[language], KEPT[language] * 9, strict=False) for line in pair]
    wanted = "\n".join(line for line in mixed if line in KEPT[language])
    assert drop_boilerplate("\n".join(mixed), language) == (wanted, len(MENUS[language]))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_without_boilerplate_is_untouched(made, language):
    text = f"{made.medical[language]}\n\n  {made.medical[language]}\r\n"
    assert drop_boilerplate(text, language) == (text, 0)


def test_a_finding_stays_even_if_its_line_ends_with_a_copyright():
    finding = "Conclusion: the combination lowered blood pressure in both groups, and no serious event was observed."
    for language, claim in (
        ("en", "© 2013 Elsevier Ltd. All rights reserved."),
        ("de", "Alle Rechte vorbehalten."),
        ("ru", "Все права защищены."),
    ):
        assert drop_boilerplate(f"{finding} {claim}", language) == (f"{finding} {claim}", 0)
        assert drop_boilerplate(f"{finding}\n© 2013 Verlag. {claim}", language) == (finding, 1)


def test_a_long_line_about_cookies_stays():
    line = "In this trial, " + "participants were told that " * 12 + "this website uses cookies."
    assert drop_boilerplate(line, "en") == (line, 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_lists_have_entries_of_each_kind(language):
    own = load_phrases(language)
    assert len(own.whole) > 80 and len(own.contain) > 5
    assert all(fold(phrase) == phrase for phrase in own.whole)


def test_an_entry_without_words_is_an_error(tmp_path):
    (tmp_path / "en.txt").write_text("home\n*!*\n")
    with pytest.raises(InputError, match=r"en\.txt:2"):
        load_phrases("en", tmp_path)
    with pytest.raises(InputError, match=r"fr\.txt"):
        load_phrases("fr", tmp_path)


def test_later_copies_of_long_lines_are_dropped():
    long = "The leaflet says on every page that the tablets are not for children."
    assert drop_repeated_lines(f"{long}\nNo fever.\n{long}\nNo fever.\n {long} ") == (
        f"{long}\nNo fever.\nNo fever.",
        2,
    )
    short = "No fever and no cough since then.\n"
    assert drop_repeated_lines(short * 2) == (short * 2, 0)
    chinese = "本品说明书每一页都写明儿童禁用，请将药品放在儿童不能接触的地方。"
    assert drop_repeated_lines(f"{chinese}\n{chinese}") == (chinese, 1)
    assert len(chinese) < MIN_REPEATED_LINE


def test_repeated_lines_are_counted():
    assert not has_repeated_lines(["one", "two", "", "", "one"])
    assert has_repeated_lines(["the same line"] * 3 + ["another"])
    assert has_repeated_lines(["a long line that comes twice, word by word"] * 2 + list("abcd"))
    assert not has_repeated_lines([])
