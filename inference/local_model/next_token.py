"""From logits to a token and to an end: sampling that depends on a question's name alone, and stop strings."""

import hashlib

import torch


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
