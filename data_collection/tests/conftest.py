"""Tiny documents and PDFs, and a way to run the commands as a user does and read what they wrote."""

import contextlib
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from run_record import describe_files, run_command, write_json

STAGE = Path(__file__).resolve().parents[1]
ROOT = STAGE.parent

MEDICAL = {
    "en": "The patient came to the hospital with fever, cough and chest pain. The physician suspected pneumonia, "
    "ordered a chest radiograph and blood tests, and began antibiotic treatment at once.",
    "fr": "Le patient est arrivé à l'hôpital avec de la fièvre, une toux et une douleur thoracique. Le médecin "
    "a évoqué une pneumonie, prescrit une radiographie et commencé un traitement antibiotique.",
    "es": "El paciente llegó al hospital con fiebre, tos y dolor torácico. El médico sospechó una neumonía, pidió una "
    "radiografía y comenzó un tratamiento antibiótico de inmediato.",
    "de": "Der Patient kam mit Fieber, Husten und Brustschmerzen ins Krankenhaus. Die Ärztin vermutete eine "
    "Lungenentzündung und begann sofort mit einer Behandlung durch Antibiotika.",
    "ru": "Пациент поступил в больницу с лихорадкой, кашлем и болью в груди. Врач заподозрил пневмонию, назначил "
    "рентгенографию и анализы крови и сразу начал лечение антибиотиками.",
    "zh": "患者因发热、咳嗽和胸痛来医院就诊。医生怀疑是肺炎，安排了胸部检查和血液化验，并立即开始抗生素治疗。",
    "ja": "患者は発熱と咳嗽、胸痛のために来院した。医師は肺炎を疑い、"
    "胸部の検査と採血を行い、直ちに抗菌薬による治療を始めた。",
    "ar": "وصل المريض إلى المستشفى وهو يعاني من الحمى والسعال وألم في الصدر. اشتبه الطبيب في التهاب رئوي وطلب أشعة "
    "وتحاليل للدم ثم بدأ العلاج بالمضادات الحيوية.",
}
GENERAL = {
    "en": "The train to the coast leaves at nine. Travellers may take bicycles along if there is room in the last"
    " car, and the ticket office opens an hour before.",
    "fr": "Le train pour la côte part à neuf heures. Les voyageurs peuvent emporter un vélo s'il reste de la place "
    "dans la dernière voiture, et le guichet ouvre une heure avant.",
    "ru": "Поезд к морю отправляется в девять часов. Пассажиры могут взять велосипед, если в последнем вагоне есть "
    "место, а касса открывается за час до отхода.",
    "zh": "开往海边的火车九点出发。如果最后一节车厢有空位，旅客可以携带自行车，售票处提前一小时开门。",
}


LONG = " ".join(f"Sentence number {i} tells that the patient was treated with antibiotics there." for i in range(8))


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run one of the stage's commands as a user does, but in this process, which saves a start each time."""
    main = importlib.import_module(script.removesuffix(".py")).main
    argv, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_command(lambda: main(argv))
        except SystemExit as end:
            code = end.code
    return subprocess.CompletedProcess([script, *argv], code, out.getvalue(), err.getvalue())


def start_and_kill(script: str, arguments: list, begun) -> bool:
    """Start a command in a process of its own and kill it (SIGKILL) as soon as begun() is true.

    Returns whether it was killed before its end.
    """
    process = subprocess.Popen([sys.executable, STAGE / script, *map(str, arguments)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and not begun() and time.monotonic() < deadline:
        time.sleep(0.005)
    killed = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    return killed


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def table_of(path: Path) -> list[dict]:
    return pyarrow.parquet.read_table(path).to_pylist()


def put_parquet(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def put_jsonl(path: Path, rows: list) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8")
    return path


def put_text_pdf(path: Path, pages: list[str], password: str = "") -> Path:
    """A PDF with a text layer, one string a page (Latin letters only); with `password` it opens with that only."""
    from reportlab.lib.pdfencrypt import StandardEncryption
    from reportlab.lib.utils import simpleSplit
    from reportlab.pdfgen.canvas import Canvas

    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), encrypt=StandardEncryption(password) if password else None, invariant=1)
    for page in pages:
        for i, line in enumerate(simpleSplit(page, "Helvetica", 11, 450)):
            canvas.setFont("Helvetica", 11)
            canvas.drawString(70, 780 - 15 * i, line)
        canvas.showPage()
    canvas.save()
    return path


def put_scanned_pdf(path: Path, pages: list[str], turned: int = 0) -> Path:
    """A PDF of pictures of text, 150 dots per inch; turned: degrees by which the pictures are turned."""
    import textwrap

    from PIL import Image, ImageDraw, ImageFont

    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = []
    for page in pages:
        picture = Image.new("L", (1240, 1754), 255)
        ImageDraw.Draw(picture).multiline_text(
            (120, 150), "\n".join(textwrap.wrap(page, 60)), fill=0, spacing=12, font=ImageFont.load_default(size=26)
        )
        pictures.append(picture.rotate(turned, expand=True))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], resolution=150)
    return path


def put_raw_pdf(path: Path, objects: list[str]) -> Path:
    """A PDF of these objects, numbered from 1; the first is the catalog. For files that no library would write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content, places = b"%PDF-1.7\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    path.write_bytes(content + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode("latin-1"))
    return path


def stream_of(content: str) -> str:
    """A PDF object that is a stream."""
    return f"<< /Length {len(content)} >>\nstream\n{content}\nendstream"


def files_of(folder: Path) -> dict[str, bytes]:
    """{path: content} of a finished output but its manifest and journals, which say when and in which order."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "manifest.json" and p.suffix != ".journal"
    }


def read_books(out: Path) -> tuple[dict, dict, list]:
    """({origin: document}, {(origin, page): page}, failures) of an output of ocr.py."""
    return (
        {d["origin"]: d for d in lines_of(out / "documents.jsonl")},
        {(p["document"], p["page"]): p for p in lines_of(out / "pages.jsonl")},
        lines_of(out / "failures.jsonl"),
    )


def all_but_seconds(out: Path) -> tuple:
    """What an output of ocr.py holds, but for the time that each page took."""
    pages = lines_of(out / "pages.jsonl")
    assert all(page.pop("seconds") >= 0 for page in pages)
    return pages, {name: content for name, content in files_of(out).items() if name != "pages.jsonl"}


@pytest.fixture
def run():
    return run_script


def finished_books(folder: Path, language: str, texts: list[str]) -> Path:
    """A finished folder as ocr.py leaves it, with these texts."""
    documents = [{"text": text, "language": language, "origin": str(i)} for i, text in enumerate(texts)]
    put_jsonl(folder / "documents.jsonl", documents)
    manifest = {"stage": "data_collection/ocr.py", "arguments": {}, "counts": {language: {"documents": len(texts)}}}
    write_json(folder / "manifest.json", manifest | {"files": describe_files(folder, [folder / "documents.jsonl"])})
    return folder


@pytest.fixture(scope="session")
def made():
    """Texts, and makers and readers of files, by name."""
    return types.SimpleNamespace(
        stage=STAGE,
        root=ROOT,
        medical=MEDICAL,
        general=GENERAL,
        parquet=put_parquet,
        jsonl=put_jsonl,
        text_pdf=put_text_pdf,
        scanned_pdf=put_scanned_pdf,
        raw_pdf=put_raw_pdf,
        stream=stream_of,
        page_content=lambda text: stream_of(f"BT /F 11 Tf 50 700 Td ({text}) Tj ET"),
        lines=lines_of,
        table=table_of,
        files=files_of,
        books=read_books,
        all_but_seconds=all_but_seconds,
        start_and_kill=start_and_kill,
        long=LONG,
        finished_books=finished_books,
        manifest=lambda folder: json.loads((folder / "manifest.json").read_text(encoding="utf-8")),
    )


@pytest.fixture
def tesseract():
    if shutil.which("tesseract") is None:
        pytest.skip("tesseract is not installed (Debian package tesseract-ocr)")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real documents; the test is skipped where it is absent."""
    path = Path(os.environ.get("MMED_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "filter_text").is_dir():
        pytest.skip(f"no real documents at {path} (set MMED_TEST_DATA)")
    return path
