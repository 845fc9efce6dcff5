"""Read a pipeline recipe: YAML with a name, inputs and one section per stage; errors with file and line.

    name: tiny                     names data/tiny, checkpoints/tiny, results/tiny, logs/tiny
    inputs: {pdfs: DIR, exams: DIR}
    filter:
      shards: 8                    tasks of the array that share the stage's output
      at_once: 4                   this many of an array's tasks run at a time
      nodes, gpus, cpus, time      what sbatch is asked for: gpus per node, cpus per task, time such as 2-00:00:00
      sbatch: [--mem=64G]          more options of sbatch
      flags: {rule: bounded}       flags of the stage's command; lists, true and false as in the stage's own recipes
    finetuning:
      models: {all: {}, zh: {languages: [zh]}}   a task of the array each, with more flags of finetune/train.py

Example: read_recipe(Path("slurm/recipes/tiny.yaml"))
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

INPUTS = ("pdfs", "web", "websites", "existing", "corpus", "exams", "benchmark", "tokenizer")
ARRAYS = ("ocr", "filter", "websites", "existing", "duplicates", "contamination", "corpus")  # can share their work
STAGES = (*ARRAYS, "benchmark", "tokenizer", "tokens", "pretraining", "finetuning", "evaluation", "leaderboard")
OPTIONAL = ("duplicates", "contamination", "tokenizer")  # stages that run only if the recipe has their section
NUMBERS = ("shards", "at_once", "nodes", "gpus", "cpus")
REPEATED = ("rationales", "known-test")  # flags that take one value each time they are given
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
TIME = re.compile(r"\d+|(\d+-)?\d+(:\d\d){1,2}")
# What pipeline.py itself gives sbatch; a second one would win or break the chain.
OWN_OPTIONS = (
    "--array",
    "-a",
    "--dependency",
    "-d",
    "--job-name",
    "-J",
    "--output",
    "-o",
    "--parsable",
    "--wait",
    "-W",
    "--kill-on-invalid-dep",
    "--chdir",
    "-D",
    "--wrap",
    "--test-only",
    "--open-mode",
)


class RecipeError(Exception):
    """A bad recipe, setting or input. The message says what is wrong, where (path:line) and what to do."""


@dataclass
class Section:
    """What the recipe says of one stage; line: where (0: nothing is said of it)."""

    line: int = 0
    numbers: dict[str, int] = field(default_factory=dict)  # of NUMBERS
    time: str = ""
    sbatch: list[str] = field(default_factory=list)
    flags: dict[str, str | bool | list[str]] = field(default_factory=dict)
    models: dict[str, dict] = field(default_factory=dict)


@dataclass
class Recipe:
    path: Path
    name: str
    inputs: dict[str, str]
    sections: dict[str, Section]  # of every stage
    lines: dict[str, int]  # of the inputs

    def section(self, stage: str) -> Section:
        return self.sections[stage]


def read_recipe(path: Path) -> Recipe:
    """Errors: RecipeError for a file that cannot be read, unknown or repeated keys, and values of the wrong kind."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        known = sorted(str(p) for p in Path("slurm/recipes").glob("*.yaml"))
        raise RecipeError(
            f"cannot read the recipe {path} ({error}); a path counts from the project's root; "
            f"ours are {', '.join(known)}"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{where}: no YAML ({getattr(error, 'problem', error)})") from None
    reader = _Reader(path)
    top = reader.mapping(root, ("name", "inputs", *STAGES), "a recipe") if root else {}
    if "name" not in top:
        raise RecipeError(f"{path}:1: a recipe has a name: it names data/NAME, checkpoints/NAME and results/NAME")
    name = reader.text(top["name"], "name")
    if not NAME.fullmatch(name):
        raise reader.error(top["name"], f"name {name!r} is not a folder name (letters, digits, '.', '_', '-')")
    inputs = reader.mapping(top["inputs"], INPUTS, "inputs") if "inputs" in top else {}
    return Recipe(
        path,
        name,
        {key: reader.text(node, key) for key, node in inputs.items()},
        {stage: reader.section(stage, top[stage]) if stage in top else Section() for stage in STAGES},
        {key: node.start_mark.line + 1 for key, node in inputs.items()},
    )


class _Reader:
    """Turns the nodes of one YAML file into values."""

    def __init__(self, path: Path):
        self.path = path

    def error(self, node: yaml.Node, message: str) -> RecipeError:
        return RecipeError(f"{self.path}:{node.start_mark.line + 1}: {message}")

    def mapping(self, node: yaml.Node, known: tuple[str, ...] | None, what: str) -> dict[str, yaml.Node]:
        """{key: node}; known: the keys that may be there (None: any)."""
        if _is_empty(node):
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what} takes lines of `key: value`")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, f"a key of {what} is one word")
            if known is not None and key.value not in known:
                raise self.error(key, f"unknown key {key.value!r}; {what} may have {', '.join(known)}")
            if key.value in found:
                raise self.error(key, f"{key.value} occurs twice in {what}; the first would not count")
            found[str(key.value)] = value
        return found

    def text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or _is_empty(node):
            raise self.error(node, f"{key} takes one value")
        return str(node.value)

    def section(self, stage: str, node: yaml.Node) -> Section:
        known = [*NUMBERS, "time", "sbatch", "flags"]
        if stage == "finetuning":
            known.append("models")
        if stage not in ARRAYS:
            known.remove("shards")
            if stage not in ("finetuning", "evaluation"):
                known.remove("at_once")
        section = Section(line=node.start_mark.line + 1)
        for key, value in self.mapping(node, tuple(known), stage).items():
            if key in NUMBERS:
                section.numbers[key] = self._number(value, key)
            elif key == "time":
                section.time = self._time(value)
            elif key == "sbatch":
                section.sbatch = self._options(value)
            elif key == "flags":
                section.flags = self._flags(value)
            else:
                section.models = self._models(value)
        return section

    def _number(self, node: yaml.Node, key: str) -> int:
        least = 0 if key == "gpus" else 1
        if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(r"\d+", node.value) or int(node.value) < least:
            raise self.error(node, f"{key} is a whole number, {least} or more")
        return int(node.value)

    def _time(self, node: yaml.Node) -> str:
        text = self.text(node, "time")
        if not TIME.fullmatch(text):
            raise self.error(node, f"time {text!r} is none of Slurm's: minutes, HH:MM:SS or D-HH:MM:SS")
        return text

    def _options(self, node: yaml.Node) -> list[str]:
        values = self._value(node, "sbatch")
        options = values if isinstance(values, list) else [str(values)]
        for option in options:
            if not option.startswith("-"):
                raise self.error(node, f"sbatch takes a list of options such as [--mem=64G], not {option!r}")
            if _is_own(option):
                raise self.error(node, f"{option} is not for a recipe: pipeline.sh gives it; take it out")
        return options

    def _flags(self, node: yaml.Node) -> dict[str, str | bool | list[str]]:
        flags = {key.replace("_", "-"): (key, value) for key, value in self.mapping(node, None, "flags").items()}
        return {name: self._value(value, key) for name, (key, value) in flags.items()}

    def _models(self, node: yaml.Node) -> dict[str, dict]:
        models = self.mapping(node, None, "models")
        for name in models:
            if not NAME.fullmatch(name):
                raise self.error(
                    node, f"the model's name {name!r} is not a folder name (letters, digits, '.', '_', '-')"
                )
        return {name: self._flags(value) for name, value in models.items()}

    def _value(self, node: yaml.Node, key: str) -> str | bool | list[str]:
        """A flag's value as it is typed on a command line: numbers stay text, so that nothing is rounded."""
        if isinstance(node, yaml.SequenceNode):
            return [self.text(item, key) for item in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
            return node.value.lower() in ("true", "yes", "on")
        return self.text(node, key)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _is_own(option: str) -> bool:
    """Whether sbatch would take this for one of OWN_OPTIONS: -Jname and --job=name are --job-name=name to it."""
    word = re.split(r"[=\s]", option)[0]
    return any(own.startswith(word) for own in OWN_OPTIONS) if word.startswith("--") else word[:2] in OWN_OPTIONS


def as_arguments(flags: dict[str, str | bool | list[str]]) -> list[str]:
    """Flags as the words of a command line."""
    words: list[str] = []
    for name, value in flags.items():
        if isinstance(value, bool):
            words.append(f"--{name}" if value else f"--no-{name}")
        elif isinstance(value, list):
            words += [word for v in value for word in (f"--{name}", v)] if name in REPEATED else [f"--{name}", *value]
        else:
            words += [f"--{name}", value]
    return words
