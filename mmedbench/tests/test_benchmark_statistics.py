"""benchmark_statistics.py: what is counted, how lengths are measured, the topics, the picture, the record."""

import json

import pytest
import yaml

from sources.question_counts import topic_pattern

QUESTIONS = {
    "Train/English.jsonl": [
        {
            "question": "one two three",
            "options": {"A": "a", "B": "bb", "C": "ccc"},
            "answer_idx": "A,C",
            "rationale": "because of that",
        },
        {"question": "one", "options": {"A": "aaaa", "B": "b"}, "answer_idx": "B"},
    ],
    "Test/Chinese.jsonl": [{"question": "心脏在哪里", "options": {"A": "左", "B": "右"}, "answer_idx": "A"}],
    "Test/Arabic.jsonl": [{"question": "ما هو مرض القلب؟", "options": {"A": "نعم", "B": "لا"}, "answer_idx": "A"}],
    "English_benchmarks/MMLU_anatomy.jsonl": [
        {"question": "Where?", "options": {"A": "x", "B": "y"}, "answer_idx": "B", "language": "en"}
    ],
}


@pytest.fixture
def folder(tmp_path, raw):
    for name, records in QUESTIONS.items():
        path = tmp_path / "bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(raw.jsonl(*records), encoding="utf-8")
    return tmp_path / "bench"


def numbers(out):
    value = json.loads((out / "statistics.json").read_text(encoding="utf-8"))
    return value, {(row["language"], row["split"]): row for row in value["rows"]}


def test_every_number_is_that_of_the_questions(folder, tmp_path, run):
    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    value, rows = numbers(tmp_path / "out")
    assert value["units"] == ["characters", "words between spaces"]
    row = rows["en", "Train"]
    assert [row[name] for name in ("questions", "published", "single", "multiple", "with_rationale")] == [
        2,
        10178,
        1,
        1,
        1,
    ]
    assert [row[name] for name in ("options_mean", "options_least", "options_most")] == [2.5, 2, 3]
    assert row["lengths"] == {
        "characters": {"question": 8.0, "option": 2.2, "rationale": 15.0},
        "words between spaces": {"question": 2.0, "option": 1.0, "rationale": 3.0},
    }
    assert rows["zh", "Test"]["lengths"]["characters"] == {"question": 5.0, "option": 1.0, "rationale": None}
    assert rows["zh", "Test"]["lengths"]["words between spaces"]["question"] is None
    assert list(rows) == [("en", "Train"), ("en", "MMLU_anatomy"), ("zh", "Test"), ("ar", "Test")]


def test_the_table_says_the_unit_and_the_published_counts_here_or_not(folder, tmp_path, run):
    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "out")
    text = (tmp_path / "out" / "statistics.md").read_text(encoding="utf-8")
    assert text in done.stdout
    assert "| en | Train | 2 | 10178 | 1 | 1 | 50.0 | 2.50 (2 to 3) | 1 |" in text
    assert "## Mean lengths in characters" in text
    assert "| zh | Test | - | - | - |" in text
    assert "Published, but not here: en Test 1273, zh Train 27400," in text
    assert "token" not in text


def test_lengths_are_in_tokens_of_the_tokenizer_that_is_named(folder, tmp_path, run):
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "<s>": 1}, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    model.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]", bos_token="<s>")
    fast.save_pretrained(tmp_path / "letters")
    done = run("benchmark_statistics.py", folder, "--tokenizer", tmp_path / "letters", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    value, rows = numbers(tmp_path / "out")
    unit = f"tokens of {tmp_path / 'letters'}"
    assert value["units"] == [unit]
    assert f"## Mean lengths in {unit}" in done.stdout
    # One token a character, and the special one is not counted.
    assert rows["en", "Train"]["lengths"][unit] == {"question": 8.0, "option": 2.2, "rationale": 15.0}
    assert rows["zh", "Test"]["lengths"][unit]["question"] == 5.0
    inputs = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["inputs"]
    assert "tokenizer.json" in inputs["tokenizer"]


def test_a_tokenizer_that_is_none_is_refused_with_a_sentence(folder, tmp_path, run):
    done = run("benchmark_statistics.py", folder, "--tokenizer", tmp_path, "--out", tmp_path / "out")
    assert (done.returncode, "no tokenizer can be read there" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()


def test_topics_count_questions_by_language_over_the_splits_alone(folder, tmp_path, run):
    topics = tmp_path / "topics.yaml"
    value = {"heart": {"zh": ["心脏"], "ar": ["قلب"]}, "numbers": {"en": ["TWO", "wher"]}}
    topics.write_text(yaml.safe_dump(value), encoding="utf-8")
    done = run("benchmark_statistics.py", folder, "--topics", topics, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = {(row["topic"], row["language"]): row["questions"] for row in numbers(tmp_path / "out")[0]["topics"]}
    assert rows == {
        ("heart", "en"): 0,
        ("numbers", "en"): 1,
        ("none of these", "en"): 1,
        ("heart", "zh"): 1,
        ("numbers", "zh"): 0,
        ("none of these", "zh"): 0,
        ("heart", "ar"): 1,
        ("numbers", "ar"): 0,
        ("none of these", "ar"): 0,
    }
    assert "| none of these | 1 | 0 | 0 |" in done.stdout


@pytest.mark.parametrize(
    ("word", "language", "text", "found"),
    [
        ("card", "en", "a cardiac arrest", True),
        ("card", "en", "discard it", False),
        ("心", "zh", "这是心脏", True),
        ("cœur", "fr", "le CŒUR", True),
        ("قلب", "ar", "والقلب", True),
        ("قلب", "ar", "انقلب", False),
    ],
)
def test_keywords_match_the_beginning_of_words(word, language, text, found):
    assert bool(topic_pattern([word], language).search(text.casefold())) is found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "expected {topic"),
        ("a: [b]", "expected languages"),
        ("a: {ko: [b]}", "expected languages"),
        ("a: {en: b}", "expected a list of texts"),
        ("a: {en: ['']}", "expected a list of texts"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_topics_is_refused(folder, tmp_path, run, text, message):
    path = tmp_path / "topics.yaml"
    path.write_text(text, encoding="utf-8")
    done = run("benchmark_statistics.py", folder, "--topics", path, "--out", tmp_path / "out")
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_our_topics_cover_every_language_of_every_topic_without_a_word_twice(raw):
    topics = yaml.safe_load((raw.stage / "topics.yaml").read_text(encoding="utf-8"))
    for topic, languages in topics.items():
        assert sorted(languages) == sorted(["en", "zh", "ja", "fr", "ru", "es", "de", "ar"]), topic
        for language, words in languages.items():
            assert len(set(words)) == len(words), (topic, language)


def test_the_picture_is_a_png_that_shows_bars_and_its_labels_have_their_letters(folder, tmp_path, run, recwarn):
    from PIL import Image

    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert not [w for w in recwarn if "lyph" in str(w.message)]
    with Image.open(tmp_path / "out" / "statistics.png") as picture:
        assert picture.width > 600
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert {(0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0x00, 0x9E, 0x73)} <= colours


def test_a_second_run_reuses_other_inputs_are_refused_and_a_dry_run_writes_nothing(folder, tmp_path, run):
    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "out", "--dry-run")
    assert (done.returncode, "en Train: 2 questions" in done.stdout, (tmp_path / "out").exists()) == (0, True, False)
    assert run("benchmark_statistics.py", folder, "--out", tmp_path / "out").returncode == 0
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert "reused" in run("benchmark_statistics.py", folder, "--out", tmp_path / "out").stdout
    assert run("benchmark_statistics.py", folder, "--out", tmp_path / "again").returncode == 0
    for name in ("statistics.md", "statistics.json", "statistics.png"):
        assert (tmp_path / "again" / name).read_bytes() == first[name]
    (folder / "Test" / "Chinese.jsonl").unlink()
    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "out")
    assert (done.returncode, "different inputs" in done.stderr) == (2, True)


def test_a_broken_benchmark_an_empty_one_and_a_foreign_folder_are_refused(folder, tmp_path, run):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x", encoding="utf-8")
    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "mine")
    assert (done.returncode, "give another" in done.stderr) == (2, True)
    (folder / "Test" / "Arabic.jsonl").write_text("{}\n", encoding="utf-8")
    done = run("benchmark_statistics.py", folder, "--out", tmp_path / "out")
    assert (done.returncode, "Arabic.jsonl:1: question: missing" in done.stderr) == (2, True)
    done = run("benchmark_statistics.py", tmp_path / "mine", "--out", tmp_path / "out")
    assert (done.returncode, "contains no question" in done.stderr) == (2, True)
