"""Log-probabilities of each letter, or of each option's text, after a prompt."""

import torch

from local_model.local_model import LoadedModel, pad_left
from prompt_folder import encode_completion
from run_record import InputError


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
