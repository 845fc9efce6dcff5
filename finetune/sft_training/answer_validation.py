"""Questions held out of the train set, and how well the model answers them during training.

The loss is each completion's mean cross-entropy (nats per token), averaged over a language's examples in the trained
forms. The accuracy is that of the most likely letter right after the prompt, so it costs no generation; it is
taken over the questions with one right answer, because a set of letters has no single first letter. Both come from one
forward pass. Means are over languages, each counting alike, as the benchmark's score does.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from mmedbench_questions import content_key
from prompt_folder import encode_completion
from sft_data.examples import IGNORED, make_example


def hold_out(questions: list[dict], count: int, share: float, seed: int) -> tuple[list[dict], list[dict]]:
    """(questions to train on, questions to validate on): of each language `count`, but at most `share` of them.

    Questions that ask the same go to the same side. A language too small for one question to be `share` of it gives
    none. The choice depends on the seed and on which questions there are, not on their order.
    """
    by_language: dict[str, set[str]] = {}
    for record in questions:
        by_language.setdefault(record["language"], set()).add(content_key(record))
    chosen = set()
    for language, keys in by_language.items():
        number = min(count, int(share * len(keys)))
        chosen |= {(language, key) for key in random.Random(f"{seed} held out {language}").sample(sorted(keys), number)}
    training, held_out = [], []
    for record in questions:
        (held_out if (record["language"], content_key(record)) in chosen else training).append(record)
    return training, held_out


def letter_tokens(tokenizer, letters: list[str]) -> tuple[int, list[int]] | None:
    """(ids before a letter's own, the letters' own ids), or None when a letter is more than one token."""
    rows = [encode_completion(tokenizer, letter) for letter in letters]
    alike = all(row[:-1] == rows[0][:-1] for row in rows) and len({row[-1] for row in rows}) == len(rows)
    return (len(rows[0]) - 1, [row[-1] for row in rows]) if alike else None


def validation_examples(questions: list[dict], encoding, longest: int, forms: list[str]) -> list[dict]:
    """Examples {"input_ids", "labels", "language", "choice"}, longest first; one that does not fit is omitted.

    encoding: as example_text.ExampleText. choice: None, or (position whose prediction is the letter, the options'
    letter ids, index of the right one). Errors: PromptError.
    """
    examples = []
    for record in questions:
        for form in forms:
            if form == "rationale" and not (record.get("rationale") or "").strip():
                continue
            exchanges = encoding.question(record, form)
            example, _ = make_example(exchanges, longest)
            if example is None:
                continue
            letters = letter_tokens(encoding.tokenizer, list(record["options"])) if form == "answer" else None
            choice = None
            if letters and "," not in record["answer_idx"]:
                position = len(example["input_ids"]) - len(exchanges[0][1]) + letters[0] - 1
                choice = (position, letters[1], list(record["options"]).index(record["answer_idx"]))
            examples.append(example | {"language": record["language"], "choice": choice})
    return sorted(examples, key=lambda example: -len(example["input_ids"]))


@dataclass
class LanguageScore:
    """Sums of one language: examples and their loss, questions with one answer and how many were right."""

    n: float = 0
    loss: float = 0
    single: float = 0
    right: float = 0


def validate(model, examples: list[dict], batch_size: int, collate, device) -> dict:
    """{"loss", "accuracy" (per cent or None), "languages": {code: {"n", "loss", "single", "accuracy"}}}.

    Every rank takes its share of the batches and all get the same numbers. Under ZeRO 3 a forward pass is a joint
    matter, so a rank without a batch left repeats one that does not count.
    """
    import torch
    import torch.distributed as dist

    joined = dist.is_initialized()
    rank, world = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
    batches = [examples[i : i + batch_size] for i in range(0, len(examples), batch_size)]
    scores = {language: LanguageScore() for language in sorted({e["language"] for e in examples})}
    was_training = model.training
    model.eval()
    for first in range(0, len(batches), world):
        mine = batches[min(first + rank, len(batches) - 1)]
        batch = {k: v.to(device) for k, v in collate(mine).items()}
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        if first + rank < len(batches):
            add_scores(scores, mine, logits.float(), batch["labels"])
    model.train(was_training)
    table = torch.tensor([[s.n, s.loss, s.single, s.right] for s in scores.values()], dtype=torch.float64)
    if joined:
        table = table.to(device)
        dist.all_reduce(table)
    languages = {
        language: {
            "n": int(n),
            "loss": loss / n,
            "single": int(single),
            "accuracy": 100 * right / single if single else None,
        }
        for language, (n, loss, single, right) in zip(scores, table.tolist(), strict=True)
    }
    shares = [row["accuracy"] for row in languages.values() if row["accuracy"] is not None]
    return {
        "loss": sum(row["loss"] for row in languages.values()) / len(languages),
        "accuracy": sum(shares) / len(shares) if shares else None,
        "languages": languages,
    }


def add_scores(scores: dict[str, LanguageScore], examples: list[dict], logits, labels) -> None:
    """Add a batch: logits float32 [examples, length, vocabulary], labels int64 [examples, length]."""
    import torch

    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    means = (losses.sum(1) / (labels[:, 1:] != IGNORED).sum(1)).tolist()
    for row, (example, loss) in enumerate(zip(examples, means, strict=True)):
        score = scores[example["language"]]
        score.n += 1
        score.loss += loss
        if example["choice"]:
            position, letters, right = example["choice"]
            score.single += 1
            score.right += int(logits[row, position, letters].argmax()) == right


def validation_line(step: int, scores: dict) -> str:
    """One line: the means, then each language."""

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f} %"

    parts = [f"{code} {row['loss']:.3f} {share(row['accuracy'])}" for code, row in scores["languages"].items()]
    return (
        f"validation at step {step}: loss {scores['loss']:.4f}  accuracy {share(scores['accuracy'])}  "
        f"({'; '.join(parts)})"
    )


def validation_summary(metrics: Path, best: dict | None) -> dict | None:
    """{"before", "last", "best"} of a run, read from its metrics.jsonl; None without validation."""
    if best is None:
        return None
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    scores = [{"step": row["step"], **row["validation"]} for row in rows if "validation" in row]
    return {"before": scores[0], "last": scores[-1], "best": best}
