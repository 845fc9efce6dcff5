"""Recognise a folder of scans with pytesseract only: the baseline of `bench_ocr.py`.

Reads <iso>/*.pdf below a folder, draws each page with pdfium and calls `pytesseract.image_to_string` on it, told its
language. Threads are tesseract's own business (OMP_THREAD_LIMIT in the environment). Writes nothing; prints the number
of pages and characters. Example:

    OMP_THREAD_LIMIT=1 python data_collection/bench_ocr_baseline.py data/drawn --workers 2
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from pdf.recognition_engines import TRAINED_DATA
from run_record import InputError, parse_arguments, run_command


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("pdfs", type=Path, help="folder with one folder of PDFs per language, such as fr/a.pdf")
    parser.add_argument(
        "--workers", type=int, default=1, help="pages recognised at the same time (default: %(default)s)"
    )
    parser.add_argument(
        "--dpi", type=int, default=200, help="resolution of the page images in dpi (default: %(default)s)"
    )
    parser.add_argument("--recipe", type=Path, help="YAML file with these flags; the command line takes precedence")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = parse_arguments(build_parser(), argv)
    pages = list_pages(args.pdfs)
    jobs = [(path, number, language, args.dpi) for path, number, language in pages]
    if args.workers == 1:
        lengths = [read_page_plainly(job) for job in jobs]
    else:
        with ProcessPoolExecutor(args.workers) as pool:
            lengths = list(pool.map(read_page_plainly, jobs))
    print(f"{len(pages)} pages, {sum(lengths)} characters")
    return 0


def list_pages(folder: Path) -> list[tuple[Path, int, str]]:
    """(PDF, page from 0, language) of every page. Errors: InputError where there is none."""
    import pypdfium2

    pages = []
    for path in sorted(folder.glob("*/*.pdf")):
        if path.parent.name in TRAINED_DATA:
            with pypdfium2.PdfDocument(path) as document:
                pages += [(path, number, path.parent.name) for number in range(len(document))]
    if not pages:
        raise InputError(f"{folder} contains no <iso>/*.pdf")
    return pages


def read_page_plainly(job: tuple[Path, int, str, int]) -> int:
    """How many characters pytesseract reads on a page."""
    import pypdfium2
    import pytesseract

    path, number, language, dots_per_inch = job
    with pypdfium2.PdfDocument(path) as document:
        picture = document[number].render(scale=dots_per_inch / 72, grayscale=True).to_pil()
        return len(pytesseract.image_to_string(picture, lang=TRAINED_DATA[language]))


if __name__ == "__main__":
    run_command(main)
