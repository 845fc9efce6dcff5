"""The graph of the pipeline: inputs, job script, command and record of each stage.

A step is one job or one array. What one of them makes is a part: an array over models has a part a model, each with a
record of its own; an array of shards has one part, which its tasks share. A record that is present means a part that is
complete. Example: plan_steps(read_recipe(Path("slurm/recipes/tiny.yaml")))
"""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline_jobs.pipeline_recipe import Recipe, RecipeError, as_arguments

SOURCES = {  # input: (stage, script, folder below data/NAME)
    "pdfs": ("ocr", "ocr.py", "books"),
    "web": ("filter", "filter.py", "web"),
    "websites": ("websites", "websites.py", "websites"),
    "existing": ("existing", "existing_corpora.py", "existing"),
}


@dataclass
class Part:
    """key: the step's name or step/model; reads: keys of parts; command: as one would type it behind the job script."""

    key: str
    record: Path
    command: list[str]
    reads: list[str]
    flags: dict = field(default_factory=dict)  # of an array over models: what its task's recipe file holds


@dataclass
class Step:
    """script: the job script; entry: the Python file that reads the flags; shards: 0 where no tasks share the work."""

    name: str
    stage: str
    script: str
    entry: str
    parts: list[Part]
    shards: int = 0

    @property
    def over_models(self) -> bool:
        return "/" in self.parts[0].key


def plan_steps(recipe: Recipe) -> list[Step]:
    """Every step of the recipe, each behind those that it reads. Errors: RecipeError for inputs that make no run."""
    return _Plan(recipe).steps


def models_of(recipe: Recipe) -> dict[str, dict]:
    """{model's name: its own flags}; a recipe that names none has one, named as the recipe."""
    return recipe.section("finetuning").models or {recipe.name: {}}


class _Plan:
    def __init__(self, recipe: Recipe):
        self.recipe, self.inputs = recipe, recipe.inputs
        self.data, self.results = Path("data") / recipe.name, Path("results") / recipe.name
        self.checkpoints = Path("checkpoints") / recipe.name
        self.steps: list[Step] = []
        self._refuse_contradictions()
        sources = self._sources()
        benchmark, needs_benchmark = self._benchmark()
        corpus, needs_corpus = self._corpus(sources, benchmark, needs_benchmark)
        needs_model = self._pretraining(corpus, needs_corpus) if corpus else None
        self._models(benchmark, needs_benchmark, needs_model)
        self._refuse_sections_without_work()

    def _refuse_contradictions(self) -> None:
        inputs, sources = self.inputs, [key for key in SOURCES if key in self.inputs]
        if "corpus" in inputs and sources:
            raise self._error("corpus", f"a corpus, and {sources[0]} to make one of: give one of the two")
        if ("exams" in inputs) == ("benchmark" in inputs):
            raise RecipeError(
                f"{self.recipe.path}: inputs need exams (to make the benchmark of) or benchmark (a "
                "folder with Train and Test), one of the two"
            )
        if (sources or "corpus" in inputs) and ("tokenizer" in inputs) == bool(self.recipe.section("tokenizer").line):
            raise RecipeError(
                f"{self.recipe.path}: a tokenizer is needed: inputs: {{tokenizer: FOLDER or hub name}}, "
                "or a section tokenizer, which trains one; one of the two"
            )
        for name, flags in models_of(self.recipe).items():
            if not sources and "corpus" not in inputs and "model" not in flags:
                raise RecipeError(
                    f"{self.recipe.path}: no input makes a pretrained model, so the model {name} needs "
                    "a flag model: under finetuning, models"
                )

    def _error(self, key: str, message: str) -> RecipeError:
        return RecipeError(f"{self.recipe.path}:{self.recipe.lines.get(key, 1)}: {message}")

    def _refuse_sections_without_work(self) -> None:
        made = {step.stage for step in self.steps}
        for stage, section in self.recipe.sections.items():
            if section.line and stage not in made:
                raise RecipeError(
                    f"{self.recipe.path}:{section.line}: {stage} has nothing to do: no input of the "
                    "recipe leads to it; take the section out, or add the input"
                )

    # Steps

    def _add(
        self,
        name: str,
        stage: str,
        script: str,
        entry: str,
        given: list[str],
        out: Path,
        reads: list[str],
        record: str = "manifest.json",
        settled: dict | None = None,
    ) -> str:
        """One step with one part; given: words before the flags; settled: flags that the recipe may change."""
        section = self.recipe.section(stage)
        flags = (settled or {}) | section.flags
        if entry == "pretrain/tokenize_corpus.py" and "cpus" in section.numbers:
            flags = {"workers": str(section.numbers["cpus"])} | flags
        own = [entry.split("/")[-1]] if script == "data_collection/run.sh" else [entry] * (script == "slurm/cpu.sh")
        command = [*own, *given, "--out", str(out), *as_arguments(flags)]
        shards = section.numbers.get("shards", 0)
        part = Part(name, out / record, command, reads)
        self.steps.append(Step(name, stage, script, entry, [part], shards if shards > 1 else 0))
        return name

    def _collect(self, name: str, stage: str, entry: str, given: list[str], out: Path, reads: list[str], **more) -> str:
        return self._add(name, stage, "data_collection/run.sh", f"data_collection/{entry}", given, out, reads, **more)

    def _sources(self) -> dict[str, Path]:
        """{step: its output} of what the inputs are made into."""
        made = {}
        for key, (stage, entry, folder) in SOURCES.items():
            if key in self.inputs:
                made[stage] = self.data / folder
                self._collect(stage, stage, entry, [self.inputs[key]], made[stage], [])
        return made

    def _benchmark(self) -> tuple[Path, list[str]]:
        if "benchmark" in self.inputs:
            return Path(self.inputs["benchmark"]), []
        out = self.data / "MMedBench"
        given = [self.inputs["exams"]]
        return out, [self._add("benchmark", "benchmark", "slurm/cpu.sh", "mmedbench/prepare.py", given, out, [])]

    def _corpus(self, sources: dict[str, Path], benchmark: Path, needs: list[str]) -> tuple[Path | None, list[str]]:
        if not sources:
            return (Path(self.inputs["corpus"]), []) if "corpus" in self.inputs else (None, [])
        folders, reads = [str(path) for path in sources.values()], list(sources)
        lists: list[str] = []
        first: list[str] = []
        section = self.recipe.section
        if section("duplicates").line:
            out = self.data / "duplicates"
            if section("duplicates").numbers.get("shards", 1) > 1:  # its array is started twice
                first = [self._collect("signatures", "duplicates", "deduplicate.py", folders, out, reads)]
            self._collect("duplicates", "duplicates", "deduplicate.py", folders, out, [*reads, *first])
            lists += ["--duplicates", str(out)]
            reads = [*reads, "duplicates"]
        if section("contamination").line:
            given = [*folders, "--benchmark", str(benchmark / "Test"), *lists]
            out = self.data / "contamination"
            reads = [
                *reads,
                self._collect(
                    "contamination",
                    "contamination",
                    "decontaminate.py",
                    given,
                    out,
                    [*reads, *needs],
                    settled={"mode": "cut"},
                ),
            ]
            lists += ["--contamination", str(out)]
        out = self.data / "MMedC"
        return out, [self._collect("corpus", "corpus", "build_corpus.py", [*folders, *lists], out, reads)]

    def _pretraining(self, corpus: Path, needs: list[str]) -> str:
        tokenizer = self.inputs.get("tokenizer", str(self.data / "tokenizer"))
        reads = list(needs)
        if "tokenizer" not in self.inputs:
            reads.append(
                self._add(
                    "tokenizer",
                    "tokenizer",
                    "slurm/cpu.sh",
                    "pretrain/train_tokenizer.py",
                    [str(corpus)],
                    self.data / "tokenizer",
                    needs,
                    "run.json",
                )
            )
        tokens = self._add(
            "tokens",
            "tokens",
            "slurm/cpu.sh",
            "pretrain/tokenize_corpus.py",
            [str(corpus), "--tokenizer", tokenizer],
            self.data / "tokens",
            reads,
        )
        out = self.checkpoints / "pretrained"
        return self._add(
            "pretraining",
            "pretraining",
            "pretrain/run.sh",
            "pretrain/train_lm.py",
            [str(self.data / "tokens")],
            out,
            [tokens],
            "run.json",
        )

    def _models(self, benchmark: Path, needs: list[str], pretraining: str | None) -> None:
        board, page = self.results / "leaderboard", self.results / "leaderboard.md"
        tuned, asked, rows = [], [], []
        for name, own in models_of(self.recipe).items():
            model, answers = self.checkpoints / "finetuned" / name, self.results / "evaluation" / name
            flags = {
                "model": str(self.checkpoints / "pretrained"),
                "data": str(benchmark / "Train"),
                "exclude": [str(benchmark / "Test")],
            }
            flags |= self.recipe.section("finetuning").flags | own | {"out": str(model)}
            reads = [*needs, *([pretraining] if "model" not in own and pretraining else [])]
            tuned.append(Part(f"finetuning/{name}", model / "run.json", as_arguments(flags), reads, flags))
            flags = {"data": str(benchmark / "Test"), "name": f"{name} ({self.recipe.name})"}
            flags |= self.recipe.section("evaluation").flags | {"model": str(model), "out": str(answers)}
            record = answers / "result.json"
            asked.append(Part(f"evaluation/{name}", record, as_arguments(flags), [tuned[-1].key, *needs], flags))
            row_flags = as_arguments({"replace": True} | self.recipe.section("leaderboard").flags)
            rows += ["mmedbench/leaderboard.py", "add", str(record), "--results", str(board), *row_flags, "then"]
        self.steps.append(Step("finetuning", "finetuning", "finetune/run.sh", "finetune/train.py", tuned))
        self.steps.append(Step("evaluation", "evaluation", "inference/run.sh", "inference/eval.py", asked))
        render = ["mmedbench/leaderboard.py", "render", "--results", str(board), "--out", str(page)]
        cost = ["slurm/pipeline.py", "--recipe", str(self.recipe.path), "--cost"]
        part = Part("leaderboard", page, [*rows, *render, "then", *cost], [part.key for part in asked])
        self.steps.append(Step("leaderboard", "leaderboard", "slurm/cpu.sh", "mmedbench/leaderboard.py", [part]))
