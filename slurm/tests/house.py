"""The structure of the project: stages, halls, rooms, imports; what test_laws.py checks and the figures printed here.

python slurm/tests/house.py
"""

import ast
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Each stage's rooms from the bottom to the top: a room imports rooms to its left and the hall's shared modules.
ROOMS = {
    stage: tuple(order.split(" < "))
    for stage, order in {
        "data_collection": "readers < executor < cleaning < filtering < web < text_layers < pdf < dedup"
        " < decontamination < corpus < benchmark_helpers",
        "mmedbench": "sources < leaderboard_pages < rationale_writing < review_desk",
        "pretrain": "token_data < dataloading < modelling < planning < checkpointing < training < internlm"
        " < bench_helpers",
        "finetune": "sft_data < sft_training",
        "inference": "local_model < endpoint < metrics < evaluation",
        "slurm": "pipeline_jobs < synthetic_facts",
    }.items()
}
STAGES = tuple(ROOMS)


def tracked_files() -> list[Path]:
    """The files that git tracks or would track, as absolute paths."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def stage_modules(stage: str, files: list[Path]) -> dict[str, Path]:
    """{dotted name as the stage imports it: path}, room __init__.py not included."""
    modules = {}
    for path in files:
        inside = path.relative_to(ROOT).parts[1:]
        if path.suffix != ".py" or path.relative_to(ROOT).parts[0] != stage or path.name == "__init__.py":
            continue
        if len(inside) == 1 or (len(inside) == 2 and inside[0] in ROOMS[stage]):
            modules[".".join(inside).removesuffix(".py")] = path
    return modules


def is_entry(path: Path) -> bool:
    return 'if __name__ == "__main__":' in path.read_text("utf-8")


def imported_modules(path: Path, modules: dict[str, Path]) -> set[str]:
    """Which of `modules` a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names & modules.keys()


def import_graph(stage: str, files: list[Path]) -> dict[str, set[str]]:
    modules = stage_modules(stage, files)
    return {name: imported_modules(path, modules) - {name} for name, path in modules.items()}


def arrows_up(stage: str, graph: dict[str, set[str]], entries: set[str]) -> list[str]:
    """Imports against the order: a room imports an entry, or a room above it; a shared module imports a room."""
    order = {room: number for number, room in enumerate(ROOMS[stage])}

    def height(module: str) -> int:
        if "." in module:
            return order[module.split(".")[0]]
        return len(order) if module in entries else -1

    return [
        f"{stage}: {module} imports {other}"
        for module, imported in sorted(graph.items())
        for other in sorted(imported)
        if height(other) > height(module)
    ]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Import cycles, each as the modules on it; an empty list when there is none."""
    found, done = [], set()

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            found.append([*path[path.index(module) :], module])
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, [*path, module])
            done.add(module)

    for module in sorted(graph):
        visit(module, [])
    return found


def figures() -> dict[str, object]:
    """What issue-sized changes watch: modules, single importers, source lines, halls, READMEs, phrases."""
    files = tracked_files()
    python = [p for p in files if p.suffix == ".py"]
    sources = [p for p in python if "tests" not in p.parts]
    modules, single = 0, []
    halls = {}
    for stage in STAGES:
        graph = import_graph(stage, files)
        modules += len(graph)
        paths = stage_modules(stage, files)
        entries = {name for name, path in paths.items() if is_entry(path)}
        halls[stage] = sum("." not in name and not name.startswith("bench_") for name in graph)
        for name in graph:
            importers = [other for other, imported in graph.items() if name in imported]
            if len(importers) == 1 and importers[0] not in entries and name not in entries:
                single.append(f"{stage}/{name} <- {importers[0]}")
    texts = [p.read_text("utf-8") for p in files if p.suffix in (".py", ".md")]
    phrases = re.compile(r"(?<!there )(?<!There )\bis no\b|\bnobody\b|\bgoes on\b|\bgone on\b|\bgoes without\b", re.I)
    return {
        "modules": modules,
        "modules with one importer, which is not an entry": len(single),
        "source lines without tests": sum(len(p.read_text("utf-8").splitlines()) for p in sources),
        "modules in halls": halls,
        "README lines": {s: len((ROOT / s / "README.md").read_text("utf-8").splitlines()) for s in STAGES},
        "phrases of the old dialect": sum(len(phrases.findall(text)) for text in texts),
        "single importers": single,
    }


if __name__ == "__main__":
    for title, value in figures().items():
        print(f"{title}: " + ("\n  " + "\n  ".join(value) if isinstance(value, list) else str(value)))
