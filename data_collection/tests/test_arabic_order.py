"""Arabic stored as it looks is turned round; Arabic in writing order, figures and Latin words stay."""

from pdf.arabic_order import in_writing_order, is_backward, spaces_mended

SENTENCES = (
    ["قال", "الطبيب", "إن", "المريضة", "في", "حالة", "جيدة", "بعد", "العملية", "الجراحية"],
    ["يتناول", "المريض", "25", "قرصا", "من", "Aspirin 100 mg", "مع", "الماء", "والطعام", "يوميا"],
    ["ارتفع", "الضغط", "إلى", "140/90", "ثم", "انخفضت", "الحرارة", "إلى", "37.5", "درجة"],
    ["فحص", "الدم", "(CBC)", "ضروري", "في", "العيادة", "عام", "٢٠٢٤", "للمراقبة", "المستمرة"],
)


def as_it_looks(words: list[str]) -> str:
    """The words as an eye meets them from the left edge of the line on."""
    return " ".join(w[::-1] if "\u0621" <= w[0] <= "\u064a" else w for w in words[::-1])


def test_lines_stored_as_they_look_are_turned_round_and_figures_and_latin_words_keep_their_order():
    written = "\n".join(" ".join(words) for words in SENTENCES)
    looks = "\n".join(map(as_it_looks, SENTENCES))
    assert is_backward(looks) and not is_backward(written)
    assert in_writing_order(looks) == written
    assert in_writing_order(written) == written


def test_shapes_of_letters_tell_the_order_and_lines_without_arabic_stay():
    word = "\ufee3\ufeae\ufea3\ufe92\ufe8e"
    assert in_writing_order(f"{word[::-1]}\nBlood pressure 120") == f"{word}\nBlood pressure 120"
    assert in_writing_order(f"{word}\nBlood pressure 120") == f"{word}\nBlood pressure 120"


def test_few_words_and_other_scripts_are_left_alone():
    assert in_writing_order("لا") == "لا"
    assert in_writing_order("The patient was seen.") == "The patient was seen."


def test_marks_go_back_on_their_letters_and_latin_words_stand_apart():
    assert spaces_mended("أي ًضا") == "أيضًا"
    assert spaces_mended("بنا ًء على") == "بناءً على"
    assert spaces_mended("لغة Pythonمن") == "لغة Python من"
    assert spaces_mended("R وPython") == "R وPython"
