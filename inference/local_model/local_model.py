"""A local model: loading it from a folder, an adapter or the hub, its identity, generation in batches."""

import hashlib
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from run_record import InputError, read_json, sha256_of_file


def uniform_draws(names: list[str], count: int):
    """[rows, count] numbers in [0, 1), float64, a row from its name alone: what a question draws does not depend on
    which others are in its batch."""
    rows = []
    for name in names:
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
        rows.append(torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return torch.stack(rows)


def draw_tokens(logits, temperature: float, uniform):
    """Token ids [rows], int64, sampled from logits [rows, V] by the inverse of their distribution function."""
    sums = torch.softmax(logits.double() / temperature, -1).cumsum(-1)
    # Against the sum as it came out, 1 but for rounding, and never beyond the last token that has a probability.
    wanted = (uniform.to(sums.device)[:, None] * sums[:, -1:]).clamp(max=sums[:, -1:] * (1 - 1e-12))
    return torch.searchsorted(sums, wanted, right=True)[:, 0]


class StopWatch:
    """Whether an answer has come to a stop string, as transformers' stop_strings counts it.

    That is: the string ends within the last token; it may have begun in the prompt. Only the answer's tail is decoded,
    and only after a token that can end a stop string.
    """

    def __init__(self, tokenizer, stop: list[str]):
        self.tokenizer, self.stop = tokenizer, stop
        self.reach = max((len(string.encode("utf-8")) for string in stop), default=0) + 1  # a token is a byte at least
        self.may_end: dict[int, bool] = {}  # by token id, as they are met

    def stopped(self, prompt: list[int], tokens: list[int]) -> bool:
        last = tokens[-1]
        if last not in self.may_end:
            # A lone token may be part of a character, or lose a space to its decoder.
            text = self.tokenizer.decode([last])
            self.may_end[last] = "\ufffd" in text or any(s[-1] in text or s[-1].isspace() for s in self.stop)
        if not self.may_end[last]:
            return False
        tail = (prompt[-self.reach :] + tokens[-self.reach - 1 :])[-self.reach - 1 :]
        before, after = self.tokenizer.decode(tail[:-1]).rstrip("\ufffd"), self.tokenizer.decode(tail)
        return any(after.rfind(string) + len(string) > len(before) for string in self.stop if string in after)


# On a CPU, tokens (padding included) that one forward pass reads; more leaves the processor's caches. Measured with
# 64 prompts of 200 to 400 random tokens, the 2.8 M parameters of README.md's "Speed", one thread: 1024, 2048, 4096 and
# 8192 tokens took 10.8, 10.8, 12.9 and 13.0 ms a prompt.
CPU_CELLS = 2048


@dataclass
class LoadedModel:
    """A model ready to answer, with what a result says of it."""

    model: object
    tokenizer: object
    facts: dict  # name, path, parameters, base, training
    longest: int  # positions the model has, in tokens
    own_loop: bool = True  # decode_loop.py is for this model, as far as is known


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

    Errors: InputError for a folder that is missing, incomplete, or has no model in it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    # What transformers announces of its own insides is not news here, and a log file wants no progress bars.
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()

    folder = Path(name)
    run = read_json(folder / "run.json") if (folder / "run.json").exists() else {}
    if folder.is_dir() and not run and (folder / "training").is_dir():
        raise InputError(f"{folder} is incomplete (it has no run.json); let its training finish first")
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


def generate(
    loaded: LoadedModel,
    prompts: list[list[int]],
    max_new_tokens: int,
    stop: list[str],
    ends: list[int],
    temperature: float = 0.0,
    names: list[str] | None = None,
) -> list[str]:
    """The completions of a batch of prompts (token ids), as text without special tokens and stop strings.

    ends: the token ids that end an answer. temperature: 0 is greedy; else tokens are sampled from the whole vocabulary,
    each prompt's by its name in `names`. On a CPU decode_loop.py answers where it can, else transformers' generate().
    """
    from local_model.local_model import uniform_draws

    draws = uniform_draws(names, max_new_tokens) if temperature else None
    rows = None
    if loaded.model.device.type == "cpu" and loaded.own_loop:
        rows = generate_by_loop(loaded, prompts, max_new_tokens, stop, ends, temperature, draws)
        loaded.own_loop = rows is not None
    if rows is None:
        rows = generate_by_transformers(loaded, prompts, max_new_tokens, stop, ends, temperature, draws)
    texts = loaded.tokenizer.batch_decode(rows, skip_special_tokens=True)
    for string in stop:
        texts = [text.split(string)[0] for text in texts]
    return texts


def generate_by_loop(loaded: LoadedModel, prompts, max_new_tokens, stop, ends, temperature, draws):
    """As `generate`, the new token ids of each prompt; None where the model is not one for decode_loop.py."""
    from local_model.decode_loop import fits, generate_tokens
    from local_model.local_model import StopWatch, draw_tokens

    if not fits(loaded.model):
        return None
    watch = StopWatch(loaded.tokenizer, stop)

    def choose(logits, numbers: list[int], step: int):
        return draw_tokens(logits, temperature, draws[numbers, step]) if temperature else logits.argmax(-1)

    def ended(number: int, tokens: list[int]) -> bool:
        return tokens[-1] in ends or bool(stop and watch.stopped(prompts[number], tokens))

    return generate_tokens(loaded.model, prompts, max_new_tokens, choose, ended, CPU_CELLS)


def generate_by_transformers(loaded: LoadedModel, prompts, max_new_tokens, stop, ends, temperature, draws):
    """As `generate`, the new token ids of each prompt (behind its end, padding); on a CPU in parts of CPU_CELLS."""
    import torch

    from local_model.local_model import draw_tokens

    tokenizer, model = loaded.tokenizer, loaded.model
    cells = len(prompts) * max(map(len, prompts))
    if model.device.type == "cpu" and cells > CPU_CELLS and len(prompts) > 1:
        half = len(prompts) // 2
        parts = ((prompts[part], None if draws is None else draws[part]) for part in (slice(half), slice(half, None)))
        settings = (max_new_tokens, stop, ends, temperature)
        return [row for mine, drawn in parts for row in generate_by_transformers(loaded, mine, *settings, drawn)]
    ids, mask = pad_left(prompts, tokenizer.pad_token_id)
    start = ids.shape[1]

    def sample(input_ids, scores):
        """The drawn token is made the only likely one: generate() then takes it greedily."""
        drawn = draw_tokens(scores, temperature, draws[:, input_ids.shape[1] - start])
        return torch.full_like(scores, -torch.inf).scatter(1, drawn[:, None], 0.0)

    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=ends,
            **({"logits_processor": [sample]} if temperature else {}),
            **({"stop_strings": stop, "tokenizer": tokenizer} if stop else {}),
        )
    return out[:, start:].tolist()


# What decides answers beside the weights: tokenizer, chat template, generation settings, code of the model's own.
SETTINGS = ("*.json", "*.jinja", "*.model", "*.txt", "*.py")


def known_by(model: str) -> dict[str, str]:
    """{file: SHA-256} of a model folder, `{"hub": name}` of a hub name.

    A checkpoint of this project is known by its run.json, which contains the SHA-256 of every file; any other folder by
    its weights and settings, an adapter also by those of its base.
    Errors: InputError for a folder without weights in safetensors.
    """
    known = model_fingerprint(model)
    folder = Path(model)
    if "hub" in known or "run.json" in known:
        return known
    known |= settings_of(folder)
    if "adapter_config.json" in known:
        base = find_base(folder)
        known |= {f"base {name}": value for name, value in known_by(base).items()}
    return dict(sorted(known.items()))


def settings_of(folder: Path) -> dict[str, str]:
    """{file: SHA-256} of a model folder's settings without its weights; {} of what is not a folder."""
    paths = {path for pattern in SETTINGS for path in folder.glob(pattern)} if folder.is_dir() else set()
    return {path.name: sha256_of_file(path) for path in sorted(paths) if path.name != "run.json"}


def served_by(model: str) -> dict[str, str]:
    """The same of the folder that a server was started from; {} where the name is not a folder with a model in it."""
    try:
        return known_by(model) if Path(model).is_dir() else {}
    except InputError:
        return {}
