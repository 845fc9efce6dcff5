"""deduplicate.py: planted near duplicates are found and others are not, one is kept by the rule, whatever the order."""

import random
import shutil

import pytest

from benchmark_helpers.duplicate_measurements import CHARACTERS, near_copy, true_similarity, write_finished_folder
from readers.corpus_format import document_id

LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es", "de", "ar")


def shuffled_text(made, language: str, dice: random.Random, units: int = 200) -> str:
    """A text of a language's words (characters) in an order of its own."""
    known = made.medical[language] + made.general.get(language, "")
    if language in CHARACTERS:
        return "".join(dice.choices(known, k=units))
    return " ".join(dice.choices(known.split(), k=units))


def row(text: str, language: str = "en", **fields) -> dict:
    return {"text": text, "language": language, "url": f"https://example.org/{document_id(text)}"} | fields


def put_folder(path, rows: list[dict], **settings):
    by_language: dict[str, list] = {}
    for one in rows:
        by_language.setdefault(one["language"], []).append(one)
    return write_finished_folder(path, by_language, **settings)


def found(made, out) -> dict[str, dict]:
    return {entry["id"]: entry for entry in made.table(out / "duplicates.parquet")}


@pytest.fixture
def planted(tmp_path, made):
    """(a folder of documents of eight languages with planted copies, [(text, copy, language)])."""
    dice = random.Random(3)
    pairs, rows = [], []
    for language in LANGUAGES:
        for number in range(15):
            text, other = (shuffled_text(made, language, dice) for _ in range(2))
            copy = near_copy(text, other, language, (0.86, 0.92, 0.4)[number % 3], number % 2 == 0, dice)
            pairs.append((text, copy, language))
            rows += [row(text, language), row(copy, language)]
    return put_folder(tmp_path / "planted", rows), pairs


@pytest.fixture
def large(tmp_path, made):
    """Two folders, of some units each at --unit-mb 1, with exact and near duplicates within and across them."""
    dice = random.Random(5)
    rows = []
    for _ in range(700):
        text = shuffled_text(made, "fr", dice, 300)
        rows.append(row(text, "fr"))
        if dice.random() < 0.3:
            for _ in range(dice.randrange(1, 4)):
                rows.append(row(near_copy(text, rows[0]["text"], "fr", 0.93, True, dice), "fr"))
        if dice.random() < 0.1:
            rows.append(row(text.upper(), "fr", url="https://example.org/again"))
    dice.shuffle(rows)
    half = len(rows) // 2
    return [
        put_folder(tmp_path / name, part, group_rows=50) for name, part in (("one", rows[:half]), ("two", rows[half:]))
    ]


def test_planted_copies_are_found_in_all_languages_and_less_similar_ones_are_not(planted, run, made, tmp_path):
    folder, pairs = planted
    done = run("deduplicate.py", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    removed = found(made, tmp_path / "out")
    similar = 0
    for text, copy, language in pairs:
        ids = {document_id(text), document_id(copy)}
        measured = true_similarity(text, copy, language)
        assert bool(ids & set(removed)) == (measured >= 0.8), (language, measured)
        for one in ids & set(removed):
            entry = removed[one]
            assert {one, entry["kept_id"]} == ids and entry["cluster"] == entry["kept_id"]
            assert entry["similarity"] == pytest.approx(measured, abs=1e-6)
            assert (entry["language"], entry["source"], entry["reason"]) == (language, "web", "near duplicate")
            assert entry["origin"] == f"https://example.org/{one}"
        similar += measured >= 0.8
    assert similar > 60 and list(removed) == sorted(removed)
    counts = made.manifest(tmp_path / "out")["counts"]
    assert set(counts) == set(LANGUAGES)
    assert sum(c["near_duplicates"] for c in counts.values()) == sum(c["clusters"] for c in counts.values()) == similar


def test_the_same_text_in_another_language_is_no_duplicate(run, made, tmp_path):
    text = shuffled_text(made, "en", random.Random(1))
    folder = put_folder(tmp_path / "in", [row(text), row(text + " x", "fr"), row(text + " y", "fr")])
    assert run("deduplicate.py", folder, "--out", tmp_path / "out").returncode == 0
    assert [entry["language"] for entry in found(made, tmp_path / "out").values()] == ["fr"]


def test_kept_are_first_the_better_source_then_the_longer_text_then_the_less_id(run, made, tmp_path):
    dice = random.Random(2)
    text = shuffled_text(made, "en", dice)
    website = put_folder(tmp_path / "website", [row(text + " one")], source="website")
    web = put_folder(tmp_path / "web", [row(text + " one more and more"), row(text)])
    assert run("deduplicate.py", web, website, "--out", tmp_path / "source").returncode == 0
    assert {e["kept_id"] for e in found(made, tmp_path / "source").values()} == {document_id(text + " one")}
    assert run("deduplicate.py", web, "--out", tmp_path / "length").returncode == 0
    longest = document_id(text + " one more and more")
    assert {e["kept_id"] for e in found(made, tmp_path / "length").values()} == {longest}
    equal = [text + f" {number}" for number in range(5)]
    folder = put_folder(tmp_path / "ids", [row(one) for one in equal])
    assert run("deduplicate.py", folder, "--out", tmp_path / "id").returncode == 0
    assert {e["kept_id"] for e in found(made, tmp_path / "id").values()} == {min(map(document_id, equal))}


def test_exact_duplicates_are_counted_and_each_id_is_handled_once(run, made, tmp_path):
    """Of equal texts the origin is that of the one which build_corpus.py keeps: best source, then first origin."""
    text = shuffled_text(made, "en", random.Random(4))
    web = put_folder(
        tmp_path / "web",
        [
            row(text, url="b"),
            row(text.upper(), url="a"),
            row(text, url="c"),
            row(text + " and more"),
            row("..."),
            row("!"),
            row("... "),
        ],
    )
    done = run("deduplicate.py", web, "--out", tmp_path / "out")
    counts = made.manifest(tmp_path / "out")["counts"]["en"]
    assert counts == {
        "documents": 7,
        "exact_duplicates": 3,
        "without_words": 2,
        "compared": 2,
        "near_duplicates": 1,
        "clusters": 1,
        "kept_apart": 0,
    }
    assert "7 documents, 3 exact duplicates, 1 near duplicates in 1 clusters, 2 without words" in done.stdout
    (entry,) = found(made, tmp_path / "out").values()
    assert entry["id"] == document_id(text) and entry["origin"] == "a"


def test_the_end_of_a_chain_stays_when_it_shares_less_than_half_with_the_one_kept(run, made, tmp_path):
    dice = random.Random(6)
    words = shuffled_text(made, "en", dice, 400).split()
    fresh = shuffled_text(made, "de", dice, 400).split()
    chain = [" ".join(fresh[: 20 * link] + words[20 * link :]) for link in range(14)]
    assert true_similarity(chain[0], chain[1], "en") > 0.8 and true_similarity(chain[0], chain[-1], "en") < 0.3
    folder = put_folder(tmp_path / "in", [row(text) for text in chain])
    assert run("deduplicate.py", folder, "--out", tmp_path / "out").returncode == 0
    removed = found(made, tmp_path / "out")
    texts = {document_id(text): text for text in chain}
    for one, entry in removed.items():
        assert entry["kept_id"] not in removed
        measured = true_similarity(texts[one], texts[entry["kept_id"]], "en")
        assert measured == pytest.approx(entry["similarity"], abs=1e-6)
        assert entry["similarity"] >= 0.5
    counts = made.manifest(tmp_path / "out")["counts"]["en"]
    assert counts["near_duplicates"] + counts["kept_apart"] + 1 == len(chain) and counts["kept_apart"] >= 1


def test_ten_thousand_pages_of_one_template_are_one_cluster(run, made, tmp_path):
    dice = random.Random(7)
    template = shuffled_text(made, "en", dice, 60)
    folder = put_folder(tmp_path / "in", [row(f"{template} page {number}") for number in range(10_000)])
    assert run("deduplicate.py", folder, "--out", tmp_path / "out", "--workers", 1).returncode == 0
    counts = made.manifest(tmp_path / "out")["counts"]["en"]
    assert (counts["near_duplicates"], counts["clusters"]) == (9999, 1)


def test_order_of_inputs_units_workers_and_shards_make_no_difference(large, run, made, tmp_path):
    one, two = large
    assert run("deduplicate.py", one, two, "--out", tmp_path / "plain", "--workers", 1).returncode == 0
    wanted = made.files(tmp_path / "plain")
    counts = made.manifest(tmp_path / "plain")["counts"]
    assert counts["fr"]["near_duplicates"] > 150 and counts["fr"]["exact_duplicates"] > 20
    done = run("deduplicate.py", two, one, "--out", tmp_path / "other", "--workers", 2, "--unit-mb", 1)
    assert "4/4 signatures of units" in done.stdout or "3/3 signatures of units" in done.stdout
    assert made.files(tmp_path / "other") == wanted
    shards = [
        run(
            "deduplicate.py",
            one,
            two,
            "--out",
            tmp_path / "shards",
            "--unit-mb",
            1,
            "--shard",
            f"{shard}/3",
            "--workers",
            1,
        )
        for _ in range(2)
        for shard in range(3)
    ]
    assert [done.returncode for done in shards] == [0] * 6
    assert "start all shards again" in shards[0].stdout and "near duplicates in" in shards[-1].stdout
    assert made.files(tmp_path / "shards") == wanted
    assert made.manifest(tmp_path / "shards")["counts"] == counts
    assert not (tmp_path / "shards" / "parts").exists()


@pytest.mark.parametrize("begun", ["unit-00000/done.json", "catalogue/counts.json", "pairs/fr-004.npy"])
def test_a_run_killed_at_any_step_goes_on_to_the_same_bytes(large, run, made, tmp_path, begun):
    out = tmp_path / "out"
    arguments = [*large, "--out", out, "--unit-mb", 1, "--workers", 1]
    killed = made.start_and_kill("deduplicate.py", arguments, (out / "parts" / begun).exists)
    assert killed or "unit" not in begun
    assert not (out / "manifest.json").exists() or not killed
    done = run("deduplicate.py", *arguments)
    assert done.returncode == 0 and ("resuming" in done.stdout or not killed)
    run("deduplicate.py", *large, "--out", tmp_path / "whole")
    assert made.files(out) == made.files(tmp_path / "whole")


def test_a_unit_that_was_half_written_is_written_again(large, run, made, tmp_path):
    out = tmp_path / "out"
    run("deduplicate.py", *large, "--out", out, "--unit-mb", 1, "--shard", "0/2", "--workers", 1)
    unit = out / "parts" / "unit-00000"
    (unit / "done.json").unlink()
    (unit / "keys.bin").write_bytes(b"half")
    (unit / "documents.npy").unlink()
    assert run("deduplicate.py", *large, "--out", out, "--unit-mb", 1).returncode == 0
    run("deduplicate.py", *large, "--out", tmp_path / "whole")
    assert made.files(out) == made.files(tmp_path / "whole")


def test_a_finished_list_is_reused_and_another_ones_folder_is_refused(planted, large, run, tmp_path):
    folder, _ = planted
    out = tmp_path / "out"
    assert run("deduplicate.py", folder, "--out", out).returncode == 0
    assert "reused" in run("deduplicate.py", folder, "--out", out).stdout
    other = run("deduplicate.py", folder, large[0], "--out", out)
    assert other.returncode == 2 and "different inputs" in other.stderr
    other = run("deduplicate.py", folder, "--out", out, "--threshold", 0.9)
    assert other.returncode == 2 and "different arguments (threshold)" in other.stderr


def test_an_unfinished_run_of_other_inputs_or_units_is_refused(large, run, tmp_path):
    one, two = large
    arguments = ["--out", tmp_path / "out", "--unit-mb", 1]
    assert run("deduplicate.py", one, two, *arguments, "--shard", "0/2").returncode == 0
    for inputs, flags in (([one], []), ([one, two], ["--unit-mb", 2]), ([one, two], ["--threshold", 0.85])):
        done = run("deduplicate.py", *inputs, *arguments, *flags)
        assert done.returncode == 2 and "unfinished run with different" in done.stderr


def test_bad_inputs_are_named(planted, run, made, tmp_path):
    folder, _ = planted
    out = ["--out", tmp_path / "out"]
    half = tmp_path / "half"
    shutil.copytree(folder, half)
    (half / "manifest.json").unlink()
    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    (cut / "en" / "part-00000.parquet").write_bytes(b"PAR1")
    empty = write_finished_folder(tmp_path / "empty", {})
    cases = [
        ([half], [], "incomplete"),
        ([cut], [], "is not the file its manifest describes"),
        ([tmp_path / "nowhere"], [], "is not a folder"),
        ([folder, folder], [], "given twice"),
        ([empty], [], "nothing to compare"),
        ([folder], ["--threshold", 0.3], "from 0.5 to 1"),
        ([folder], ["--workers", 0], "at least 1"),
        ([folder], ["--out", folder / "out"], "is inside the input"),
        ([folder], ["--shard", "4/3"], "shard"),
    ]
    for inputs, flags, message in cases:
        done = run("deduplicate.py", *inputs, *out, *flags)
        assert done.returncode == 2 and message in done.stderr, (message, done.stderr)
        assert not (tmp_path / "out" / "manifest.json").exists()
    done = run("deduplicate.py", folder, empty, *out)
    assert (
        done.returncode == 0 and f"{empty} (data_collection/filter.py), 0 units: it contains no document" in done.stdout
    )


def test_documents_in_other_languages_are_counted_and_not_compared(run, made, tmp_path):
    text = shuffled_text(made, "fr", random.Random(8))
    folder = put_folder(tmp_path / "in", [row(text + f" {n}", language) for language in ("it", "fr") for n in range(3)])
    done = run("deduplicate.py", folder, "--out", tmp_path / "out")
    assert done.returncode == 0 and "not compared: 3 (language is none of the eight)" in done.stdout
    assert {entry["language"] for entry in found(made, tmp_path / "out").values()} == {"fr"}


def test_a_dry_run_writes_nothing(planted, run, tmp_path):
    done = run("deduplicate.py", planted[0], "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == 0 and "bands: 21" in done.stdout and not (tmp_path / "out").exists()
