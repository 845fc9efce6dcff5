"""The compiled language scores are the package's own."""

import pytest

import language


@pytest.mark.parametrize("script", sorted(language.CANDIDATES))
def test_the_compiled_scores_are_the_packages(made, script):
    """py3langid's own way: restrict it to the same languages, raise the same priors, rank."""
    package = language._identifier()
    package.set_languages(language.CANDIDATES[script].split())
    for i, code in enumerate(package.nb_classes):
        if language.SAME_LANGUAGE.get(code, code) in language.SCRIPTS_OF[script]:
            package.nb_pc[i] += language.PRIOR_OF_THE_EIGHT
    for text in (*made.medical.values(), *made.general.values(), "Ein Satz.", "zzz", ""):
        expected: dict[str, float] = {}
        for code, probability in package.rank(text):
            code = language.SAME_LANGUAGE.get(code, code)
            expected[code] = expected.get(code, 0) + probability
        code, probability = language._ask_py3langid(text, script)
        assert probability == pytest.approx(max(expected.values()), abs=1e-3)
        assert expected[code] == pytest.approx(max(expected.values()), abs=1e-6)
