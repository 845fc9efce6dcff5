"""The laws of the house: stages stand alone, names are unique, entries answer, documents name what exists."""

import ast
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from house import (
    ROOMS,
    ROOT,
    STAGES,
    arrows_up,
    cycles,
    figures,
    import_graph,
    is_entry,
    stage_modules,
    tracked_files,
)

TRACKED = tracked_files()
MODULES = {stage: stage_modules(stage, TRACKED) for stage in STAGES}
GRAPHS = {stage: import_graph(stage, TRACKED) for stage in STAGES}
SOURCES = [p for p in TRACKED if p.suffix == ".py"]
ENTRIES = {
    stage: {name for name, path in modules.items() if "." not in name and is_entry(path)}
    for stage, modules in MODULES.items()
}
ENTRY_PATHS = [MODULES[stage][name] for stage in STAGES for name in sorted(ENTRIES[stage])]
DOCUMENTS = [p for p in TRACKED if p.suffix == ".md"]
MAX_HALL_MODULES = 18
MAX_ROOM_MODULES = 12


def test_top_level_modules_of_one_name_are_identical_copies():
    places = {}
    for modules in MODULES.values():
        for name, path in modules.items():
            if "." not in name:
                places.setdefault(name, []).append(path)
    different = {
        name: [str(p.relative_to(ROOT)) for p in paths]
        for name, paths in places.items()
        if len({p.read_bytes() for p in paths}) > 1
    }
    assert different == {}, "bash slurm/sync_copies.sh STAGE/MODULE.py copies an edited one over the others"


def test_an_edited_copy_is_copied_over_the_others(tmp_path):
    (tmp_path / "slurm").mkdir()
    shutil.copy(ROOT / "slurm/sync_copies.sh", tmp_path / "slurm")
    for stage, text in (("finetune", "new\n"), ("inference", "old\n")):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "shared.py").write_text(text)
    command = ["bash", tmp_path / "slurm/sync_copies.sh"]
    subprocess.run([*command, "finetune/shared.py"], check=True)
    assert (tmp_path / "inference/shared.py").read_text() == "new\n"
    assert subprocess.run([*command, "finetune/gone.py"], check=False, capture_output=True).returncode == 2


def test_rooms_have_a_sign_and_are_neither_closets_nor_halls():
    problems = []
    for stage, rooms in ROOMS.items():
        inside = {name.split(".")[0] for name in MODULES[stage] if "." in name}
        packages = {p.parent.name for p in TRACKED if p.name == "__init__.py" and p.parent.parent == ROOT / stage}
        if not inside == packages == set(rooms):
            problems.append(f"{stage}: rooms {sorted(inside)}, with __init__.py {sorted(packages)}, order {rooms}")
        for room in sorted(packages):
            sign = ast.parse((ROOT / stage / room / "__init__.py").read_text("utf-8"))
            if len(sign.body) != 1 or ast.get_docstring(sign) is None:
                problems.append(f"{stage}/{room}/__init__.py is not one docstring")
            count = sum(name.startswith(f"{room}.") for name in MODULES[stage])
            if not 2 <= count <= MAX_ROOM_MODULES:
                problems.append(f"{stage}/{room} has {count} modules")
        hall = [name for name in MODULES[stage] if "." not in name and not name.startswith("bench_")]
        if len(hall) > MAX_HALL_MODULES:
            problems.append(f"{stage}: {len(hall)} modules at the top level")
    assert problems == []


@pytest.mark.parametrize("stage", STAGES)
def test_imports_follow_the_order_of_the_rooms(stage):
    assert arrows_up(stage, GRAPHS[stage], ENTRIES[stage]) == []


@pytest.mark.parametrize("stage", STAGES)
def test_no_module_imports_itself_by_way_of_others(stage):
    assert [" -> ".join(cycle) for cycle in cycles(GRAPHS[stage])] == []


def test_the_check_of_imports_finds_arrows_up_and_cycles():
    graph = {"filter": {"readers.a"}, "readers.a": {"web.b"}, "web.b": {"readers.a"}, "shared": {"readers.a"}}
    assert arrows_up("data_collection", graph, {"filter"}) == [
        "data_collection: readers.a imports web.b",
        "data_collection: shared imports readers.a",
    ]
    assert cycles(graph) == [["readers.a", "web.b", "readers.a"]]


def test_the_structure_stays_readable():
    """Bounds of `python slurm/tests/house.py`; a module that only one other imports is worth a look."""
    found = figures()
    assert found["modules"] <= 220 and found["modules with one importer, which is not an entry"] <= 20
    assert max(found["README lines"].values()) <= 200
    assert found["phrases of the old dialect"] < 40


def test_the_order_of_rooms_is_in_each_readme():
    missing = [
        s for s in STAGES if " < ".join(ROOMS[s]) not in " ".join((ROOT / s / "README.md").read_text("utf-8").split())
    ]
    assert missing == []


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").split(".")[0])
    return names


def test_no_stage_imports_a_module_of_another_stage():
    owners = {}
    for stage, modules in MODULES.items():
        for name in modules:
            owners.setdefault(name.split(".")[0], set()).add(stage)
    wrong = [
        f"{path.relative_to(ROOT)} imports {name} of {sorted(owners[name])}"
        for path in SOURCES
        for name in imported_names(path)
        if name in owners and path.relative_to(ROOT).parts[0] not in owners[name]
    ]
    assert wrong == []


def test_names_hide_no_library_and_rooms_are_unique():
    hidden = {*sys.stdlib_module_names, *packages_distributions()} - {"tests"}
    rooms = [room for stage_rooms in ROOMS.values() for room in stage_rooms]
    top = {name for modules in MODULES.values() for name in modules if "." not in name}
    folders = {path.name for stage in STAGES for path in (ROOT / stage).iterdir() if path.is_dir()}
    assert (top | folders) & hidden == set()
    assert sorted(rooms) == sorted(set(rooms)) and top & set(rooms) == set()
    assert sum(p.name == "train.py" for p in SOURCES) == 1


def test_nothing_edits_sys_path_or_catches_everything_or_takes_a_bool_type():
    forbidden = {
        r"sys\.path\.(insert|append|extend)|sys\.path\s*[+=]": "edits sys.path",
        r"except\s*:": "has a bare except",
        r"type=bool\b": "takes type=bool",
        r"shell=True": "runs a string in a shell",
        r"trust_remote_code=True": "runs remote code unasked",
        r"fmt: skip": "turns ruff format off",
        r"\b(LEAST|MOST)_[A-Z]": "names a bound other than MIN_ or MAX_",
    }
    found = [
        f"{path.relative_to(ROOT)} {what}"
        for path in SOURCES
        if path != Path(__file__).resolve()
        for pattern, what in forbidden.items()
        if re.search(pattern, path.read_text("utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize("entry", ENTRY_PATHS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_entry_answers_help_and_refuses_abbreviations(entry):
    done = subprocess.run([sys.executable, entry, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
    refused = subprocess.run([sys.executable, entry, "--he"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert refused.returncode == 2


def unused_flags(path: Path) -> set[str]:
    """Flags that are declared by `add(...)` or `add_argument(...)` and read nowhere in their stage."""
    text = path.read_text("utf-8")
    declared = re.findall(r"(?:add|add_argument)\(\s*\"--([a-z0-9-]+)\"(?:,\s*dest=\"(\w+)\")?", text)
    flags = {dest or flag for flag, dest in declared}
    stage = "\n".join(p.read_text("utf-8") for p in MODULES[path.relative_to(ROOT).parts[0]].values())
    # `recipe` is read by parse_arguments for every entry.
    read = {name.replace("_", "-") for name in re.findall(r"\b(?:args|arguments|options)\.(\w+)\b", stage)}
    return flags - {"recipe"} - read


@pytest.mark.parametrize("stage", STAGES)
def test_no_flag_is_without_effect(stage):
    assert {p.name: unused_flags(p) for p in MODULES[stage].values() if unused_flags(p)} == {}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_named_in_a_document_exists(document):
    text = document.read_text("utf-8")
    named = set(re.findall(r"(?<![\w/.-])((?:{})/[\w./-]*\w)".format("|".join(STAGES)), text))
    named |= {
        str((document.parent / target).resolve().relative_to(ROOT))
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)", text)
    }
    named.discard("slurm/site.sh")  # the reader's own, built from the example; git ignores it
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
