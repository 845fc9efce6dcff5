"""Write the sample's web text and PDFs from the texts in `texts/`.

Reads   texts/<iso>_medical.txt, texts/<iso>_general.txt (documents between lines "---", each opening with `slug:`),
        texts/foreign.txt (documents in another language than the file they go to) and
        texts/pdf_<name>.txt (pages between lines "---", each opening with its heading).
Writes  <out>/web/<iso>.parquet (text, url, source) and, with --pdfs, <out>/pdfs/*.pdf with manifest.csv.

Each parquet file contains the medical documents, the general ones, one document in a foreign language, and a
second copy of the first medical document, so that every kind of removal has something to remove.
The parquet files say the same whenever they are made; the PDFs' bytes follow the versions of reportlab and Pillow.
Needed for the PDFs only: reportlab, Pillow, and the fonts DejaVu and WenQuanYi Zen Hei.

Example: python data_collection/sample/make_corpus_sample.py --pdfs
"""

import argparse
import csv
import importlib.util
import io
import os
import random
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es")
SITE = "https://example.org"
PAGE_POINTS = (595, 842)  # A4
BROKEN_BYTES = 600
MANIFEST = (
    ("broken.pdf", "fr", "broken", f"the first {BROKEN_BYTES} bytes of fr_asthme.pdf"),
    ("en_mixed.pdf", "en", "mixed", "page 1 has a text layer, page 2 is an image"),
    ("fr_asthme.pdf", "fr", "text", "2 pages with a text layer"),
    ("ru_gripp_scan.pdf", "ru", "scanned", "2 pages, black-and-white images of 200 dots per inch with specks"),
    ("zh_gaoxueya_scan.pdf", "zh", "scanned", "1 page, a grey image of 150 dots per inch with noise"),
)


def load_neighbour(name: str):
    """The stage's module of that name: it stands one folder up, where `import` does not look."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


run_record = load_neighbour("run_record")


def read_documents(path: Path) -> list[dict[str, str]]:
    """The documents of one text file: header lines `key: value` up to `slug`, then the text.

    Errors: InputError for a document without a slug or a text.
    """
    documents = []
    for block in path.read_text(encoding="utf-8").rstrip("\n").split("\n---\n"):
        document = {}
        rest = block
        while "slug" not in document:
            line, _, rest = rest.partition("\n")
            key, colon, value = line.partition(": ")
            if not colon:
                raise run_record.InputError(f"{path}: the document that starts {line[:40]!r} has no `slug:` line")
            document[key] = value
        document["text"] = rest.strip()
        if not document["text"]:
            raise run_record.InputError(f"{path}: the document {document['slug']} has no text")
        documents.append(document)
    return documents


def web_rows(language: str) -> list[dict[str, str]]:
    """The rows of one parquet file, in their order in the file."""
    medical = read_documents(HERE / "texts" / f"{language}_medical.txt")
    general = read_documents(HERE / "texts" / f"{language}_general.txt")
    foreign = [d for d in read_documents(HERE / "texts" / "foreign.txt") if d["file"] == language]
    copy = {"slug": f"{medical[0]['slug']}-copy", "text": medical[0]["text"]}
    return [
        {"text": d["text"], "url": f"{SITE}/{language}/{d['slug']}", "source": "web"}
        for d in (*medical, *general, *foreign, copy)
    ]


def write_parquet(path: Path, rows: list[dict[str, str]]) -> None:
    """Write the rows aside, then rename."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = pa.schema([(name, pa.string()) for name in ("text", "url", "source")])
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=columns), aside, compression="zstd")
    aside.replace(path)


def wrap(paragraph: str, width: float, measure) -> list[str]:
    """Break a paragraph into lines no wider than `width`; measure(text) -> width in the same unit.

    Chinese has no spaces and breaks anywhere but before closing punctuation.
    """
    spaced = " " in paragraph.strip()
    pieces = paragraph.split(" ") if spaced else list(paragraph)
    joint = " " if spaced else ""
    rows = [pieces[0]]
    for piece in pieces[1:]:
        longer = rows[-1] + joint + piece
        if measure(longer) <= width or piece in "，。、；：）":
            rows[-1] = longer
        else:
            rows.append(piece)
    return rows


def page_image(text: str, font_file: str, dots_per_inch: int, seed: int):
    """The page as a scanner would give it: a grey image of A4, a little crooked, with noise."""
    from PIL import Image, ImageDraw, ImageFont

    width, height = (round(points * dots_per_inch / 72) for points in PAGE_POINTS)
    size = round(12.5 * dots_per_inch / 72)
    font = ImageFont.truetype(font_file, size)
    margin = round(width * 0.1)
    image = Image.new("L", (width, height), 250)
    draw = ImageDraw.Draw(image)
    y = margin
    for number, paragraph in enumerate(text.split("\n\n")):
        used = ImageFont.truetype(font_file, round(size * 1.3)) if number == 0 else font
        for line in wrap(paragraph.replace("\n", " "), width - 2 * margin, used.getlength):
            draw.text((margin, y), line, fill=25, font=used)
            y += round(size * (1.9 if number == 0 else 1.55))
        y += round(size * 0.6)
    image = image.rotate(0.3, resample=Image.Resampling.BICUBIC, fillcolor=250)
    dots = random.Random(seed)
    for _ in range(width * height // 4000):
        at = (dots.randrange(width), dots.randrange(height))
        image.putpixel(at, dots.choice((90, 140, 190)))
    return image


def text_page(canvas, text: str) -> None:
    """Draw one page with a text layer."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    y = PAGE_POINTS[1] - 72
    for number, paragraph in enumerate(text.split("\n\n")):
        name, size = ("Times-Bold", 16) if number == 0 else ("Times-Roman", 12)
        canvas.setFont(name, size)
        for line in wrap(paragraph, PAGE_POINTS[0] - 144, lambda t, n=name, s=size: stringWidth(t, n, s)):
            canvas.drawString(72, y, line)
            y -= size * 1.45
        y -= 8
    canvas.showPage()


def image_page(canvas, image) -> None:
    """Draw one page that is only a grey JPEG image."""
    from reportlab.lib.utils import ImageReader

    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=40, optimize=True)
    jpeg.seek(0)
    canvas.drawImage(ImageReader(jpeg), 0, 0, *PAGE_POINTS)
    canvas.showPage()


def write_pdfs(folder: Path, latin_font: str, chinese_font: str) -> None:
    """Write the five PDFs and their manifest."""
    from reportlab.pdfgen.canvas import Canvas

    def pages(name: str) -> list[str]:
        return (HERE / "texts" / f"pdf_{name}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n---\n")

    def canvas(name: str, title: str) -> Canvas:
        made = Canvas(str(folder / name), pagesize=PAGE_POINTS, invariant=1, pageCompression=1)
        made.setTitle(title)
        return made

    folder.mkdir(parents=True, exist_ok=True)
    french = canvas("fr_asthme.pdf", "L'asthme de l'adulte")
    for page in pages("fr_asthme"):
        text_page(french, page)
    french.save()
    mixed = canvas("en_mixed.pdf", "The diabetic foot")
    first, second = pages("en_mixed")
    text_page(mixed, first)
    image_page(mixed, page_image(second, latin_font, 150, seed=1))
    mixed.save()
    chinese = canvas("zh_gaoxueya_scan.pdf", "")
    image_page(chinese, page_image(pages("zh_gaoxueya")[0], chinese_font, 150, seed=2))
    chinese.save()
    scans = [
        page_image(page, latin_font, 200, seed).point(lambda grey: 255 * (grey > 128)).convert("1")
        for seed, page in enumerate(pages("ru_gripp"), start=3)
    ]
    epoch = time.gmtime(0)
    scans[0].save(
        folder / "ru_gripp_scan.pdf",
        save_all=True,
        append_images=scans[1:],
        resolution=200,
        creationDate=epoch,
        modDate=epoch,
    )
    (folder / "broken.pdf").write_bytes((folder / "fr_asthme.pdf").read_bytes()[:BROKEN_BYTES])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([("file", "language", "kind", "note"), *MANIFEST])
    run_record.write_text(folder / "manifest.csv", table.getvalue())


def main(argv: list[str] | None = None) -> int:
    """Write the sample; returns 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--out", type=Path, default=HERE, help="folder to write web/ and pdfs/ into (default: the sample's own folder)"
    )
    parser.add_argument("--pdfs", action=argparse.BooleanOptionalAction, default=False, help="write the PDFs too")
    parser.add_argument(
        "--font",
        default="DejaVuSerif.ttf",
        help="TrueType font with Latin and Cyrillic letters, for the scanned pages: a path, or a name the system knows",
    )
    parser.add_argument("--chinese-font", default="wqy-zenhei.ttc", help="the same for Chinese")
    parser.add_argument("--dry-run", action="store_true", help="read and check the texts, write nothing")
    arguments = parser.parse_args(argv)
    rows = {language: web_rows(language) for language in LANGUAGES}
    for language, documents in rows.items():
        characters = sum(len(document["text"]) for document in documents)
        print(f"web/{language}.parquet: {len(documents)} documents, {characters} characters")
    if arguments.dry_run:
        print(f"dry run: nothing written below {arguments.out}")
        return 0
    for language, documents in rows.items():
        write_parquet(arguments.out / "web" / f"{language}.parquet", documents)
    if arguments.pdfs:
        write_pdfs(arguments.out / "pdfs", arguments.font, arguments.chinese_font)
    print(f"wrote {len(rows)} parquet files{' and the PDFs' if arguments.pdfs else ''} below {arguments.out}")
    return 0


if __name__ == "__main__":
    run_record.run_command(main)
