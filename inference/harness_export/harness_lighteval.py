"""lighteval's side of an exported task folder: tasks mmedbench:<key> and mmedbench_letters:<key>.

`export_harness.py` copies this file beside the questions; lighteval (its own environment) loads it with --custom-tasks.
Reads, all beside itself: settings.json, data/ (a dataset folder with one subset a key), harness_scoring.py.
"""

import importlib.util
from pathlib import Path

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation
from lighteval.metrics.utils.metric_utils import SampleLevelMetric
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc, SamplingMethod

HERE = Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("harness_scoring", HERE / "harness_scoring.py")
scoring = importlib.util.module_from_spec(spec)
spec.loader.exec_module(scoring)
SETTINGS = scoring.read_settings()


def show_question(line: dict, task_name: str) -> Doc:
    """The rendered prompt as it is; the whole record goes along for scoring."""
    return Doc(query=line["prompt"], choices=[line["gold"]], gold_index=0, task_name=task_name, specific=line)


def show_letters(line: dict, task_name: str) -> Doc:
    """The rendered prompt with each letter as a continuation."""
    choices = [SETTINGS["delimiters"]["lighteval"] + letter for letter in line["letters"]]
    right = [place for place, letter in enumerate(line["letters"]) if letter in line["gold"].split(",")]
    return Doc(query=line["prompt"], choices=choices, gold_index=right, task_name=task_name, specific=line)


class GeneratedSet(SampleLevelComputation):
    """1 where the letters that were written are exactly the right ones."""

    def compute(self, doc: Doc, model_response, **_) -> float:
        return scoring.score_generated(doc.specific, model_response.final_text)["exact_set"]


class LikeliestLetter(SampleLevelComputation):
    """1 where the likeliest letter is the whole right answer."""

    def compute(self, doc: Doc, model_response, **_) -> float:
        return scoring.score_letters(doc.specific, [(x, False) for x in model_response.logprobs])["exact_set"]


def make_task(name: str, key: str, show, computation, category: SamplingMethod) -> LightevalTaskConfig:
    return LightevalTaskConfig(
        name=f"{name}:{key}",
        prompt_function=show,
        hf_repo=str(HERE / "data"),
        hf_subset=key,
        hf_avail_splits=["test"],
        evaluation_splits=["test"],
        metrics=[
            SampleLevelMetric(
                metric_name="exact_set",
                higher_is_better=True,
                category=category,
                sample_level_fn=computation,
                corpus_level_fn=np.mean,
            )
        ],
        generation_size=SETTINGS["max_new_tokens"],
        stop_sequence=SETTINGS["until"],
        version=SETTINGS["task_version"],
    )


TASKS_TABLE = [
    make_task("mmedbench", key, show_question, GeneratedSet(), SamplingMethod.GENERATIVE) for key in SETTINGS["keys"]
]
if SETTINGS["letters"]:
    TASKS_TABLE += [
        make_task("mmedbench_letters", key, show_letters, LikeliestLetter(), SamplingMethod.LOGPROBS)
        for key in SETTINGS["keys"]
    ]
