"""How much of the PDFs' text layers `ocr.py` loses: word sequences on which two other programs agree.

poppler's pdftotext and pypdfium2's raw text read the same layer with different code. A sequence of 5 words (on pages
in Chinese or Japanese: 10 characters) that both have on a page, in whatever place, is in the layer; if `ocr.py` lacks
it in `pages.jsonl`, text was lost or put in another order. Each distinct sequence counts once per page. Before the
comparison

    all three   NFKC and case folding; hyphens inside words and at line ends, and Arabic vowel marks, are removed; only
                words, numbers with their decimal point and signs such as % < ± count, no white space or punctuation
                (so a tab or | between cells is nothing); a space parts a Latin from an Arabic word
    ours        a figure or letter set high (10⁹) may be joined to its base or not

A sequence that contains a private-use character, U+FFFD or a CJK radical (U+2E80 to U+2EFF) is not counted: `ocr.py`
replaces these. Compared are pages that `ocr.py` took from the text layer. Counted apart are pages that it recognised or
called empty, missing sequences outside the page's visible box (`ocr.py` reads what is seen), and sequences that are in
`pages.jsonl` but not in `documents.jsonl` (running heads, page numbers, front matter).
"""

import json
import re
import subprocess
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filtering.language import count_scripts
from pdf.ocr_files import describe_pdfs, find_pdfs
from readers.corpus_format import PRIVATE_USE
from run_record import InputError, read_json

WORDS, CHARACTERS = 5, 10
PDFTOTEXT_SECONDS = 300  # per PDF
LISTED = 10  # pages in the printed list; the JSON has all
HYPHEN = re.compile(r"(?<=\w)[-\u2010\u2011\u00ac\u00ad\u0002\ufffe]+\s*(?=\w)")
INVISIBLE = re.compile("[\u00ad\u0640\u064b-\u065f\u0670\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
RAISED_ONES = "\u00aa\u00b2\u00b3\u00b9\u00ba\u02b0-\u02b8\u1d2c-\u1d6a\u2070-\u207f"
RAISED = re.compile(rf"(?<=\w)(?=[{RAISED_ONES}])|(?<=[{RAISED_ONES}])(?=\w)")
LATIN_ARABIC = re.compile("(?<=[a-z])(?=[\u0621-\u064a])|(?<=[\u0621-\u064a])(?=[a-z])")
# pdfium and poppler write the two letters of the shape lam-alef in either order, so these letters are sorted.
LAM_ALEF = re.compile("[\u0622\u0623\u0625\u0627\u0644]{2,}")
REPLACED = "\u2e80-\u2eff\ue000-\uf8ff\ufffd\U000f0000-\U0010fffd"
TO_REPLACE = re.compile(f"[{REPLACED}]")
UNIT = re.compile(rf"\d+(?:[.,]\d+)*|(?:[^\W\d_]|[{REPLACED}])+|[%‰°<>≤≥±×÷=+≈≠√∞]")
COUNTED = ("pages", "pdftotext", "pypdfium2", "agreed", "missing", "outside", "private")


class Units(NamedTuple):
    """The words of a text, or its characters; a sequence is `length` of them."""

    units: list[str]
    length: int
    joint: str

    def sequences(self) -> list[str]:
        """All sequences in order; "" in the place of one with a character that ocr.py replaces."""
        texts = (self.joint.join(self.units[i : i + self.length]) for i in range(len(self.units) - self.length + 1))
        return ["" if TO_REPLACE.search(text) else text for text in texts]


class PageCount(NamedTuple):
    pdftotext: int  # distinct sequences
    pypdfium2: int
    agreed: int  # sequences that both programs have
    missing: list[str]  # agreed ones that pages.jsonl lacks, joined to passages where they overlap
    missing_sequences: int
    outside: list[str]  # passages of agreed sequences that it lacks and that lie outside the page; not among `missing`
    outside_sequences: int
    removed: list[str]  # agreed ones that pages.jsonl has and documents.jsonl lacks, joined to passages
    removed_sequences: int


def require_pdftotext() -> str:
    """Its version. Errors: InputError if poppler's program is missing."""
    try:
        done = subprocess.run(["pdftotext", "-v"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(
            "pdftotext is missing, which --pdfs compares with; install the Debian package poppler-utils"
        ) from None
    return done.stderr.partition("\n")[0].strip()


def by_characters(text: str) -> bool:
    """Whether more than half of a text's letters are Chinese or Japanese, which have no spaces."""
    scripts = count_scripts(text)
    return scripts["Han"] + scripts["Kana"] > 0.5 * sum(scripts.values())


def units_of(text: str, characters: bool) -> Units:
    """The words and signs of a text after the changes that this module's docstring names."""
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-")  # the minus sign
    text = INVISIBLE.sub("", HYPHEN.sub("", text)).casefold()
    text = LATIN_ARABIC.sub(" ", text)
    text = LAM_ALEF.sub(lambda run: "".join(sorted(run[0])), text)
    units = UNIT.findall(text)
    return Units(list("".join(units)), CHARACTERS, "") if characters else Units(units, WORDS, " ")


def own_sequences(text: str, characters: bool) -> set[str]:
    """The sequences of a text of ocr.py, with figures set high joined to their words, and apart from them."""
    texts = {text, RAISED.sub(" ", text)}
    return {sequence for text in texts for sequence in units_of(text, characters).sequences()}


def passages(shown: Units, wanted: set[str]) -> list[str]:
    """The wanted sequences of a text in its order; those that overlap or touch become one passage."""
    found, end = [], -1
    for i, sequence in enumerate(shown.sequences()):
        if sequence in wanted:
            if i <= end:
                found[-1][1] = i + shown.length
            else:
                found.append([i, i + shown.length])
            end = i + shown.length
    return [shown.joint.join(shown.units[first:last]) for first, last in found]


def compare(
    text: str, document: str | set[str], pdftotext: str, pypdfium2: str, visible: str | None = None
) -> PageCount:
    """Compare a page's text with the two programs'.

    document: the text of its PDF in documents.jsonl, or own_sequences of it. visible: pypdfium2's text inside the
    page's box; None: all of it.
    """
    characters = by_characters(pdftotext)
    shown = units_of(pdftotext, characters)
    first, second = set(shown.sequences()) - {""}, set(units_of(pypdfium2, characters).sequences()) - {""}
    agreed, ours = first & second, own_sequences(text, characters)
    kept = document if isinstance(document, set) else own_sequences(document, characters)
    missing, removed = agreed - ours, (agreed & ours) - kept
    outside = set() if visible is None else missing - set(units_of(visible, characters).sequences())
    missing -= outside
    counts = (part for found in (missing, outside, removed) for part in (passages(shown, found), len(found)))
    return PageCount(len(first), len(second), len(agreed), *counts)


def private_characters(text: str) -> int:
    return len(PRIVATE_USE.findall(text))


def visible_text(page, text_page) -> str | None:
    """pypdfium2's text of the characters inside the page's box; None if all are."""
    import pypdfium2.raw as raw

    left, bottom, right, top = page.get_bbox()
    inside, count = [], text_page.count_chars()
    for i in range(count):
        x0, y0, x1, y1 = text_page.get_charbox(i)
        is_drawn = x1 > x0 and y1 > y0  # else it is a space or line end that pdfium made up
        if not is_drawn or (left <= (x0 + x1) / 2 <= right and bottom <= (y0 + y1) / 2 <= top):
            inside.append(chr(raw.FPDFText_GetUnicode(text_page, i)))
    if len(inside) == count:
        return None
    return "".join(inside).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def other_texts(path: Path, numbers: list[int]) -> Iterator[tuple[int, str, str, str | None]]:
    """(number, pdftotext's text, pypdfium2's, its visible_text) of these pages of a PDF that opens without a password.

    numbers: from 1. Errors: OSError if pdftotext gives no text or takes over PDFTOTEXT_SECONDS.
    """
    import pypdfium2

    pages = ["-f", "1", "-l", str(max(numbers))]
    command = ["pdftotext", "-q", "-enc", "UTF-8", *pages, "--", str(path), "-"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PDFTOTEXT_SECONDS)
    except subprocess.TimeoutExpired:
        raise OSError(f"pdftotext took over {PDFTOTEXT_SECONDS} s") from None
    if done.returncode and not done.stdout:
        raise OSError(f"pdftotext ended with exit code {done.returncode}")
    poppler = done.stdout.decode("utf-8", "replace").split("\f")
    with pypdfium2.PdfDocument(path) as document:
        for number in numbers:
            try:
                page = document[number - 1]
                text_page = page.get_textpage()
                text, visible = text_page.get_text_range(errors="replace"), visible_text(page, text_page)
                text_page.close()
            except pypdfium2.PdfiumError:
                text, visible = "", None
            yield number, (poppler[number - 1] if number <= len(poppler) else ""), text, visible


def check_output(pdfs: Path, out: Path) -> dict[str, Path]:
    """{name: PDF} that a finished output of ocr.py was made from. Errors: InputError if the PDFs are not these."""
    made_from = read_json(out / "manifest.json").get("inputs", {}).get("files")
    if not isinstance(made_from, dict) or not (out / "pages.jsonl").is_file():
        raise InputError(f"{out} is not an output of ocr.py (no pages.jsonl, or no inputs in manifest.json)")
    found = find_pdfs(pdfs).pdfs
    here = {name: path for name, path in found.items() if name in made_from}
    described = describe_pdfs(here)
    for name, facts in made_from.items():
        if described.get(name) != facts:
            raise InputError(f"{out} was made from another {name} than {pdfs} has; give the folder it was made from")
    return here


def lines_of(path: Path) -> Iterator[dict]:
    with open(path, encoding="utf-8") as file:
        yield from map(json.loads, file)


def measure_agreement(pdfs: Path, out: Path) -> dict:
    """Compare a finished output of ocr.py with the two programs on its PDFs; prints tables.

    Returns {"languages", "folders", "apart" (by method): {group: {one of COUNTED: n}}, "not_compared": {reason: names},
    "private_in_documents", "removed": numbers, "missing_pages", "outside_pages", "removed_pages", "apart_pages": [a
    page's counts and passages]}.
    """
    paths = check_output(pdfs, out)
    documents = {line["origin"]: line["text"] for line in lines_of(out / "documents.jsonl")}
    pages: dict[str, list[dict]] = defaultdict(list)
    for page in lines_of(out / "pages.jsonl"):
        pages[page["document"]].append(page)
    tables: dict[str, dict[str, Counter]] = {name: defaultdict(Counter) for name in ("languages", "folders", "apart")}
    lists: dict[str, list[dict]] = {f"{kind}_pages": [] for kind in ("missing", "outside", "removed", "apart")}
    not_compared: dict[str, list[str]] = defaultdict(list)
    for name, read in pages.items():
        by_number = {page["page"]: page for page in read}
        kept = {flag: own_sequences(documents.get(name, ""), flag) for flag in (False, True)}
        try:
            others = list(other_texts(paths[name], sorted(by_number)))
        except Exception as error:  # whatever is wrong with the PDF: ocr.py read it, and its pages are listed
            not_compared[f"{type(error).__name__}: {error}"].append(name)
            continue
        for number, *texts in others:
            page = by_number[number]
            is_layer = page["method"] == "text_layer"
            counted = compare(page["text"], kept[by_characters(texts[0])], *texts)
            row = {"pages": 1, "private": private_characters(page["text"])} | {
                key: getattr(counted, key) for key in ("pdftotext", "pypdfium2", "agreed")
            }
            row |= {"missing": counted.missing_sequences, "outside": counted.outside_sequences}
            if is_layer:
                tables["languages"][page["language"]].update(row)
                tables["folders"][name.split("/")[0] if "/" in name else "."].update(row)
            else:
                tables["apart"][page["method"]].update(row)
            about = {"document": name, "page": number, "language": page["language"], "agreed": counted.agreed}
            if not is_layer:
                about |= {key: page[key] for key in ("method", "reason", "confidence", "layer") if key in page}
            for kind in ("missing", "outside", "removed"):
                if n := getattr(counted, f"{kind}_sequences"):
                    where = f"{kind}_pages" if is_layer else "apart_pages" if kind == "missing" else None
                    if where:
                        lists[where].append(about | {kind: n, "passages": getattr(counted, kind)})
    for failure in lines_of(out / "failures.jsonl"):
        what = failure["document"] + (f", page {failure['page']}" if failure["page"] else "")
        not_compared[f"ocr.py: {failure['reason']}"].append(what)
    results = {
        **{name: {group: dict(row) for group, row in sorted(rows.items())} for name, rows in tables.items()},
        "private_in_documents": sum(map(private_characters, documents.values())),
        "removed": sum(page["removed"] for page in lists["removed_pages"]),
        "not_compared": dict(sorted(not_compared.items())),
        **lists,
    }
    print_agreement(results)
    return results


def print_agreement(results: dict) -> None:
    """Print the tables and the pages that lack most."""

    def table(title: str, rows: dict[str, dict]) -> None:
        heads = (
            "pages",
            "pdftotext",
            "pypdfium2",
            "agreed",
            "of pdftotext's",
            "missing",
            "share",
            "outside",
            "private-use",
        )
        print(f"| {title} | {' | '.join(heads)} |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
        for group, row in rows.items():
            n = {key: row.get(key, 0) for key in COUNTED}
            agreement, share = percent(n["agreed"], n["pdftotext"]), percent(n["missing"], n["agreed"], 2)
            print(
                f"| {group} | {n['pages']} | {n['pdftotext']} | {n['pypdfium2']} | {n['agreed']} | {agreement} | "
                f"{n['missing']} | {share} | {n['outside']} | {n['private']} |"
            )

    total: Counter = Counter()
    for row in results["languages"].values():
        total.update(row)
    table("pages from the text layer", results["languages"] | {"all": total})
    if set(results["folders"]) - {"."}:
        table("folder", results["folders"])
    if results["apart"]:
        table("pages not from the layer", results["apart"])
    print(f"private-use characters in documents.jsonl: {results['private_in_documents']}")
    print(f"in pages.jsonl but not in documents.jsonl (heads, page numbers, front matter): {results['removed']}")
    for reason, names in results["not_compared"].items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        print(f"not compared: {', '.join(names[:3])}{more}: {reason}")
    worst = sorted(results["missing_pages"], key=lambda page: (-page["missing"], page["document"], page["page"]))
    for page in worst[:LISTED]:
        text = max(page["passages"], key=len)
        print(f"{page['document']}, page {page['page']}: {page['missing']} of {page['agreed']} missing: {text[:100]}")


def percent(part: int, whole: int, digits: int = 1) -> str:
    return f"{100 * part / whole:.{digits}f} %" if whole else "-"
