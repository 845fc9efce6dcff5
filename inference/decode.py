"""A local model and its ways to answer: generation in batches, and the log-probability of letters or options."""

import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from inference_record import InputError, read_json, sha256_of_file
from prompt_reader import encode_completion


@dataclass
class LoadedModel:
    """A model ready to answer, with what a result says of it."""

    model: object
    tokenizer: object
    facts: dict  # name, path, parameters, base, training
    longest: int  # positions the model has, in tokens


def model_fingerprint(model: str) -> dict:
    """{file: SHA-256} of a checkpoint's run.json or of its weights; a hub name as it is."""
    folder = Path(model)
    if not folder.is_dir():
        return {"hub": model}
    if (folder / "run.json").exists():
        return {"run.json": sha256_of_file(folder / "run.json")}
    weights = {path.name: sha256_of_file(path) for path in sorted(folder.glob("*.safetensors"))}
    if not weights:
        raise InputError(f"{folder} has no weights in safetensors; convert them first (pickles are not read)")
    return weights


def find_base(folder: Path) -> str:
    """Where the base model of a LoRA adapter is: as its config says, or where its run.json saw it from there."""
    named = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or ""
    run = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    for place in (run.get("base_from_here") and folder / run["base_from_here"], Path(named)):
        if place and (place / "config.json").exists():
            return str(place)
    if Path(named).is_absolute() or named.startswith(".") or named.count("/") != 1 or run.get("base_from_here"):
        raise InputError(f"the base model of the adapter {folder} is not at {named}; put it there")
    return named  # a hub name


def load_model(name: str, trust_remote_code: bool = False) -> LoadedModel:
    """Load a Hugging Face folder, a hub name or a LoRA adapter, on the GPU if there is one, ready to answer.

    Errors: InputError for a folder that is missing, half-made, or has no model in it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    # What transformers announces of its own insides is no news here, and a log file wants no progress bars.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()

    folder = Path(name)
    run = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    if folder.is_dir() and not run and (folder / "training").is_dir():
        raise InputError(f"{folder} is half-made (it has no run.json); let its training finish first")
    adapter = (folder / "adapter_config.json").exists()
    base = find_base(folder) if adapter else name
    gpu = torch.cuda.is_available()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(base, trust_remote_code=trust_remote_code, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no model at {base}: {str(error).splitlines()[0]}; give --model a checkpoint folder such as the one "
            "that finetune/train.py writes, or a hub name"
        ) from None
    if adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, name)
        if model.dtype == torch.float32:
            # The same answers without the adapter's cost at every layer. In 16 bits adding a small update to the
            # weights would round much of it away, so there the adapter stays beside them.
            model = model.merge_and_unload()
    try:
        model.eval().to("cuda" if gpu else "cpu")
    except torch.OutOfMemoryError:
        raise InputError(
            f"{name} does not fit on this GPU; serve it over several and ask it there, or use a larger one"
        ) from None
    model.config.use_cache = True
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so any known token will do
    facts = {
        "name": folder.resolve().name if folder.is_dir() else name,
        "path": name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "base": run.get("base") or (base if adapter else None),
        "training": run.get("training") or ("lora" if adapter else "none"),
    }
    return LoadedModel(model, tokenizer, facts, getattr(model.config, "max_position_embeddings", None) or 1 << 20)


def pad_left(rows: list[list[int]], pad_id: int):
    """(input_ids, attention_mask), int64 [rows, longest row]."""
    import torch

    length = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    return ids, mask


def seed_sampling(name: str) -> None:
    """Set torch's generators from a name, so that a batch that is asked again draws the same samples."""
    import hashlib

    import torch

    torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big"))


def generate(
    loaded: LoadedModel,
    prompts: list[list[int]],
    max_new_tokens: int,
    stop: list[str],
    ends: list[int],
    temperature: float = 0.0,
) -> list[str]:
    """The completions of a batch of prompts (token ids), as text without special tokens and stop strings.

    ends: the token ids that end an answer. temperature: 0 is greedy; else tokens are sampled from the whole vocabulary.
    """
    import torch

    tokenizer, model = loaded.tokenizer, loaded.model
    ids, mask = pad_left(prompts, tokenizer.pad_token_id)
    greedy = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            **({"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0} if temperature else greedy),
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=ends,
            **({"stop_strings": stop, "tokenizer": tokenizer} if stop else {}),
        )
    texts = tokenizer.batch_decode(out[:, ids.shape[1] :].cpu(), skip_special_tokens=True)
    for string in stop:
        texts = [text.split(string)[0] for text in texts]
    return texts


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
    import torch

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
    import torch

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
