"""Measure ocr.py: character errors in eight languages, pages per second against pytesseract.

Reads labelled documents (<iso>.parquet with columns text and label, as check_filter.py does). Renders pages of the
medical ones as scanned PDFs in a temporary folder (11 points, --scan-dpi, light noise, 0.3 degrees skew, two or three
fonts per language; `synthetic_scans.py`), and measures what --measure names:

    errors   ocr.py on all of them with --language auto, then on each language's with --language <iso>: edit distance
             between the text in pages.jsonl and the rendered text, both after NFKC and with white space folded, divided
             by the length of the rendered text; CPU seconds per page of the run with the language given, its start
             included
    speed    pages/s and CPU seconds per page, round by round: ocr.py; pytesseract.image_to_string page by page with its
             defaults; the same in as many processes as ocr.py has, with OMP_THREAD_LIMIT=1; pytesseract gets the
             language
    layer    pages/s on one core for PDFs with a text layer: embedded fonts, and Chinese and Japanese ones that are not
             embedded. With --pdfs also what ocr.py loses of their text layers: the share of word sequences on which
             pdftotext (Debian's poppler-utils) and pypdfium2 agree and that pages.jsonl lacks, and the private-use
             characters left (`layer_yardstick.py` has the definition); without INPUT this alone
    scan     ocr.py on --scan PDF; its reference text is beside it as .txt
    plain    the pytesseract side of speed, which that starts: recognises every page of INPUT/<iso>/*.pdf

CPU seconds include child processes (rusage). Example:

    python data_collection/bench_ocr.py ../shared/data/filter_text --pages 12 --json results/bench_ocr.json
    python data_collection/bench_ocr.py --measure layer --pdfs ../shared/data/pdfs --json results/layer.json
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmark_helpers.layer_yardstick import measure_agreement, require_pdftotext
from benchmark_helpers.measurement import Run, add_bench_flags, timed, write_results
from benchmark_helpers.synthetic_scans import comparable, draw_page, drawable, edit_distance, fonts_of, save_pages
from pdf.ocr_document import read_page
from pdf.recognition_engines import CHINESE_ENGINES, TRAINED_DATA
from run_record import InputError, parse_arguments, run_command
from text_layers.text_layer import open_pdf

HERE = Path(__file__).parent
MEASURES = ("errors", "speed", "layer", "scan", "plain")
SIDES = {"ocr.py": "ocr.py", "defaults": "pytesseract", "one-thread": "pytesseract, one thread"}
MIN_CHARACTERS = 600  # of a document for a rendered page
PLAIN_DPI = 200
LAYER_LANGUAGES = ("en", "fr", "ru")
CID_FONTS = {"zh": "STSong-Light", "ja": "HeiseiMin-W3"}  # names that the PDF gives and the reader must have


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    add = parser.add_argument
    add_bench_flags(add, rounds=3, languages=tuple(TRAINED_DATA), core=False, need_input=False)
    add(
        "--measure",
        nargs="+",
        choices=MEASURES,
        default=list(MEASURES[:3]),
        metavar="WHAT",
        help="what to measure: errors, speed, layer, scan, plain (default: errors speed layer)",
    )
    add("--pages", type=int, default=12, help="rendered pages per language (default: %(default)s)")
    add("--pages-a-pdf", type=int, default=4, help="pages per PDF (default: %(default)s)")
    add("--scan-dpi", type=int, default=300, help="resolution of the rendered scans in dpi (default: %(default)s)")
    add("--layer-pages", type=int, default=60, help="pages per PDF with a text layer (default: %(default)s)")
    add("--pdfs", type=Path, metavar="DIR", help="folder of PDFs whose text layers --measure layer compares")
    add(
        "--out",
        type=Path,
        help="ocr.py's output on --pdfs: compared if it is finished, else made (default: a temporary one)",
    )
    add("--scan", type=Path, help="a scanned German PDF with its reference text beside it (.txt), for --measure scan")
    add(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="processes of ocr.py and of pytesseract with one thread (default: one per CPU core, %(default)s here)",
    )
    add(
        "--against",
        nargs="+",
        choices=tuple(SIDES)[1:],
        default=list(SIDES)[1:],
        metavar="SIDE",
        help="baselines for speed: defaults (takes five times as long), one-thread (default: both)",
    )
    add("--cjk-engine", choices=CHINESE_ENGINES, help="ocr.py's engine for Chinese and Japanese (default: its own)")
    add("--keep", type=Path, help="empty folder for the rendered pages (default: a temporary one)")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    check_arguments(args)
    if "plain" in args.measure:
        return recognise_plainly(args.input, args.workers)
    results: dict = {}
    with tempfile.TemporaryDirectory(prefix="bench_ocr_") as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if {"errors", "speed"} & set(args.measure):
            truth = draw_scans(args, folder / "scans")
            print(f"{sum(map(len, truth.values()))} pages rendered in {len(truth)} PDFs")
        if "errors" in args.measure:
            results["errors"] = measure_errors(args, folder, truth)
        if "speed" in args.measure:
            results["speed"] = measure_speed(args, folder, sum(map(len, truth.values())))
        if "layer" in args.measure:
            if args.input:
                results["layer"] = measure_layer(args, folder)
            if args.pdfs:
                results["agreement"] = measure_lost_text(args, folder)
        if "scan" in args.measure:
            results["scan"] = measure_scan(args, folder)
    write_results(args, argv, results)
    return 0


def check_arguments(args: argparse.Namespace) -> None:
    for name in ("pages", "pages_a_pdf", "layer_pages", "scan_dpi", "rounds", "workers"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1")
    if "plain" in args.measure and len(args.measure) > 1:
        raise InputError("--measure plain cannot be combined with others")
    if args.keep and args.keep.exists() and any(args.keep.iterdir()):
        raise InputError(f"--keep {args.keep}: the folder is not empty")
    if args.pdfs and "layer" not in args.measure:
        raise InputError("--pdfs has no effect without --measure layer")
    if args.out and not args.pdfs:
        raise InputError("--out is ocr.py's output on the PDFs of --pdfs: give --pdfs too")
    if args.pdfs:
        require_pdftotext()
    if args.input is None:
        if not args.pdfs or set(args.measure) != {"layer"}:
            raise InputError("give INPUT, the folder of labelled documents, or --measure layer --pdfs DIR alone")
        return
    drawn = args.languages if {"errors", "speed"} & set(args.measure) else []
    layered = (*LAYER_LANGUAGES, *CID_FONTS) if "layer" in args.measure else ()
    for language in sorted({*drawn, *layered}):
        if not (args.input / f"{language}.parquet").is_file():
            raise InputError(
                f"{args.input} contains no {language}.parquet; leave {language} out of --languages"
                + ", and layer out of --measure" * (language not in args.languages)
            )
    if "scan" in args.measure and (args.scan is None or not args.scan.with_suffix(".txt").is_file()):
        raise InputError(
            f"--scan {args.scan}: give a PDF with its reference text beside it (.txt), or remove scan from --measure"
        )


def medical_texts(path: Path, seed: int) -> list[str]:
    """The medical documents of a language that fill a page, in an order that depends on the seed."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path, columns=["text", "label"]).to_pylist()
    texts = [row["text"] for row in rows if row["label"] == "medical" and len(row["text"]) >= MIN_CHARACTERS]
    random.Random(seed).shuffle(texts)
    return texts


def draw_scans(args: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """Render the PDFs folder/<iso>/NN.pdf; returns {"<iso>/NN.pdf": the text of each page}."""
    truth: dict[str, list[str]] = {}
    for language in args.languages:
        fonts, texts = fonts_of(language), medical_texts(args.input / f"{language}.parquet", args.seed)
        (folder / language).mkdir(parents=True)
        for first in range(0, args.pages, args.pages_a_pdf):
            pictures, shown = [], []
            for i in range(first, min(first + args.pages_a_pdf, args.pages)):
                font = fonts[i % len(fonts)]
                while texts and not drawable(texts[-1], font):
                    texts.pop()
                if not texts:
                    raise InputError(f"{args.input / language}.parquet: too few documents for {args.pages} pages")
                picture, text = draw_page(texts.pop(), language, font, args.scan_dpi, args.seed * 1000 + i)
                pictures.append(picture)
                shown.append(text)
            name = f"{language}/{first // args.pages_a_pdf:02d}.pdf"
            save_pages(pictures, folder / name, args.scan_dpi)
            truth[name] = shown
    return truth


def run_ocr(args: argparse.Namespace, pdfs: Path, out: Path, language: str) -> float:
    """ocr.py on a folder or PDF; returns its CPU seconds. Errors: InputError with its message where it fails."""
    command = [sys.executable, HERE / "ocr.py", pdfs, "--out", out, "--language", language, *ocr_flags(args)]
    return timed(command, exit_codes=(0, 3)).cpu_s


def ocr_flags(args: argparse.Namespace) -> list:
    return ["--workers", args.workers, *(["--cjk-engine", args.cjk_engine] if args.cjk_engine else [])]


def pages_read(out: Path) -> dict[tuple[str, int], str]:
    """{(PDF, page from 1): text} of ocr.py's output."""
    with open(out / "pages.jsonl", encoding="utf-8") as file:
        return {(page["document"], page["page"]): page["text"] for page in map(json.loads, file)}


def count_errors(truth: dict[str, list[str]], read: dict[tuple[str, int], str], language: str) -> dict:
    """Edits and characters over a language's pages; a page that was not read counts as empty."""
    shares, edits, characters = [], 0, 0
    for name, texts in truth.items():
        for i, text in enumerate(texts):
            wanted = comparable(text, language)
            wrong = edit_distance(wanted, comparable(read.get((name, i + 1), ""), language))
            edits, characters = edits + wrong, characters + len(wanted)
            shares.append(round(wrong / len(wanted), 4))
    return {
        "pages": len(shares),
        "characters": characters,
        "edits": edits,
        "character_error_rate": round(edits / characters, 4),
        "worst_page": max(shares),
        "by_page": shares,
    }


def measure_errors(args: argparse.Namespace, folder: Path, truth: dict[str, list[str]]) -> dict:
    print(
        "| language | pages | characters | error rate, auto | worst page | error rate, language given | worst page "
        "| CPU s per page |"
    )
    print("|---|---|---|---|---|---|---|---|")
    run_ocr(args, folder / "scans", folder / "out_auto", "auto")
    auto, results = pages_read(folder / "out_auto"), {}
    for language in args.languages:
        cpu_s = run_ocr(args, folder / "scans" / language, folder / f"out_{language}", language)
        mine = {name: texts for name, texts in truth.items() if name.startswith(f"{language}/")}
        given = {
            (f"{language}/{name}", page): text for (name, page), text in pages_read(folder / f"out_{language}").items()
        }
        row = {"auto": count_errors(mine, auto, language), "given": count_errors(mine, given, language)}
        results[language] = {**row, "cpu_s": round(cpu_s, 2)}
        rates = [f"{row[how][key]:.4f}" for how in row for key in ("character_error_rate", "worst_page")]
        pages = row["auto"]["pages"]
        facts = [language, pages, row["auto"]["characters"], *rates, f"{cpu_s / pages:.2f}"]
        print(f"| {' | '.join(map(str, facts))} |", flush=True)
    return results


def measure_speed(args: argparse.Namespace, folder: Path, pages: int) -> dict:
    """{side: {"wall_s": of each round, "cpu_s": ...}}; prints the medians, their spread and the ratios."""
    runs: dict[str, list[Run]] = {SIDES[side]: [] for side in SIDES if side == "ocr.py" or side in args.against}
    scans, plain = folder / "scans", [sys.executable, __file__, folder / "scans", "--measure", "plain", "--workers"]
    for i in range(args.rounds):
        ocr = [sys.executable, HERE / "ocr.py", scans, "--out", folder / f"out_speed_{i}", *ocr_flags(args)]
        commands = {
            "ocr.py": (ocr, {}),
            "pytesseract": ([*plain, 1], {}),
            "pytesseract, one thread": ([*plain, args.workers], {"OMP_THREAD_LIMIT": "1"}),
        }
        for side, measured in runs.items():
            measured.append(timed(*commands[side], exit_codes=(0, 3)))
    print(f"{pages} pages, {args.workers} processes, {args.rounds} rounds")
    print("| side | pages/s (minimum, maximum) | CPU s per page | ocr.py is faster by |")
    print("|---|---|---|---|")
    for side, measured in runs.items():
        rates = sorted(pages / run.wall_s for run in measured)
        ratios = sorted(other.wall_s / ours.wall_s for ours, other in zip(runs["ocr.py"], measured, strict=True))
        print(
            f"| {side} | {statistics.median(rates):.2f} ({rates[0]:.2f}, {rates[-1]:.2f}) | "
            f"{statistics.median(run.cpu_s for run in measured) / pages:.2f} | "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f}) |",
            flush=True,
        )
    return {"pages": pages} | {
        side: {"wall_s": [run.wall_s for run in measured], "cpu_s": [run.cpu_s for run in measured]}
        for side, measured in runs.items()
    }


def recognise_plainly(folder: Path, workers: int) -> int:
    """Read <iso>/*.pdf below a folder with pytesseract alone; threads are tesseract's (OMP_THREAD_LIMIT)."""
    import pypdfium2

    jobs = []
    for path in sorted(folder.glob("*/*.pdf")):
        if path.parent.name in TRAINED_DATA:
            with pypdfium2.PdfDocument(path) as document:
                jobs += [(path, number, path.parent.name) for number in range(len(document))]
    if not jobs:
        raise InputError(f"{folder} contains no <iso>/*.pdf")
    if workers == 1:
        lengths = [read_page_plainly(job) for job in jobs]
    else:
        with ProcessPoolExecutor(workers) as pool:
            lengths = list(pool.map(read_page_plainly, jobs))
    print(f"{len(jobs)} pages, {sum(lengths)} characters")
    return 0


def read_page_plainly(job: tuple[Path, int, str]) -> int:
    """The number of characters that pytesseract reads on a page."""
    import pypdfium2
    import pytesseract

    path, number, language = job
    with pypdfium2.PdfDocument(path) as document:
        picture = document[number].render(scale=PLAIN_DPI / 72, grayscale=True).to_pil()
        return len(pytesseract.image_to_string(picture, lang=TRAINED_DATA[language]))


def measure_layer(args: argparse.Namespace, folder: Path) -> dict:
    """{language: {"font", "pages", "pages_per_cpu_s": of each round}}, with all processing of such a page."""
    results = {}
    print("| text layer | font | pages | pages/s on one core (minimum, maximum) |")
    print("|---|---|---|---|")
    for language in (*LAYER_LANGUAGES, *CID_FONTS):
        texts = medical_texts(args.input / f"{language}.parquet", args.seed)
        path = write_layer_pdf(folder / f"layer_{language}.pdf", texts, language, args.layer_pages)
        rates = []
        for _ in range(args.rounds + 1):
            document = open_pdf(path)
            begun = time.process_time()
            for number in range(len(document)):
                if (record := read_page(document, number, path.name, None, (language,))).get("method") != "text_layer":
                    raise InputError(f"{path.name}, page {number + 1}: its text layer was not used: {record}")
            rates.append(round(args.layer_pages / (time.process_time() - begun), 1))
            document.close()
        rates = sorted(rates[1:])  # the first round includes loading
        font = "not embedded" if language in CID_FONTS else "embedded"
        results[language] = {"font": font, "pages": args.layer_pages, "pages_per_cpu_s": rates}
        print(
            f"| {language} | {font} | {args.layer_pages} | "
            f"{statistics.median(rates):.0f} ({rates[0]:.0f}, {rates[-1]:.0f}) |",
            flush=True,
        )
    return results


def measure_lost_text(args: argparse.Namespace, folder: Path) -> dict:
    """What ocr.py loses of the text layers of --pdfs; reads them first if --out is not a finished output."""
    out = args.out or folder / "out_pdfs"
    if not (out / "manifest.json").exists():
        run_ocr(args, args.pdfs, out, "auto")
    return {"pdftotext": require_pdftotext(), **measure_agreement(args.pdfs, out)}


def write_layer_pdf(path: Path, texts: list[str], language: str, pages: int) -> Path:
    """A PDF of full pages of text."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    face = CID_FONTS.get(language, "BenchFont")
    font = fonts_of(language)[-1][0] if language not in CID_FONTS else None
    pdfmetrics.registerFont(TTFont(face, str(font)) if font else UnicodeCIDFont(face))
    width, lines = (40, 44) if language in CID_FONTS else (80, 44)  # 11 points on A4
    text = " ".join(" ".join(texts).split())
    canvas = Canvas(str(path), invariant=1)
    for page in range(pages):
        canvas.setFont(face, 11)
        for line in range(lines):
            begin = (page * lines + line) * width % max(1, len(text) - width)
            canvas.drawString(50, 780 - 16 * line, text[begin : begin + width])
        canvas.showPage()
    canvas.save()
    return path


def measure_scan(args: argparse.Namespace, folder: Path) -> dict:
    truth = args.scan.with_suffix(".txt").read_text(encoding="utf-8")
    results = {}
    for language in ("auto", "de"):
        out = folder / f"out_scan_{language}"
        run_ocr(args, args.scan, out, language)
        with open(out / "documents.jsonl", encoding="utf-8") as file:
            text = "\n".join(json.loads(line)["text"] for line in file)
        results[language] = count_errors({"scan": [truth]}, {("scan", 1): text}, "de")
        print(
            f"{args.scan.name}, --language {language}: error rate {results[language]['character_error_rate']:.4f} "
            f"of {results[language]['characters']} characters"
        )
    return results


if __name__ == "__main__":
    run_command(main)
