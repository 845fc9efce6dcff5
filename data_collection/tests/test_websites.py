"""websites.py: saved pages in any encoding and web archives become documents; what does not is counted by reason."""

import gzip
import importlib.util
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from web import web_archives
from web.web_archives import next_start, parts_of
from web.web_pages import decode_page, read_page


@pytest.fixture
def sample(made):
    return made.stage / "sample" / "websites"


@pytest.fixture(scope="module")
def maker():
    """The script that makes the sample's sites, for its records of archives."""
    import sys
    from pathlib import Path

    folder = Path(__file__).resolve().parents[1] / "sample"
    spec = importlib.util.spec_from_file_location("make_corpus_sample", folder / "make_corpus_sample.py")
    sys.modules["make_corpus_sample"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    spec = importlib.util.spec_from_file_location("make_website_sample", folder / "make_website_sample.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(text: str, language: str = "", head: str = "", encoding: str = "utf-8") -> bytes:
    lang = f' lang="{language}"' if language else ""
    return (
        f"<html{lang}><head>{head}</head><body><main><article><h1>Pneumonia</h1><p>{text}</p>"
        "</article></main></body></html>"
    ).encode(encoding)


def put(path, content: bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def documents(out, made) -> dict[str, dict]:
    return {row["origin"]: row for file in sorted(out.glob("*/*.parquet")) for row in made.table(file)}


def test_the_samples_sites_become_documents_and_every_other_file_is_accounted_for(run, made, sample, tmp_path):
    done = run("websites.py", sample, "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    found = documents(tmp_path / "out", made)
    assert {
        origin.removeprefix("https://health.example.org/"): (row["language"], row["source"], row["licence"])
        for origin, row in found.items()
    } == {
        name: (name[:2], "website", "CC-BY-4.0")
        for name in (
            "ar/rabw",
            "de/gicht",
            "en/asthma",
            "en/blood_pressure",
            "en/measles",
            "es/diabetes",
            "fr/migraine",
            "ja/hinketsu",
            "ru/yazva",
            "zh/guzhishusong",
        )
    }
    assert "الشعب الهوائية" in found["https://health.example.org/ar/rabw"]["text"]
    assert "ヘモグロビン" in found["https://health.example.org/ja/hinketsu"]["text"]
    for row in found.values():
        assert "\ufffd" not in row["text"]
        assert not any(word in row["text"] for word in ("Contact", "Темы", "ホーム", "example.org"))  # menu and footer
    assert {(line["origin"], line["reason"]) for line in made.lines(tmp_path / "out" / "left_out.jsonl")} == {
        ("en/moved.html", "redirect"),
        ("style.css", "not_html"),
        ("https://health.example.org/logo.png", "not_html"),
        ("https://health.example.org/en/rubeola", "redirect"),
    }
    assert [f["file"] for f in made.lines(tmp_path / "out" / "failures.jsonl")] == ["en/broken.html"]
    manifest = made.manifest(tmp_path / "out")
    assert manifest["counts"]["und"]["broken_encoding"] == 1
    assert sum(row["read"] for row in manifest["counts"].values()) == len(found) + 4 + 1
    assert run("build_corpus.py", tmp_path / "out", "--out", tmp_path / "corpus").returncode == 0
    assert run("check_corpus.py", tmp_path / "corpus").returncode == 0
    assert (tmp_path / "corpus" / "ja" / "website" / "part-00000.parquet").exists()


def test_the_samples_files_are_those_its_script_makes(maker, sample, tmp_path):
    assert maker.main(["--out", str(tmp_path)]) == 0
    made = {p.relative_to(tmp_path / "websites"): p for p in (tmp_path / "websites").rglob("*") if p.is_file()}
    assert made.keys() == {p.relative_to(sample) for p in sample.rglob("*") if p.is_file()}
    for name, path in made.items():
        unpack = gzip.decompress if path.suffix == ".gz" else bytes  # packed bytes follow zlib's version
        assert unpack(path.read_bytes()) == unpack((sample / name).read_bytes()), name


@pytest.mark.parametrize(
    ("encoding", "declared", "head"),
    [
        ("utf-8", "", ""),
        ("utf-8", "iso-8859-15", ""),
        ("utf-8-sig", "", ""),
        ("utf-16", "", ""),
        ("windows-1251", "windows-1251", ""),
        ("windows-1251", "", '<meta charset="windows-1251">'),
        ("koi8-r", "", '<meta http-equiv="Content-Type" content="text/html; charset=KOI8-R">'),
        ("windows-1251", "", ""),
        ("utf-16-le", "utf-16le", ""),
    ],
)
def test_a_page_is_decoded_however_it_was_encoded(made, encoding, declared, head):
    raw = page(made.medical["ru"], "ru", head, encoding)
    assert "Пациент поступил в больницу" in decode_page(raw, declared)


@pytest.mark.parametrize(
    ("language", "encoding", "declared"),
    [
        ("ja", "shift_jis", "Shift_JIS"),
        ("ja", "euc-jp", "euc-jp"),
        ("ja", "iso-2022-jp", "iso-2022-jp"),
        ("zh", "gb18030", "GB2312"),
        ("zh", "gb18030", "gbk"),
        ("ar", "windows-1256", "windows-1256"),
        ("es", "iso-8859-1", "latin1"),
        ("fr", "cp1252", "ISO-8859-1"),
    ],
)
def test_the_old_encodings_of_each_language_are_read(made, language, encoding, declared):
    text = made.medical[language].replace("'", "\u2019") if encoding == "cp1252" else made.medical[language]
    assert text in decode_page(page(text, language, encoding=encoding), declared)


def test_what_a_page_says_of_itself_is_heard(made):
    head = (
        '<link rel="canonical" href="/p/1"><a rel="nofollow license" '
        'href="https://creativecommons.org/licenses/by-sa/4.0/deed.fr">x</a>'
    )
    found = read_page(page(made.medical["fr"], "fr-CA", head), "", "https://example.org/a?b=c")
    assert (found.language, found.address, found.licence) == ("fr", "https://example.org/p/1", "CC-BY-SA-4.0")
    head = (
        '<meta property="og:url" content="https://example.org/og"><meta property="og:locale" content="fr_FR">'
        '<link rel="license" href="/terms">'
    )
    found = read_page(page(made.medical["fr"], "", head), "", "https://example.org/x")
    assert (found.language, found.address, found.licence) == (
        "fr",
        "https://example.org/og",
        "https://example.org/terms",
    )
    found = read_page(page(made.medical["fr"], "", '<link rel="canonical" href="http://[">'), "", "")
    assert (found.language, found.address, found.licence) == ("", "", "")


def test_the_text_decides_where_a_page_declares_a_wrong_language_and_languages_not_asked_for_stay_out(
    run, made, tmp_path
):
    put(tmp_path / "in" / "a.html", page(made.medical["fr"], "en"))
    put(tmp_path / "in" / "de" / "b.html", page(made.medical["de"]))
    put(tmp_path / "in" / "c.html", page(made.medical["ru"], "ru"))
    put(tmp_path / "in" / "pt.html", page("O doente tem febre, tosse e dor no peito há três dias, não melhora.", "pt"))
    done = run("websites.py", tmp_path / "in", "--out", tmp_path / "out", "--languages", "fr", "de")
    assert done.returncode == 0, done.stderr
    assert {name: row["language"] for name, row in documents(tmp_path / "out", made).items()} == {
        "a.html": "fr",
        "de/b.html": "de",
    }
    counts = made.manifest(tmp_path / "out")["counts"]
    assert (counts["ru"]["other_language"], counts["pt"]["other_language"]) == (1, 1)
    assert made.manifest(tmp_path / "out")["relabelled"] == 1
    assert "other_language 1" in done.stdout
    assert {line["origin"] for line in made.lines(tmp_path / "out" / "left_out.jsonl")} == {"c.html", "pt.html"}


def archive_of(maker, made, count: int = 6) -> bytes:
    content = b""
    for i in range(count):
        body = page(f"{made.medical['en']} Case {i}.", "en")
        content += maker.response(f"https://example.org/{i}", "200 OK", "Content-Type: text/html\r\n", body)
    return content


def test_an_archive_is_cut_into_parts_at_records_and_read_the_same_in_any_number(
    run, made, maker, tmp_path, monkeypatch
):
    packed = archive_of(maker, made)
    path = put(tmp_path / "in" / "a.warc.gz", packed)
    plain = put(tmp_path / "plain" / "a.warc", gzip.decompress(packed))
    assert run("websites.py", tmp_path / "in", "--out", tmp_path / "whole").returncode == 0
    assert run("websites.py", tmp_path / "plain", "--out", tmp_path / "unpacked").returncode == 0
    whole = documents(tmp_path / "whole", made)
    assert len(whole) == 6
    assert documents(tmp_path / "unpacked", made) == whole
    for file, size in ((path, len(packed) // 3), (plain, plain.stat().st_size // 3)):
        parts = parts_of(file, size)
        assert 2 <= len(parts) <= 4
        records = [r.address for part in parts for r in web_archives.read_records(file, *part, 10**6)]
        assert records == [f"https://example.org/{i}" for i in range(6)]
    monkeypatch.setattr("websites.parts_of", lambda p, size: parts_of(p, len(packed) // 3))
    assert run("websites.py", tmp_path / "in", "--out", tmp_path / "cut", "--workers", 2).returncode == 0
    assert documents(tmp_path / "cut", made) == whole


def test_an_archive_that_is_one_gzip_file_is_read_too(run, made, maker, tmp_path):
    content = gzip.decompress(archive_of(maker, made, 3))
    put(tmp_path / "in" / "a.warc.gz", gzip.compress(content))
    assert run("websites.py", tmp_path / "in", "--out", tmp_path / "out").returncode == 0
    assert len(documents(tmp_path / "out", made)) == 3


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_that_was_cut_short_gives_what_is_whole_and_names_the_place(run, made, maker, tmp_path, packed):
    content = archive_of(maker, made, 3)
    if not packed:
        content = gzip.decompress(content)
    put(tmp_path / "in" / ("a.warc.gz" if packed else "a.warc"), content[:-200])
    done = run("websites.py", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert set(documents(tmp_path / "out", made)) == {"https://example.org/0", "https://example.org/1"}
    failures = made.lines(tmp_path / "out" / "failures.jsonl")
    assert failures and all(f["file"].startswith("a.warc") and "byte" in f["file"] for f in failures)


def test_after_damage_in_a_packed_archive_the_next_record_is_read(run, made, maker, tmp_path):
    content = bytearray(archive_of(maker, made, 4))
    path = put(tmp_path / "in" / "a.warc.gz", bytes(content))
    second = next_start(path, 1)
    content[second + 60 : second + 120] = b"\x00" * 60
    path.write_bytes(content)
    done = run("websites.py", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr
    assert {"https://example.org/0", "https://example.org/2", "https://example.org/3"} <= set(
        documents(tmp_path / "out", made)
    )
    assert any(f"byte {second}" in f["file"] for f in made.lines(tmp_path / "out" / "failures.jsonl"))


def test_pages_packed_by_brotli_are_read_those_behind_them_too_and_no_bomb_fills_the_memory(made, maker, tmp_path):
    import tracemalloc

    import brotli

    head, body = "Content-Type: text/html\r\nContent-Encoding: br\r\n", page(made.medical["en"], "en") + b" " * 50_000
    packer = brotli.Compressor(quality=5)
    bomb = b"".join(packer.process(b"<p>" + b"a" * 10_000_000) for _ in range(20)) + packer.finish()
    records = [
        maker.response(f"https://example.org/{name}", "200 OK", head, content)
        for name, content in (("page", brotli.compress(body)), ("bomb", bomb), ("last", brotli.compress(body)))
    ]
    content = gzip.decompress(b"".join(records))
    path = put(tmp_path / "a.warc", content)
    tracemalloc.start()
    found = list(web_archives.read_records(path, 0, len(content), 1_000_000))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(record.problem, record.content == body) for record in found] == [
        ("", True),
        ("too_large", False),
        ("", True),
    ]
    assert most < 50_000_000


def test_each_kind_of_record_without_a_page_has_its_reason(run, made, maker, tmp_path):
    body = page(made.medical["en"], "en")
    html = "Content-Type: text/html\r\n"
    address = "https://example.org/"
    packed = gzip.compress(body)
    chunked = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n" % len(body)
        + body
        + b"\r\n0\r\n\r\n"
    )
    records = [
        maker.response(address + "gone", "404 Not Found", html, body),
        maker.response(address + "moved", "302 Found", html + "Location: /x\r\n", b""),
        maker.response(address + "pdf", "200 OK", "Content-Type: application/pdf\r\n", b"%PDF"),
        maker.response(address + "empty", "200 OK", html, b"<html><head><title>Nothing</title></head></html>"),
        maker.response(address + "packed", "200 OK", html + "Content-Encoding: gzip\r\n", packed),
        maker.record("response", address + "chunked", maker.RESPONSE, chunked),
        maker.record("revisit", address + "again", maker.RESPONSE, b"HTTP/1.1 200 OK\r\n\r\n"),
        maker.record("resource", address + "resource", "text/html", body + b" "),
        maker.record("request", address + "request", "application/http; msgtype=request", b"GET / HTTP/1.1\r\n\r\n"),
        gzip.compress(
            gzip.decompress(maker.response(address + "cut", "200 OK", html, body)).replace(
                b"WARC-Date", b"WARC-Truncated: length\r\nWARC-Date", 1
            )
        ),
        maker.response(address + "long", "200 OK", html, body + b" " * 1_000_000),
    ]
    put(tmp_path / "in" / "a.warc.gz", b"".join(records))
    done = run("websites.py", tmp_path / "in", "--out", tmp_path / "out", "--page-mb", 1)
    assert done.returncode == 3, done.stderr
    assert set(documents(tmp_path / "out", made)) == {address + name for name in ("packed", "chunked", "resource")}
    assert {
        line["origin"].removeprefix(address): line["reason"] for line in made.lines(tmp_path / "out" / "left_out.jsonl")
    } == {"gone": "http_error", "moved": "redirect", "pdf": "not_html", "empty": "no_text", "again": "revisit"}
    counts = made.manifest(tmp_path / "out")["counts"]["und"]
    assert (counts["truncated"], counts["too_large"]) == (1, 1)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00" * 5000,
        b"<html>",
        b"<html><body>" + b"<div>" * 30_000,
        b"<html><body><p>" + bytes(range(256)) * 20,
        b"<p>\xed\xa0\x80</p>" * 50,
        b'<?xml version="1.0" encoding="x-none"?><html><body><p>a</p></body></html>',
    ],
)
def test_no_page_ends_the_run(run, made, tmp_path, raw):
    put(tmp_path / "in" / "a.html", raw)
    put(tmp_path / "in" / "b.html", page(made.medical["en"], "en"))
    assert run("websites.py", tmp_path / "in", "--out", tmp_path / "out").returncode in (0, 3)
    assert sum(row["read"] for row in made.manifest(tmp_path / "out")["counts"].values()) == 2


def test_an_extractor_that_stumbles_costs_its_page_only(run, made, tmp_path, monkeypatch):
    put(tmp_path / "in" / "a.html", page(made.medical["en"], "en"))
    put(tmp_path / "in" / "b.html", page(made.medical["fr"], "fr"))
    real = read_page

    def stumble(raw, declared, address):
        if b"fr" in raw[:20]:
            raise RecursionError("too deep")
        return real(raw, declared, address)

    monkeypatch.setattr("websites.read_page", stumble)
    assert run("websites.py", tmp_path / "in", "--out", tmp_path / "out").returncode == 3
    assert made.lines(tmp_path / "out" / "failures.jsonl") == [{"file": "b.html", "reason": "RecursionError: too deep"}]
    assert set(documents(tmp_path / "out", made)) == {"a.html"}


def test_shards_and_a_killed_run_end_with_the_same_bytes(run, made, tmp_path, monkeypatch):
    for i in range(12):
        put(tmp_path / "in" / f"{i:02d}.html", page(f"{made.medical['en']} Case {i}.", "en"))
    monkeypatch.setattr("websites.FILE_BYTES_AT_LEAST", 400_000)  # units of three files
    arguments = (tmp_path / "in", "--unit-mb", 1)
    assert run("websites.py", *arguments, "--out", tmp_path / "one").returncode == 0
    first = run("websites.py", *arguments, "--out", tmp_path / "two", "--shard", "0/2")
    assert (first.returncode, (tmp_path / "two" / "manifest.json").exists()) == (0, False)
    assert run("websites.py", *arguments, "--out", tmp_path / "two", "--shard", "1/2").returncode == 0
    assert made.files(tmp_path / "one") == made.files(tmp_path / "two")
    assert len(made.files(tmp_path / "one")) == 4 + 2
    # Killed after two units, one of them half-written.
    assert run("websites.py", *arguments, "--out", tmp_path / "three", "--shard", "0/2").returncode == 0
    shutil.rmtree(tmp_path / "three" / "parts" / "00002")
    put(tmp_path / "three" / "parts" / "00001.aside" / "en.parquet", b"PAR1")
    done = run("websites.py", *arguments, "--out", tmp_path / "three")
    assert done.returncode == 0, done.stderr
    assert "1 of 4 units were done before" in done.stdout
    assert made.files(tmp_path / "three") == made.files(tmp_path / "one")
    assert "reused" in run("websites.py", *arguments, "--out", tmp_path / "three").stdout
    refused = run("websites.py", *arguments, "--out", tmp_path / "three", "--languages", "fr")
    assert (refused.returncode, "different arguments (languages)" in refused.stderr) == (2, True)
    put(tmp_path / "in" / "00.html", page(made.medical["en"], "en"))
    refused = run("websites.py", *arguments, "--out", tmp_path / "three")
    assert (refused.returncode, "different inputs (files)" in refused.stderr) == (2, True)


def test_bad_input_and_settings_are_refused_with_a_sentence(run, made, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.html").symlink_to("nowhere.html")
    put(tmp_path / "bad" / "a.html", b"<html><head><meta charset=utf-8></head><p>" + b"\xff\xfeA" * 100)
    put(tmp_path / "in" / "a.html", page(made.medical["en"], "en"))
    for arguments, message in (
        ([tmp_path / "gone"], "does not exist"),
        ([tmp_path / "empty"], "contains no files"),
        ([tmp_path / "links"], "is a link to nothing"),
        ([tmp_path / "bad"], "no document could be kept"),
        ([tmp_path / "in", "--page-mb", 0], "--page-mb 0"),
        ([tmp_path / "in", "--workers", 0], "--workers 0"),
        ([tmp_path / "in", "--unit-mb", 0], "--unit-mb 0"),
    ):
        done = run("websites.py", *arguments, "--out", tmp_path / "out")
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    nested = run("websites.py", tmp_path / "in", "--out", tmp_path / "in" / "out")
    assert (nested.returncode, "is inside the input" in nested.stderr) == (2, True)
    assert run("websites.py", tmp_path / "in", "--out", tmp_path / "dry", "--dry-run").returncode == 0
    assert not (tmp_path / "dry").exists()


def test_memory_stays_small_on_an_archive_far_larger(made, maker, tmp_path):
    """Read record by record: a record is given back before the next is asked for."""
    long = maker.response("https://example.org/video", "200 OK", "Content-Type: video/mp4\r\n", b"\x00" * 30_000_000)
    path = put(tmp_path / "a.warc.gz", long + archive_of(maker, made, 1))
    script = (
        "import resource, sys; from web import web_archives as w; from pathlib import Path; p = Path(sys.argv[1]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "names = [r.address for part in w.parts_of(p, 1000) for r in w.read_records(p, *part, 10**6)];"
        "print(len(names), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script, path], cwd=made.stage, capture_output=True, text=True, check=True
    )
    count, kib = map(int, done.stdout.split())
    assert count == 2
    assert kib < 25_000  # warcio itself, and pieces


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_no_damage_to_an_archive_ends_the_reading(made, maker, tmp_path, data):
    packed = data.draw(st.booleans())
    content = bytearray(archive_of(maker, made, 3) if packed else gzip.decompress(archive_of(maker, made, 3)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
    path = put(tmp_path / ("a.warc.gz" if packed else "a.warc"), bytes(content) or b"x")
    for size in (500, 10**6):
        parts = parts_of(path, size)
        assert all(first < last or last == web_archives.ALL_OF_IT for first, last in parts)
        for part in parts:
            for record in web_archives.read_records(path, *part, 10**6):
                assert record.offset >= 0


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.binary(max_size=300), st.text(max_size=12), st.sampled_from(["", "https://example.org/a", "http://["]))
def test_any_bytes_are_a_page_or_have_a_reason(raw, encoding, address):
    found = read_page(b"<html><body><p>" + raw, encoding, address)
    assert bool(found.text.strip()) != bool(found.reason)
    found.text.encode("utf-8")


def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes(run, made, tmp_path):
    for i in range(300):
        put(tmp_path / "in" / f"{i:03d}.html", page(f"{made.medical['en']} Case {i}.", "en") + b" " * 20_000)
    arguments = [tmp_path / "in", "--unit-mb", 1]
    assert run("websites.py", *arguments, "--out", tmp_path / "one").returncode == 0
    parts = tmp_path / "two" / "parts"
    killed = made.start_and_kill(
        "websites.py",
        [*arguments, "--workers", 1, "--out", tmp_path / "two"],
        lambda: (parts / "00000" / "done.json").exists(),
    )
    done = run("websites.py", *arguments, "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert not killed or "were done before" in done.stdout
    assert made.files(tmp_path / "two") == made.files(tmp_path / "one")
