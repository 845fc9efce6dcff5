"""Training examples: questions rendered by a prompt, tokenised, with the loss on the completion alone."""

import random
from collections import Counter
from dataclasses import dataclass, field

from prompt_file import Prompt, encode_completion, encode_prompt, end_token, shorten_prompt
from train_questions import content_key

IGNORED = -100  # the label that torch's cross-entropy leaves out


@dataclass
class ExampleCounts:
    """What became of the questions: {what: {language: number}}."""

    table: dict[str, Counter] = field(default_factory=dict)

    def add(self, what: str, language: str) -> None:
        self.table.setdefault(what, Counter())[language] += 1

    def as_dict(self) -> dict[str, dict[str, int]]:
        return {what: dict(sorted(row.items())) for what, row in self.table.items()}


def drop_test_questions(questions: list[dict], test: list[dict], counts: ExampleCounts) -> list[dict]:
    """The training questions less those that ask the same as a test question, which are counted."""
    keys = {content_key(record) for record in test}
    kept = []
    for record in questions:
        if content_key(record) in keys:
            counts.add("dropped: stands in the test set", record["language"])
        else:
            kept.append(record)
    return kept


def reorder_options(record: dict, seed: str) -> dict:
    """The same question with its options in another order, chosen by the seed, and the right letters moved along."""
    letters, order = list(record["options"]), list(record["options"])
    random.Random(seed).shuffle(order)
    right = set(record["answer_idx"].split(","))
    return record | {
        "options": {new: record["options"][old] for new, old in zip(letters, order, strict=True)},
        "answer_idx": ",".join(new for new, old in zip(letters, order, strict=True) if old in right),
    }


def build_examples(
    questions: list[dict],
    prompt: Prompt,
    tokenizer,
    longest: int,
    forms: list[str],
    counts: ExampleCounts,
    option_orders: int = 1,
    seed: int = 0,
) -> list[dict]:
    """Examples {"input_ids": list[int], "labels": list[int]} of at most `longest` tokens: one a question and form.

    With `option_orders` above 1 the form "answer" comes that often, the first time as it is, then with its options
    reordered: more examples from few questions, and none of the bias to a letter. Rationales may speak of letters, so
    the form "rationale" keeps its order.

    The form "rationale" needs a rationale; a question without one is counted. The completion and its end token are
    never cut: a prompt that is too long is shortened left of its middle, and counted; an example whose completion
    alone leaves no room for a prompt is dropped, and counted.
    """
    examples = []
    end = end_token(tokenizer, prompt.chat_template)
    for question in questions:
        variants = [(form, question) for form in forms]
        if "answer" in forms:
            orders = range(1, option_orders)
            variants += [("answer", reorder_options(question, f"{seed} {question['id']} {n}")) for n in orders]
        for form, record in variants:
            if form == "rationale" and not record.get("rationale"):
                counts.add("no rationale", record["language"])
                continue
            completion = [*encode_completion(tokenizer, prompt.target(record, form)), end]
            before = encode_prompt(tokenizer, prompt.render(record, form), prompt.chat_template)
            room = longest - len(completion)
            if room < min(16, len(before)):
                counts.add("dropped: completion too long", record["language"])
                continue
            if len(before) > room:
                counts.add("prompt shortened", record["language"])
                before = shorten_prompt(before, room)
            counts.add(f"examples: {form}", record["language"])
            examples.append({"input_ids": before + completion, "labels": [IGNORED] * len(before) + completion})
    return examples


def limit_per_language(questions: list[dict], limit: int | None, seed: int) -> list[dict]:
    """At most `limit` questions of each language, chosen by the seed, in their order."""
    if limit is None:
        return questions
    by_language: dict[str, list[int]] = {}
    for index, record in enumerate(questions):
        by_language.setdefault(record["language"], []).append(index)
    chosen = set()
    for language, indexes in sorted(by_language.items()):
        chosen.update(random.Random(f"{seed} {language}").sample(indexes, min(limit, len(indexes))))
    return [record for index, record in enumerate(questions) if index in chosen]


class PadOnTheRight:
    """Collate examples into a batch: input_ids, attention_mask, labels, int64 [examples, longest example]."""

    def __init__(self, pad_id: int):
        self.pad_id = pad_id

    def __call__(self, examples: list[dict]) -> dict:
        import torch

        length = max(len(example["input_ids"]) for example in examples)

        def rows(name: str, filler: int) -> "torch.Tensor":
            return torch.tensor([e[name] + [filler] * (length - len(e[name])) for e in examples])

        mask = torch.tensor([[1] * len(e["input_ids"]) + [0] * (length - len(e["input_ids"])) for e in examples])
        return {"input_ids": rows("input_ids", self.pad_id), "attention_mask": mask, "labels": rows("labels", IGNORED)}


def show_example(example: dict, tokenizer) -> str:
    """The example as text, with what the loss counts between double brackets."""
    start = next(i for i, label in enumerate(example["labels"]) if label != IGNORED)
    before, after = tokenizer.decode(example["input_ids"][:start]), tokenizer.decode(example["input_ids"][start:])
    return f"{before}⟦{after}⟧"
