"""Training examples: questions and conversations as tokens, with the loss on the completion alone.

An example is a dict: `input_ids` and `labels` (array("i") of one length, -100 where the loss does not count), `kind`
("answer", "rationale", "instruction", "replay"), `language` (ISO 639-1, or "-" where no one says it), and `question`
(the record) where its options may be reordered anew each epoch.
"""

import random
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmedbench_questions import content_key
from prompt_folder import shorten_prompt
from sft_data.example_text import Exchange
from sft_data.option_order import can_reorder, reorder_options

IGNORED = -100  # the label that torch's cross-entropy leaves out
LEAST_PROMPT = 16  # tokens of a prompt that must remain for an example to teach anything


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


def drop_duplicates(questions: list[dict], counts: ExampleCounts) -> list[dict]:
    """The first question of each id, or the first with a rationale if there is one; the others are counted."""
    first: dict[str, dict] = {}
    for record in questions:
        had = first.setdefault(record["id"], record)
        if had is not record:
            counts.add("dropped: stands twice in the train set", record["language"])
            if not had.get("rationale") and record.get("rationale"):
                first[record["id"]] = record
    return list(first.values())


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


def make_example(exchanges: list[Exchange], longest: int) -> tuple[dict | None, str]:
    """({"input_ids", "labels"} of at most `longest` tokens, what was done to fit it in or "").

    A completion is never cut. A first prompt that is too long is shortened left of its middle; later exchanges that
    do not fit are left off; the example is None where the first completion leaves no room for a prompt.
    """
    ids, labels, done = array("i"), array("i"), ""
    for number, (before, completion) in enumerate(exchanges):
        room = longest - len(ids) - len(completion)
        if number and len(before) > room:
            done = "later turns left off"
            break
        if room < min(LEAST_PROMPT, len(before)):
            return None, "dropped: completion too long"
        if len(before) > room:
            before, done = shorten_prompt(before, room), "prompt shortened"
        ids.extend([*before, *completion])
        labels.extend([IGNORED] * len(before) + completion)
    return {"input_ids": ids, "labels": labels}, done


def build_examples(
    questions: Iterable[dict],
    encoding,
    longest: int,
    forms: list[str],
    counts: ExampleCounts,
    option_orders: int = 1,
    seed: int = 0,
    shuffle_options: bool = False,
) -> list[dict]:
    """Examples of at most `longest` tokens, one a question and form, counted; encoding as example_text.ExampleText.

    With `option_orders` above 1 the form "answer" comes that often, the first time as it is, then with its options
    reordered. With `shuffle_options` an example whose options may be reordered carries its question, for
    `with_fresh_options`. The form "rationale" needs a rationale; a question without one is counted.
    """
    examples = []
    for question in questions:
        variants = [(form, question) for form in forms]
        if "answer" in forms and can_reorder(question, "answer"):
            orders = range(1, option_orders)
            variants += [("answer", reorder_options(question, f"{seed} {question['id']} {n}")) for n in orders]
        for form, record in variants:
            language = record["language"]
            if form == "rationale" and not (record.get("rationale") or "").strip():
                counts.add("no rationale", language)
                continue
            example, done = make_example(encoding.question(record, form), longest)
            if done:
                counts.add(done, language)
            if example is None:
                continue
            counts.add(f"examples: {form}", language)
            example |= {"kind": form, "language": language}
            if shuffle_options and can_reorder(record, form):
                example["question"] = record
            elif shuffle_options:
                counts.add(f"options named in the text, order kept: {form}", language)
            examples.append(example)
    return examples


def with_fresh_options(example: dict, encoding, longest: int, seed: str) -> dict:
    """The example with its options in the order that the seed chooses; as it is where it carries no question."""
    if "question" not in example:
        return example
    record = reorder_options(example["question"], seed)
    fresh = make_example(encoding.question(record, example["kind"]), longest)[0]
    return example if fresh is None else example | fresh


def show_example(example: dict, tokenizer) -> str:
    """The example as text, with what the loss counts between double brackets."""
    ids, labels, shown, start = example["input_ids"], example["labels"], "", 0
    while start < len(ids):
        counted = labels[start] != IGNORED
        stop = start
        while stop < len(ids) and (labels[stop] != IGNORED) == counted:
            stop += 1
        text = tokenizer.decode(ids[start:stop])
        shown += f"⟦{text}⟧" if counted else text
        start = stop
    return shown
