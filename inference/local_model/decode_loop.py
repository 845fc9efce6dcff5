"""A generation loop for models with a plain attention cache: one large batch, buffers allocated once.

transformers' generate() joins the whole cache again for every token and keeps rows that have ended. Here prompts are
read in chunks of few tokens (a forward pass stays within the processor's caches), their keys and values are put side by
side, padded on the left, into buffers with room for the answers, each step writes one position in place, and rows that
have ended leave. Tokens are those of generate(); what the loop cannot do alike (`fits` and `is_plain` say what) is left
to generate().

Shapes: B rows, H key-value heads, L positions (padding on the left included), D a head's size, V the vocabulary.
"""

import inspect
from collections.abc import Callable, Iterator

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

# Bytes of keys and values in one batch; rows beyond that are answered in a next one.
CACHE_BYTES = 4 << 30
# Settings of a generation_config.json that change no token of greedy generation, or that the caller sets.
HARMLESS = {
    "bos_token_id",
    "decoder_start_token_id",
    "do_sample",
    "eos_token_id",
    "max_length",
    "max_new_tokens",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "temperature",
    "top_k",
    "top_p",
    "transformers_version",
    "use_cache",
}


class BufferLayer(DynamicLayer):
    """A cache layer that writes into buffers [B, H, room, D] of which the first `used` positions are filled."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, used: int):
        super().__init__()
        self.keys, self.values, self.used = keys, values, used
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs):
        """Write [B, H, new, D] behind what is there; return views of everything so far."""
        start, self.used = self.used, self.used + key_states.shape[-2]
        self.keys[:, :, start : self.used] = key_states
        self.values[:, :, start : self.used] = value_states
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def get_seq_length(self) -> int:
        return self.used

    def keep(self, rows: torch.Tensor) -> None:
        self.keys, self.values = self.keys.index_select(0, rows), self.values.index_select(0, rows)


def fits(model) -> bool:
    """Whether a model takes positions from outside and its generation config changes no token by a rule of its own."""
    wanted = {"input_ids", "attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}
    settings = {
        name
        for name, value in model.generation_config.to_diff_dict().items()
        if value is not None and not name.startswith("_")
    }
    return wanted <= set(inspect.signature(model.forward).parameters) and settings <= HARMLESS


def is_plain(cache) -> bool:
    """Whether a cache is keys and values of every position in every layer, and nothing else."""
    return type(cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in cache.layers)


def split_by_tokens(prompts: list[list[int]], cells: int) -> Iterator[list[list[int]]]:
    """Neighbours together while rows times the longest is at most `cells` tokens; a longer prompt is alone."""
    chunk: list[list[int]] = []
    for prompt in prompts:
        if chunk and (len(chunk) + 1) * max(len(prompt), *map(len, chunk)) > cells:
            yield chunk
            chunk = []
        chunk.append(prompt)
    if chunk:
        yield chunk


def read_prompts(model, prompts: list[list[int]]) -> tuple[torch.Tensor, Cache]:
    """(logits after each prompt [B, V], the cache, padded on the left)."""
    length = max(map(len, prompts))
    ids = torch.tensor([[0] * (length - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    return out.logits[:, -1], out.past_key_values


def join(caches: list[Cache], room: int) -> DynamicCache:
    """One cache of all rows, padded on the left to the longest, with room for as many positions more."""
    used = max(cache.get_seq_length() for cache in caches)
    joined = DynamicCache()
    for parts in zip(*(cache.layers for cache in caches), strict=True):
        buffers = []
        for kind in ("keys", "values"):
            tensors = [getattr(part, kind) for part in parts]
            _, heads, _, size = tensors[0].shape
            buffer = tensors[0].new_empty(sum(len(t) for t in tensors), heads, used + room, size)
            row = 0
            for tensor, part in zip(tensors, parts, strict=True):
                rows, start = slice(row, row + len(tensor)), used - tensor.shape[2]
                buffer[rows, :, :start] = 0  # masked, but what memory happens to hold may be NaN, and 0 * NaN is NaN
                buffer[rows, :, start:used] = tensor
                setattr(part, kind, None)
                row += len(tensor)
            buffers.append(buffer)
        joined.layers.append(BufferLayer(*buffers, used))
    return joined


def decode_batch(
    model,
    logits: torch.Tensor,
    cache: DynamicCache,
    lengths: list[int],
    max_new_tokens: int,
    choose: Callable[[torch.Tensor, list[int], int], torch.Tensor],
    ended: Callable[[int, list[int]], bool],
) -> list[list[int]]:
    """The new tokens of each row, its last one included, from the logits after its prompt and the joined cache.

    choose(logits [rows, V], numbers of the rows, step) gives a token a row; ended(number, its new tokens) says whether
    the row is done. Rows that are done leave the batch once they are half of it.
    """
    answers: list[list[int]] = [[] for _ in lengths]
    numbers, going = list(range(len(lengths))), [True] * len(lengths)
    used = cache.get_seq_length()
    position = torch.tensor(lengths)[:, None]
    mask = (torch.arange(used + max_new_tokens) >= used - position).long()
    for step in range(max_new_tokens):
        tokens = choose(logits.float(), numbers, step)
        for place, token in enumerate(tokens.tolist()):
            if going[place]:
                answers[numbers[place]].append(token)
                going[place] = not ended(numbers[place], answers[numbers[place]])
        if not any(going) or step == max_new_tokens - 1:
            break
        if 2 * sum(going) <= len(going):
            rows = torch.tensor([place for place, on in enumerate(going) if on])
            tokens, position, mask = tokens[rows], position[rows], mask[rows]
            for layer in cache.layers:
                layer.keep(rows)
            numbers, going = [numbers[place] for place in rows.tolist()], [True] * len(rows)
        out = model(
            input_ids=tokens[:, None],
            attention_mask=mask[:, : used + step + 1],
            position_ids=position + step,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = out.logits[:, -1]
    return answers


def generate_tokens(
    model,
    prompts: list[list[int]],
    max_new_tokens: int,
    choose: Callable[[torch.Tensor, list[int], int], torch.Tensor],
    ended: Callable[[int, list[int]], bool],
    chunk_cells: int,
) -> list[list[int]] | None:
    """The new tokens of each prompt (token ids), or None where the model's cache is not plain.

    chunk_cells: tokens, padding included, that one forward pass reads. `choose` and `ended` as in `decode_batch`, the
    numbers being places in `prompts`.
    """
    order = sorted(range(len(prompts)), key=lambda number: -len(prompts[number]))
    answers: dict[int, list[int]] = {}
    heads: list[torch.Tensor] = []
    caches: list[Cache] = []

    def answer_what_was_read() -> None:
        mine = order[len(answers) : len(answers) + sum(map(len, heads))]
        logits, cache = torch.cat(heads), join(caches, max_new_tokens)
        heads.clear()
        caches.clear()
        lengths = [len(prompts[number]) for number in mine]
        new = decode_batch(
            model,
            logits,
            cache,
            lengths,
            max_new_tokens,
            lambda logits, rows, step: choose(logits, [mine[row] for row in rows], step),
            lambda row, tokens: ended(mine[row], tokens),
        )
        answers.update(zip(mine, new, strict=True))

    with torch.inference_mode():
        for chunk in split_by_tokens([prompts[number] for number in order], chunk_cells):
            logits, cache = read_prompts(model, chunk)
            if not is_plain(cache):
                return None
            a_token = sum(t[0, :, 0].nbytes for layer in cache.layers for t in (layer.keys, layer.values))
            longest = (caches[0] if caches else cache).get_seq_length() + max_new_tokens
            if caches and (sum(map(len, heads)) + len(logits)) * longest * a_token > CACHE_BYTES:
                answer_what_was_read()
            heads.append(logits)
            caches.append(cache)
        answer_what_was_read()
    return [answers[number] for number in range(len(prompts))]
