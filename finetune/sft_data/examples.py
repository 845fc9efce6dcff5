"""Training examples: questions and conversations as tokens, with the loss on the completion only; option order.

An example is a dict: `input_ids` and `labels` (array("i") of one length, -100 where the loss does not count), `kind`
("answer", "rationale", "instruction", "replay"), `language` (ISO 639-1, or "-" where no one says it), and `question`
(the record) where its options may be reordered again each epoch.
"""

import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmedbench_questions import content_key
from prompt_folder import Prompt, encode_completion, encode_prompt, end_token, render_turns, shorten_prompt

Exchange = tuple[list[int], list[int]]


class ExampleText:
    """The prompt folder's text for questions, and the form for conversations that goes with it."""

    def __init__(self, tokenizer, prompt: Prompt):
        self.tokenizer, self.prompt = tokenizer, prompt
        self.end = end_token(tokenizer, prompt.chat_template)

    def question(self, record: dict, form: str) -> list[Exchange]:
        """One exchange. Errors: PromptError when the prompt does not fit the record."""
        before = encode_prompt(self.tokenizer, self.prompt.render(record, form), self.prompt.chat_template)
        return [(before, self._learned(self.prompt.target(record, form)))]

    def conversation(self, turns: list[tuple[str, str]]) -> list[Exchange]:
        """An exchange for each turn of the assistant; turns are (role, text), role system, user or assistant.

        Errors: PromptError when the chat template refuses the turns.
        """
        return self._in_template(turns) if self.prompt.chat_template else self._plain(turns)

    def _plain(self, turns: list[tuple[str, str]]) -> list[Exchange]:
        exchanges, waiting = [], ""
        for role, text in turns:
            if role == "assistant":
                # Only the first text opens with the tokenizer's own opening token.
                encode = encode_completion if exchanges else encode_prompt
                exchanges.append((encode(self.tokenizer, waiting + "### Response:\n"), self._learned(text)))
                waiting = ""
            else:
                waiting += f"{text}\n\n" if role == "system" else f"### Instruction:\n{text}\n\n"
        return exchanges

    def _in_template(self, turns: list[tuple[str, str]]) -> list[Exchange]:
        """What the template writes before an answer is what it adds to the text up to the answer before.

        A template that writes earlier turns again as the chat continues (some drop the thoughts in them) gives no such
        addition: the conversation ends there, because a model never sees its own earlier turns in both ways.
        """
        chat = [{"role": role, "content": text} for role, text in turns]
        exchanges, so_far, after_end = [], "", []
        for number, (role, text) in enumerate(turns):
            if role != "assistant":
                continue
            before = render_turns(self.tokenizer, chat[:number], open_answer=True)
            whole = render_turns(self.tokenizer, chat[: number + 1], open_answer=False)
            if not before.startswith(so_far) or not whole.startswith(before):
                if exchanges:
                    break
                whole = before
            ids = after_end + encode_completion(self.tokenizer, before[len(so_far) :])
            exchanges.append((ids, self._learned(text)))
            closing = encode_completion(self.tokenizer, whole[len(before) :].rpartition(text)[2])
            after_end = closing[closing.index(self.end) + 1 :] if self.end in closing else []
            so_far = whole
        return exchanges

    def _learned(self, text: str) -> list[int]:
        return [*encode_completion(self.tokenizer, text), self.end]


# A lone capital letter, Latin or Cyrillic, or a small one in brackets: "B", "(b)", "b)", "选项B是", "вариант А".
LETTER = r"(?<![A-Za-z0-9])[A-Z](?![A-Za-z0-9])|(?<!\w)[А-Я](?!\w)|(?<!\w)[a-zа-я]\)|（[a-z]）"
# Words that speak of options by their place or letter, in the eight languages. Too many catches cost an order only.
OF_OPTIONS = (
    r"option|choice|alternative|statement|choix|propos|réponse|opci|respuesta|alternativa|вариант|ответ|утвержден"
    r"|选项|答案|選択肢|正解|答え|[1-5①-⑤]番|[①-⑨]|Antwort|Aussage|خيار|الخيار|إجاب"
)
# Options that speak of the others: "all of the above", "les deux premières", "1 y 3 son correctas".
OF_OTHERS = (
    r"\babove\b|\bbelow\b|\bboth\b|\bpreced|ci-dessus|précéd|aucune de|toutes les|les deux|anteriores|todas|ninguna"
    r"|son correctas|выше|перечисл|\bоба\b|以上|上述|上記|いずれ|すべて|都是|均"
    r"|\boben\b|genannt|\balle\b|أعلاه|سبق|ما ذكر|جميع"
)


def can_reorder(record: dict, form: str) -> bool:
    """Whether the question means the same with its options in another order.

    Not where an option speaks of others ("all of the above", "A and C"), nor, in the form "rationale", where the
    rationale may name options by letter, number or place: a letter there is never rewritten, because "vitamin A" and
    "option A" cannot be told apart with certainty in eight languages.
    """
    for text in record["options"].values():
        if re.search(OF_OTHERS, text, re.IGNORECASE) or len(re.findall(LETTER, text)) > 1:
            return False
    rationale = record.get("rationale") or ""
    named = re.search(LETTER, rationale) or re.search(OF_OPTIONS, rationale, re.IGNORECASE)
    return form == "answer" or not named


def reorder_options(record: dict, seed: str) -> dict:
    """The same question with its options in another order, chosen by the seed, and the right letters moved along."""
    letters, order = list(record["options"]), list(record["options"])
    random.Random(seed).shuffle(order)
    right = set(record["answer_idx"].split(","))
    return record | {
        "options": {new: record["options"][old] for new, old in zip(letters, order, strict=True)},
        "answer_idx": ",".join(new for new, old in zip(letters, order, strict=True) if old in right),
    }


IGNORED = -100  # the label that torch's cross-entropy omits
MIN_PROMPT = 16  # tokens of a prompt that must remain for an example to teach anything


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
            counts.add("dropped: is in the test set", record["language"])
        else:
            kept.append(record)
    return kept


def drop_duplicates(questions: list[dict], counts: ExampleCounts) -> list[dict]:
    """The first question of each id, or the first with a rationale if there is one; the others are counted."""
    first: dict[str, dict] = {}
    for record in questions:
        had = first.setdefault(record["id"], record)
        if had is not record:
            counts.add("dropped: occurs twice in the train set", record["language"])
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
        if room < min(MIN_PROMPT, len(before)):
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
    """Examples of at most `longest` tokens, one per question and form, counted; encoding as example_text.ExampleText.

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
