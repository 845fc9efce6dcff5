"""The laws of the house: stages stand alone, names are unique, entries answer, documents name what exists."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("data_collection", "mmedbench", "pretrain", "finetune", "inference", "slurm")
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]
MODULES = {stage: [p for p in TRACKED if p.parent == ROOT / stage and p.suffix == ".py"] for stage in STAGES}
SOURCES = [p for p in TRACKED if p.suffix == ".py"]
ENTRIES = [p for modules in MODULES.values() for p in modules if 'if __name__ == "__main__":' in p.read_text("utf-8")]
DOCUMENTS = [p for p in TRACKED if p.suffix == ".md"]

# Files that stand in several stages under names of their own, because stages share nothing but data on disk.
COPIES = [
    [
        "data_collection/corpus_record.py",
        "mmedbench/benchmark_record.py",
        "pretrain/pretrain_record.py",
        "finetune/finetune_record.py",
        "inference/inference_record.py",
    ],
    [
        "mmedbench/benchmark_files.py",
        "finetune/train_questions.py",
        "inference/exam_questions.py",
        "data_collection/benchmark_questions.py",
    ],
    ["finetune/prompt_file.py", "inference/prompt_reader.py"],
    ["pretrain/lm_card_parts.py", "finetune/tuned_card_parts.py", "inference/card_parts.py"],
]


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("group", COPIES, ids=lambda group: Path(group[0]).name)
def test_the_copies_of_a_shared_file_are_identical(group):
    first = (ROOT / group[0]).read_bytes()
    assert [name for name in group if (ROOT / name).read_bytes() != first] == []


def test_no_stage_imports_a_module_of_another_stage():
    owner = {path.stem: stage for stage, modules in MODULES.items() for path in modules}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} of {owner[name]}"
        for path in SOURCES
        for name in imported_names(path)
        if name in owner and path.relative_to(ROOT).parts[0] != owner[name]
    ]
    assert wrong == []


def test_module_names_are_unique_and_hide_no_library():
    stems = [path.stem for modules in MODULES.values() for path in modules]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    hidden = {stem for stem in stems if stem in sys.stdlib_module_names or stem in packages_distributions()}
    folders = {path.name for stage in STAGES for path in (ROOT / stage).iterdir() if path.is_dir()}
    assert (twice, hidden) == (set(), set())
    assert folders & set(packages_distributions()) - {"tests"} == set()


def test_nothing_edits_sys_path_or_catches_everything_or_takes_a_bool_type():
    forbidden = {
        r"sys\.path\.(insert|append|extend)|sys\.path\s*[+=]": "edits sys.path",
        r"except\s*:": "has a bare except",
        r"type=bool\b": "takes type=bool",
        r"shell=True": "runs a string in a shell",
        r"trust_remote_code=True": "runs remote code unasked",
    }
    found = [
        f"{path.relative_to(ROOT)} {what}"
        for path in SOURCES
        if path != Path(__file__).resolve()
        for pattern, what in forbidden.items()
        if re.search(pattern, path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_entry_answers_help_and_refuses_abbreviations(entry):
    done = subprocess.run([sys.executable, entry, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    refused = subprocess.run([sys.executable, entry, "--he"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert refused.returncode == 2


def unused_flags(path: Path) -> set[str]:
    """Flags that are declared by `add(...)` or `add_argument(...)` and read nowhere in their stage."""
    text = path.read_text("utf-8")
    declared = re.findall(r"(?:add|add_argument)\(\s*\"--([a-z0-9-]+)\"(?:, dest=\"(\w+)\")?", text)
    flags = {dest or flag for flag, dest in declared}
    stage = "\n".join(p.read_text("utf-8") for p in MODULES[path.relative_to(ROOT).parts[0]])
    # `recipe` is read by parse_arguments for every entry.
    read = {name.replace("_", "-") for name in re.findall(r"\b(?:args|arguments|options)\.(\w+)\b", stage)}
    return flags - {"recipe"} - read


@pytest.mark.parametrize("stage", STAGES)
def test_no_flag_is_without_effect(stage):
    assert {path.name: unused_flags(path) for path in MODULES[stage] if unused_flags(path)} == {}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_named_in_a_document_exists(document):
    text = document.read_text("utf-8")
    named = set(re.findall(r"(?<![\w/.-])((?:{})/[\w./-]*\w)".format("|".join(STAGES)), text))
    named |= {
        str((document.parent / target).resolve().relative_to(ROOT))
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)", text)
    }
    named.discard("slurm/site.sh")  # the reader's own, made of the example; git ignores it
    missing = [name for name in sorted(named) if not (ROOT / name).exists() and not any(ROOT.glob(name + "*"))]
    assert missing == []


SCRIPTS = [p for p in TRACKED if p.suffix == ".sh"] + [ROOT / ".ci/run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shell_scripts_are_strict_and_parse(script):
    text = script.read_text("utf-8")
    assert text.startswith("#!/usr/bin/env bash\n") and "set -euo pipefail" in text
    subprocess.run(["bash", "-n", script], check=True)
    directives = [i for i, line in enumerate(text.splitlines()) if line.startswith("#SBATCH")]
    commands = [i for i, line in enumerate(text.splitlines()) if line and not line.startswith("#")]
    assert not directives or max(directives) < min(commands), "Slurm ignores directives after the first command"


def test_shell_scripts_are_clean_under_shellcheck():
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (Debian package shellcheck)")
    # SC2016: srun's bash -c takes single quotes on purpose; SC2317: trap handlers look unreachable.
    done = subprocess.run(["shellcheck", "-e", "SC2016,SC2317", *SCRIPTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_tracked_is_over_a_megabyte_or_names_this_machine():
    big = [str(path.relative_to(ROOT)) for path in TRACKED if path.stat().st_size > 1_000_000]
    assert big == []
    here = str(ROOT)
    if ROOT.parent == Path("/"):
        pytest.skip("the project lies at the top of the disk, so its path is too short to look for")
    named = [str(p.relative_to(ROOT)) for p in TRACKED if here.encode() + b"/" in p.read_bytes()]
    assert named == []


def test_the_whole_apache_licence_stands_in_license():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text and len(text) > 11000
