"""Write the sample exams from `questions/<iso>.yaml` in the raw formats of the six source exams.

Reads   mmedbench/sample/questions/<iso>.yaml, the one place where a sample question or rationale is edited.
Writes  <out>/exams/<exam folder>/... in the formats that `mmedbench/prepare.py` reads,
        <out>/exams/generic/{Train,Test}/<Language>.jsonl in the released MMedBench layout, and
        <out>/rationales.jsonl, one {"id", "rationale"} for each question of the raw exams.

Example: python mmedbench/sample/make_exam_sample.py
"""

import argparse
import hashlib
import importlib.util
import json
from pathlib import Path

HERE = Path(__file__).resolve().parent


def load_neighbour(name: str):
    """The stage's module of that name: it stands one folder up, where `import` does not look."""
    spec = importlib.util.spec_from_file_location(name, HERE.parent / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


mmedbench_questions = load_neighbour("mmedbench_questions")
run_record = load_neighbour("run_record")
LETTERS = mmedbench_questions.LETTERS
LANGUAGES = ("en", "zh", "ja", "fr", "ru", "es")


def as_record(question: dict) -> dict:
    """The question in our record format: what `prepare.py` makes of its raw form, with the rationale."""
    if question["answer"] in ("да", "нет"):
        options, answer = {"A": "да", "B": "нет"}, "A" if question["answer"] == "да" else "B"
    else:
        options, answer = dict(zip(LETTERS, question["options"], strict=False)), question["answer"]
    return {
        "question": question["question"],
        "options": options,
        "answer_idx": answer,
        "rationale": question["rationale"],
    }


def lettered(question: dict) -> tuple[dict, str, str]:
    """Options by upper-case letter, the one right letter, the right option's text."""
    options = dict(zip(LETTERS, question["options"], strict=False))
    return options, question["answer"], options[question["answer"]]


def medqa_en(question: dict) -> dict:
    """One line of MedQA (USMLE, four options)."""
    options, letter, text = lettered(question)
    return {
        "question": question["question"],
        "answer": text,
        "options": options,
        "meta_info": question["step"],
        "answer_idx": letter,
        "metamap_phrases": question["phrases"],
    }


def medqa_zh(question: dict) -> dict:
    """One line of MedQA (mainland China, four options)."""
    options, letter, text = lettered(question)
    return {
        "question": question["question"],
        "options": options,
        "answer": text,
        "meta_info": question["subject"],
        "answer_idx": letter,
    }


def igakuqa(question: dict, number: int) -> dict:
    """One line of IgakuQA; a numeric question has no choices, its answer is the number."""
    numeric = "numeric" in question
    return {
        "problem_id": question["exam"].split("/")[1].replace("-", "") + str(number),
        "problem_text": question["question"],
        "choices": [] if numeric else question["options"],
        "text_only": True,
        "answer": [question["numeric"]] if numeric else question["answer"].lower().split(","),
        "points": "1",
    }


def frenchmedmcqa(question: dict, split: str) -> dict:
    """One element of FrenchMedMCQA; the test split has no `type`."""
    correct = question["answer"].lower().split(",")
    record = {
        "id": hashlib.sha256(question["question"].encode("utf-8")).hexdigest(),
        "question": question["question"],
        "answers": dict(zip(LETTERS.lower(), question["options"], strict=False)),
        "correct_answers": correct,
        "subject_name": "pharmacie",
        "type": "simple" if len(correct) == 1 else "multiple",
        "nbr_correct_answers": len(correct),
    }
    if split == "test":
        del record["type"]
    return record


def rumeddanet(question: dict) -> dict:
    """One line of RuMedDaNet."""
    pair = question["context"] + question["question"]
    return {
        "context": question["context"],
        "question": question["question"],
        "answer": question["answer"],
        "pairID": hashlib.md5(pair.encode("utf-8"), usedforsecurity=False).hexdigest(),
    }


def headqa(questions: list[dict]) -> dict:
    """One HEAD-QA file: questions numbered within their booklet, right answer and options by number."""
    exams: dict[str, dict] = {}
    for question in questions:
        name, category, year = question["exam"]
        exam = exams.setdefault(name, {"name": name, "data": [], "category": category, "year": year})
        exam["data"].append(
            {
                "qid": str(len(exam["data"]) + 1),
                "qtext": question["question"],
                "ra": str(LETTERS.index(question["answer"]) + 1),
                "answers": [{"aid": aid, "atext": text} for aid, text in enumerate(question["options"], start=1)],
                "image": "",
            }
        )
    return {"version": "1.0", "language": "es", "exams": exams}


def lines(records: list[dict]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def raw_exam_files(questions: dict[str, dict]) -> dict[str, str]:
    """{path below exams/: text} of the six source exams; the escapes and indents are the originals'."""
    files = {}
    for split in ("train", "test"):
        files[f"medqa_usmle_en/phrases_no_exclude_{split}.jsonl"] = lines(map(medqa_en, questions["en"][split]))
        files[f"medqa_mainland_zh/phrases_no_exclude_{split}.jsonl"] = lines(map(medqa_zh, questions["zh"][split]))
    papers: dict[str, list] = {}
    for question in questions["ja"]["exams"]:
        paper = papers.setdefault(question["exam"], [])
        paper.append(igakuqa(question, len(paper) + 1))
    for name, records in papers.items():
        files[f"igakuqa_ja/data/{name}.jsonl"] = lines(records)
    for split in ("train", "test", "dev"):
        french = [frenchmedmcqa(question, split) for question in questions["fr"][split]]
        files[f"frenchmedmcqa_fr/{split}.json"] = json.dumps(french, indent=4)
        files[f"rumeddanet_ru/{split}_v1.jsonl"] = lines(map(rumeddanet, questions["ru"][split]))
        files[f"headqa_es/{split}_HEAD.json"] = json.dumps(headqa(questions["es"][split]))
    return files


def main(argv: list[str] | None = None) -> int:
    """Write the sample; returns 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=HERE,
        help="folder to write exams/ and rationales.jsonl into (default: the sample's own folder)",
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check the questions, write nothing")
    arguments = parser.parse_args(argv)
    import yaml

    questions = {
        iso: yaml.safe_load((HERE / "questions" / f"{iso}.yaml").read_text(encoding="utf-8")) for iso in LANGUAGES
    }
    files = {f"exams/{path}": text for path, text in raw_exam_files(questions).items()}
    rationales = []
    for iso in LANGUAGES:
        for split, records in questions[iso].items():
            checked = [mmedbench_questions.check_record(as_record(q)) for q in records if "numeric" not in q]
            if split.startswith("generic_"):
                folder = split.removeprefix("generic_").capitalize()
                files[f"exams/generic/{folder}/{mmedbench_questions.LANGUAGE_FILES[iso]}"] = lines(checked)
            else:
                rationales += [{"id": mmedbench_questions.question_id(r), "rationale": r["rationale"]} for r in checked]
            print(f"{iso} {split}: {len(records)} questions")
    files["rationales.jsonl"] = lines(rationales)
    if arguments.dry_run:
        print(f"dry run: would write {len(files)} files below {arguments.out}")
        return 0
    for path, text in sorted(files.items()):
        run_record.write_text(arguments.out / path, text)
    print(f"wrote {len(files)} files below {arguments.out}")
    return 0


if __name__ == "__main__":
    run_record.run_command(main)
