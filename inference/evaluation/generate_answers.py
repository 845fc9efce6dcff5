"""Generate answers: prompts in batches; every batch is written to disk as it is answered.

A batch depends on the questions alone, never on what is already answered or which shard asks it, and a sampled answer
draws by its question's name, whatever its batch, so that a run that was killed, or dealt out over several processes,
ends with the same bytes.
"""

import argparse
import fcntl
import json
import os
import sys
from pathlib import Path

import torch

from evaluation.variants import choose_examples, count_variants, gather, render_with_examples, turn
from local_model.local_model import CPU_CELLS, LoadedModel, pad_left
from mmedbench_questions import answer_letters
from prompt_folder import Prompt, PromptError, encode_completion, encode_prompt, end_token, shorten_prompt
from run_record import InputError, write_text


def letter_ids(tokenizer, letters: list[str]) -> tuple[list[int], list[int]]:
    """(ids that open every letter, the one id that tells each letter): most tokenizers open with nothing or a space.

    Errors: InputError when letters differ in more than their last id.
    """
    rows = [encode_completion(tokenizer, letter) for letter in letters]
    opening = rows[0][:-1]
    if any(row[:-1] != opening for row in rows) or len({row[-1] for row in rows}) != len(rows):
        raise InputError("this tokenizer does not write each letter as one token; use --mode generate")
    return opening, [row[-1] for row in rows]


def letter_logprobs(loaded: LoadedModel, prompts: list[list[int]], letters: list[list[str]]) -> list[dict[str, float]]:
    """{letter: log-probability in nats} of each question's letters as the answer's first letter."""
    model, tokenizer = loaded.model, loaded.tokenizer
    every = sorted({letter for row in letters for letter in row})
    opening, last = letter_ids(tokenizer, every)
    ids, mask = pad_left([prompt + opening for prompt in prompts], tokenizer.pad_token_id)
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits = model(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            position_ids=position_ids.to(model.device),
            logits_to_keep=1,
        ).logits[:, -1]
    logprobs = torch.log_softmax(logits.float(), -1)[:, last].cpu()
    return [
        {letter: round(float(row[every.index(letter)]), 6) for letter in mine}
        for row, mine in zip(logprobs, letters, strict=True)
    ]


def option_logprobs(
    loaded: LoadedModel, prompts: list[list[int]], options: list[dict[str, str]]
) -> list[dict[str, float]]:
    """{letter: log-probability of its option's text after the prompt, nats a UTF-8 byte of the text} of each question.

    Divided by bytes, so that long options are not at a disadvantage whatever the tokenizer (the idea of lm-evaluation-
    harness's acc_norm). The prompt is read once: its cache is copied to each of its options.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    rows = [
        (number, letter, encode_completion(tokenizer, text) or [tokenizer.eos_token_id])
        for number, mine in enumerate(options)
        for letter, text in mine.items()
    ]
    ids, mask = pad_left(prompts, tokenizer.pad_token_id)
    position_ids = (mask.cumsum(-1) - 1).clamp(min=0)
    length = max(len(tokens) for *_, tokens in rows)
    texts = torch.tensor([tokens + [tokenizer.pad_token_id] * (length - len(tokens)) for *_, tokens in rows])
    real = torch.tensor([[1] * len(tokens) + [0] * (length - len(tokens)) for *_, tokens in rows])
    owners = torch.tensor([number for number, *_ in rows])
    device = model.device
    with torch.inference_mode():
        before = model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=position_ids.to(device),
            use_cache=True,
            logits_to_keep=1,
        )
        first = before.logits[:, -1].float()[owners]
        cache = before.past_key_values
        cache.batch_select_indices(owners.to(device))
        after = model(
            input_ids=texts.to(device),
            attention_mask=torch.cat([mask[owners], real], 1).to(device),
            position_ids=(mask.sum(1)[owners, None] + torch.arange(length)).to(device),
            past_key_values=cache,
        ).logits.float()
        logits = torch.cat([first[:, None], after[:, :-1]], 1)
        logprobs = torch.log_softmax(logits, -1).gather(2, texts.to(device)[:, :, None])[:, :, 0].cpu()
    sums = (logprobs * real).sum(1)
    tables: list[dict[str, float]] = [{} for _ in prompts]
    for (number, letter, _), total in zip(rows, sums.tolist(), strict=True):
        tables[number][letter] = round(total / max(1, len(options[number][letter].encode("utf-8"))), 6)
    return tables


def parse_shard(text: str) -> tuple[int, int]:
    """(index, number of shards) of "i/n", i from 0 to n - 1. Errors: ValueError (argparse prints the text)."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal()) or int(index) >= int(count):
        raise argparse.ArgumentTypeError(f"{text}: expected i/n with i from 0 to n - 1, such as 0/4")
    return int(index), int(count)


def place_of(row: dict) -> tuple[str, int, int]:
    """(language or benchmark, place in its file, which time it is asked): what tells one prediction from another."""
    return row["key"], row["number"], row.get("variant", 0)


def read_partials(out: Path) -> dict[tuple[str, int, int], dict]:
    """Finished predictions of all shards by (key, number, variant); a last line cut off by a kill is dropped."""
    done = {}
    for path in sorted(out.glob("predictions.partial*.jsonl")):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:  # another shard has just scored all and removed it
            continue
        for line in text.split("\n")[:-1]:
            row = json.loads(line)
            done[place_of(row)] = row
    return done


def plan_batches(questions: list[dict], batch_size: int) -> list[list[dict]]:
    """Longest prompts first, so that a batch pads little and memory runs out at the start if ever."""
    ordered = sorted(questions, key=lambda q: (-len(q["ids"]), q["key"], q["number"], q.get("variant", 0)))
    return [ordered[i : i + batch_size] for i in range(0, len(ordered), batch_size)]


def find_examples(test: dict, args: argparse.Namespace) -> dict[str, list[dict]]:
    """The worked examples of --few-shot by language, {} without it. Errors: InputError."""
    if not args.few_shot:
        return {}
    return choose_examples(args.few_shot_data or args.data.parent / "Train", test, args.few_shot, args.form, args.seed)


def make_prompts(tokenizer, prompt: Prompt, test: dict, shots: dict, args: argparse.Namespace, room: int) -> list[dict]:
    """One item a question and variant: key, number, variant, record as asked, token ids, whether anything was cut.

    Worked examples that do not fit are dropped first (counted), then the prompt is shortened left of its middle.
    """
    items = []
    for key, records in test.items():
        for number, record in enumerate(records):
            for variant in range(count_variants(record, args.circular, args.samples)):
                shown = turn(record, variant) if args.circular else record
                examples = list(shots.get(record["language"], []))
                try:
                    while True:
                        text = render_with_examples(prompt, shown, args.form, examples)
                        ids = encode_prompt(tokenizer, text, prompt.chat_template)
                        if len(ids) <= room or not examples:
                            break
                        examples.pop(0)
                except PromptError as error:
                    raise InputError(str(error)) from None
                items.append(
                    {
                        "key": key,
                        "number": number,
                        "variant": variant,
                        "record": record,
                        "shown": shown,
                        "ids": shorten_prompt(ids, room),
                        "shortened": len(ids) > room,
                        "examples_dropped": len(shots.get(record["language"], [])) - len(examples),
                    }
                )
    return items


def answer_batch(loaded, prompt: Prompt, batch: list[dict], args: argparse.Namespace) -> list[dict]:
    """One prediction an item: the raw output, from which the letters are read later, or a log-probability table."""
    from evaluation.generate_answers import letter_logprobs, option_logprobs
    from local_model.local_model import generate

    prompts = [item["ids"] for item in batch]
    if args.mode == "generate":
        ends = sorted({loaded.tokenizer.eos_token_id, end_token(loaded.tokenizer, prompt.chat_template)})
        temperature = args.temperature if args.samples > 1 else 0.0
        names = [f"{args.seed} {item['key']} {item['number']} {item['variant']}" for item in batch]
        outputs = generate(loaded, prompts, args.max_new_tokens, prompt.stop, ends, temperature, names)
        answers = [{"output": text} for text in outputs]
    elif args.mode == "letter-logprob":
        tables = letter_logprobs(loaded, prompts, [list(item["record"]["options"]) for item in batch])
        answers = [{"letter_logprobs": table} for table in tables]
    else:
        tables = option_logprobs(loaded, prompts, [item["shown"]["options"] for item in batch])
        answers = [{"option_logprobs": table} for table in tables]
    return [
        {
            "key": item["key"],
            "number": item["number"],
            **({"variant": item["variant"]} if args.circular or args.samples > 1 else {}),
            "id": item["record"]["id"],
            "gold": answer_letters(item["record"]),
            "options": "".join(item["record"]["options"]),
            "shortened": item["shortened"],
        }
        | ({"examples_dropped": item["examples_dropped"]} if args.few_shot else {})
        | answer
        for item, answer in zip(batch, answers, strict=True)
    ]


def is_out_of_memory(error: Exception) -> bool:
    """Whether a failed step wanted more memory than there is; torch's CPU allocator says so in a RuntimeError."""
    import torch

    signs = ("not enough memory", "can't allocate memory", "out of memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(s in str(error).lower() for s in signs)


class MemoryLimit:
    """What has not fitted so far: batches of as many tokens (padding included) are asked in halves from the start.

    On a CPU that is everything over CPU_CELLS, but for generation, which reads its prompts in such parts by itself.
    """

    def __init__(self, device: str, mode: str):
        self.cells = CPU_CELLS + 1 if device == "cpu" and mode != "generate" else float("inf")

    def answer(self, loaded, prompt: Prompt, batch: list[dict], args: argparse.Namespace) -> list[dict]:
        """`answer_batch`, halved as often as memory asks for. Errors: InputError when one question does not fit."""
        import torch

        cells = len(batch) * max(len(item["ids"]) for item in batch)
        if cells < self.cells or len(batch) == 1:
            try:
                return answer_batch(loaded, prompt, batch, args)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise InputError(
                        f"a single question of {cells} tokens does not fit in memory; lower --max-new-tokens, or use a "
                        "larger GPU"
                    ) from None
                self.cells = min(self.cells, cells)
                print(f"out of memory with {len(batch)} questions of up to {cells // len(batch)} tokens: halved")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        half = len(batch) // 2
        return self.answer(loaded, prompt, batch[:half], args) + self.answer(loaded, prompt, batch[half:], args)


def ask(
    loaded, prompt: Prompt, test: dict[str, list[dict]], shots: dict[str, list[dict]], args: argparse.Namespace
) -> list[dict] | None:
    """All predictions in the data's order, those of an earlier try and of other shards taken over.

    With --shard only this shard's batches are asked; None while other shards' answers are missing.
    """
    from tqdm import tqdm

    room = loaded.longest - (args.max_new_tokens if args.mode == "generate" else 4)
    if args.mode == "option-logprob":
        longest = max(len(text) for records in test.values() for r in records for text in r["options"].values())
        room = loaded.longest - min(longest + 1, loaded.longest // 2)
    if room < 32:
        raise InputError(
            f"--max-new-tokens {args.max_new_tokens} leaves no room for a question in this model's "
            f"{loaded.longest} positions"
        )
    items = make_prompts(loaded.tokenizer, prompt, test, shots, args, room)
    index, shards = args.shard or (0, 1)
    name = f"predictions.partial-{index}-of-{shards}.jsonl" if args.shard else "predictions.partial.jsonl"
    partial = args.out / name
    done = read_partials(args.out)
    batches = plan_batches(items, args.batch_size)[index::shards]
    mine = [place_of(item) for batch in batches for item in batch]
    # Rewritten without a torn last line, then appended to.
    own = [done[place] for place in mine if place in done]
    write_text(partial, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in own))
    memory = MemoryLimit(loaded.model.device.type, args.mode)
    with (
        open(partial, "a", encoding="utf-8") as file,
        tqdm(total=len(mine), initial=len(own), unit="question", disable=None, file=sys.stderr) as bar,
    ):
        for batch in batches:
            if all(place_of(item) in done for item in batch):
                continue
            rows = memory.answer(loaded, prompt, batch, args)
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
            done.update({place_of(row): row for row in rows})
            bar.update(len(rows))
    if args.shard:
        # Held until this process ends, so that of two shards that end together one is the last, and scores alone.
        args.last_lock = open(args.out / ".lock-scoring", "w")  # noqa: SIM115
        fcntl.flock(args.last_lock, fcntl.LOCK_EX)
        if (args.out / "result.json").exists():
            partial.unlink(missing_ok=True)
            print(f"shard {index} of {shards} is done; another shard has scored all")
            return None
        done = read_partials(args.out)
    missing = len(items) - len(done)
    if missing:
        print(f"shard {index} of {shards} is done; {missing} answers of other shards are still missing")
        return None
    order = {key: place for place, key in enumerate(test)}
    rows = sorted(done.values(), key=lambda row: (order[row["key"]], *place_of(row)[1:]))
    return gather(rows, args.circular or args.samples > 1)
